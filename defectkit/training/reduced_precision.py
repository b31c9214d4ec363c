"""The forward pass of a training step in 16 bit, where its device computes that faster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.overrides import TorchFunctionMode

from defectkit.config import TrainConfig
from defectkit.devices import autocast_dtype
from defectkit.models.network import Network


def choose_dtype(network: Network, config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision in which a network is trained; None: full precision."""
    if not (network.learns and network.takes_reduced_precision):
        return None
    return autocast_dtype(config.amp, device)


def describe_precision(network: Network, config: TrainConfig, device: torch.device) -> str:
    """Return the name of the dtype in which a network is trained, for example ``bfloat16``."""
    dtype = choose_dtype(network, config, device) or torch.float32
    return str(dtype).removeprefix("torch.")


@contextmanager
def reduced_precision(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Compute most layers in ``dtype``, as ``torch.autocast`` does; None changes nothing."""
    if dtype is None:
        yield
        return
    with torch.autocast(device.type, dtype):
        if device.type == "cpu" and dtype == torch.bfloat16:
            with _DepthwiseConvolutions():
                yield
        else:
            yield


class _DepthwiseConvolutions(TorchFunctionMode):
    """Computes gradients of depthwise convolutions in float32.

    In bfloat16 a CPU takes seven times as long for them, as measured: more than all that the other
    layers gain.
    """

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
        how = map(_pair, (stride, padding, dilation))
        convolved: torch.Tensor = _DepthwiseConvolution.apply(
            images.to(dtype), weight.to(dtype), *how
        )
        return convolved if bias is None else convolved + bias.to(dtype)[:, None, None]


class _DepthwiseConvolution(torch.autograd.Function):
    """Images (B, C, H, W) and weight (C, 1, h, w) of one dtype -> (B, C, H', W')."""

    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        weight: torch.Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.how = stride, padding, dilation
        return torch.conv2d(images, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        images, weight = ctx.saved_tensors
        of_images, of_weight, _ = torch.ops.aten.convolution_backward(
            *(one.float() for one in (gradients[0], images, weight)),
            None,  # no bias
            *ctx.how,
            False,  # not transposed
            (0, 0),
            len(weight),
            (*ctx.needs_input_grad[:2], False),
        )
        found = [None if one is None else one.to(images.dtype) for one in (of_images, of_weight)]
        return (*found, None, None, None)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else cast(tuple[int, int], tuple(value))
