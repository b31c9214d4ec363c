"""Encoders whose padding depends on the image's size, with a padding that does not.

TensorFlow's convolutions pad as the size of their input asks for. Where strides divide all sizes
that is always the same; in an exported graph it would be computed by a formula for each layer.
"""

import copy
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class StaticConv2dSame(nn.Module):
    """timm's ``Conv2dSame`` for inputs whose height and width its stride divides."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take the weights of ``conv``."""
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding: tuple[int, ...] = ()
        for kernel, step, dilation in zip(
            conv.kernel_size, conv.stride, conv.dilation, strict=True
        ):
            both = max((kernel - 1) * dilation + 1 - step, 0)
            self.padding = (both // 2, both - both // 2, *self.padding)  # the last axis is first

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), divisible by the stride -> (B, K, H / stride, W / stride)."""
        padded = F.pad(images, self.padding)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def with_static_padding(network: Module) -> Module:
    """Return a copy of a network, for inputs whose sides its ``size_divisor`` divides."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(module, name, StaticConv2dSame(cast(nn.Conv2d, child)))
    return network
