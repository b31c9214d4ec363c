"""Gradients of depthwise convolutions in bfloat16 on a CPU, where torch computes them slowly.

There, as measured, that of the weights takes up to 30 times as long for a kernel of 5 columns as
for one of 3, and that of the images up to 15 times as long if the convolution is strided. So the
gradient of the weights is computed for 3 columns at a time, and that of the images as what it is
too: a convolution of the result's gradient with the kernel turned by 180 degrees. Together they
take a third of the time that they take in float32 with the conversions.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FAST_COLUMNS = 3
"""The number of columns of a kernel whose weights have a fast gradient."""

Pair = tuple[int, int]


class Steps(NamedTuple):
    """How a convolution goes over an image: vertically and horizontally, in pixels."""

    stride: Pair
    padding: Pair
    dilation: Pair


class FastDepthwiseGradients(TorchFunctionMode):
    """Computes depthwise convolutions in the dtype of autocast, and their gradients fast."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return self._convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _convolve(
        self,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> torch.Tensor:
        is_depthwise = weight.shape[1] == 1 and groups == weight.shape[0] > 1
        if not is_depthwise or isinstance(padding, str):
            return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)
        dtype = torch.get_autocast_dtype("cpu")
        steps = Steps(*map(_pair, (stride, padding, dilation)))
        convolved: torch.Tensor = _DepthwiseConvolution.apply(
            images.to(dtype), weight.to(dtype), steps
        )
        return convolved if bias is None else convolved + bias.to(dtype)[:, None, None]


class _DepthwiseConvolution(torch.autograd.Function):
    """Images (B, C, H, W) and weight (C, 1, h, w) of one dtype -> (B, C, H', W')."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, steps: Steps) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.steps = steps
        return torch.conv2d(images, weight, None, *steps, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        images, weight = ctx.saved_tensors
        of_images, of_weight = ctx.needs_input_grad[:2]
        return (
            _gradient_of_images(gradients[0], images, weight, ctx.steps) if of_images else None,
            _gradient_of_weight(gradients[0], images, weight, ctx.steps) if of_weight else None,
            None,
        )


def _gradient_of_images(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, steps: Steps
) -> torch.Tensor:
    """Return the gradient of the images (B, C, H, W) from that of the result (B, C, H', W')."""
    stride, padding, dilation = steps
    reach = [step * (side - 1) for step, side in zip(dilation, weight.shape[2:], strict=True)]
    turned = [most - given for most, given in zip(reach, padding, strict=True)]
    if min(turned) < 0:
        return _gradients(gradient, images, weight, steps, of_images=True)
    if stride != (1, 1):
        sides = [
            side + 2 * given - most
            for side, given, most in zip(images.shape[2:], padding, reach, strict=True)
        ]
        spread = torch.empty(
            *gradient.shape[:2], *sides, dtype=gradient.dtype, memory_format=torch.channels_last
        ).zero_()
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    return torch.conv2d(gradient, weight.flip(2, 3), None, 1, turned, dilation, len(weight))


def _gradient_of_weight(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, steps: Steps
) -> torch.Tensor:
    """Return the gradient of the weight (C, 1, h, w) from that of the result (B, C, H', W')."""
    stride, padding, dilation = steps
    columns = weight.shape[3]
    if columns <= FAST_COLUMNS:
        return _gradients(gradient, images, weight, steps, of_images=False)
    padded = functional.pad(images, (padding[1], padding[1]))
    width = (gradient.shape[3] - 1) * stride[1] + (FAST_COLUMNS - 1) * dilation[1] + 1
    narrow = weight[..., :FAST_COLUMNS]
    unpadded = steps._replace(padding=(padding[0], 0))  # The columns are padded already.
    parts: list[torch.Tensor] = []
    for done in range(0, columns, FAST_COLUMNS):
        first = min(done, columns - FAST_COLUMNS)
        left = first * dilation[1]
        strip = padded[..., left : left + width].contiguous(memory_format=torch.channels_last)
        found = _gradients(gradient, strip, narrow, unpadded, of_images=False)
        parts.append(found[..., done - first :])
    return torch.cat(parts, dim=3)


def _gradients(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    steps: Steps,
    *,
    of_images: bool,
) -> torch.Tensor:
    """Return torch's own gradient, of the images or of the weight."""
    found = torch.ops.aten.convolution_backward(
        *(gradient, images, weight),
        None,  # no bias
        *steps,
        False,  # not transposed
        (0, 0),
        len(weight),
        (of_images, not of_images, False),
    )
    return cast(torch.Tensor, found[0 if of_images else 1])


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else cast(Pair, tuple(value))
