"""Layers whose work depends on the image's size, as ones that can be traced for any size.

TensorFlow's convolutions pad as the size of their input asks for: where strides divide all sizes
that is always the same, but in a traced graph it would be computed by a formula for each layer.
Means over the parts of an image would be traced for the size of the example.
"""

import copy
from typing import Any, TypeVar, cast

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


class MeansOfParts(nn.Module):
    """``nn.AdaptiveAvgPool2d``, as products with matrices of weights."""

    def __init__(self, parts: tuple[int, int]) -> None:
        """Give the numbers of parts along both sides."""
        super().__init__()
        self.parts = parts

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the means (B, C, rows, columns) of the parts."""
        rows, columns = (
            _weights(length, parts).to(images)
            for length, parts in zip(images.shape[2:], self.parts, strict=True)
        )
        return rows @ images @ columns.T


def _weights(length: int, parts: int) -> torch.Tensor:
    """Return the weights of the places along a side in the mean of each part, (parts, length)."""
    side = torch.scalar_tensor(length, dtype=torch.int64)
    part = torch.arange(parts)[:, None]
    start = (part * side).floor_divide(parts)
    end = ((part + 1) * side + parts - 1).floor_divide(parts)
    place = torch.arange(length)
    inside = ((place >= start) & (place < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def traceable(network: Module) -> Module:
    """Return a copy of a network that can be traced.

    It is for inputs whose sides its ``size_divisor``, or the stride of its last map, divides.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(module, name, StaticConv2dSame(cast(nn.Conv2d, child)))
            elif isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, _means_of_parts(child))
    return network


def _means_of_parts(pool: nn.AdaptiveAvgPool2d) -> nn.Module:
    size: Any = pool.output_size
    rows, columns = (size, size) if isinstance(size, int) else size
    if None in (rows, columns) or rows == columns == 1:
        return pool
    return MeansOfParts((rows, columns))
