"""Batch normalization over the batch of all processes, on any device.

torch's own, ``SyncBatchNorm``, computes on GPUs alone and takes the place of the modules, those of
timm with an activation inside included. Here the modules stay as they are, and with them what a
checkpoint has; only the function that they call is another one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from defectkit import ranks


def shared_norm() -> AbstractContextManager[Any]:
    """Return a context in which batches are normalized over all processes; in one: nothing."""
    return _SharedNorm() if ranks.world() > 1 else nullcontext()


class _SharedNorm(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: torch.Tensor,  # noqa: A002 (callers give it by this name)
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Normalize (B, C, ...) as ``torch.nn.functional.batch_norm``."""
    if not training:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, training, momentum, eps
        )
    moments = _Moments.of(input)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(moments.mean.to(running_mean), momentum)
            unbiased = moments.variance * (moments.count / (moments.count - 1.0).clamp(min=1.0))
            running_var.lerp_(unbiased.to(running_var), momentum)
    weight = torch.ones_like(moments.mean) if weight is None else weight
    bias = torch.zeros_like(moments.mean) if bias is None else bias
    normalized: torch.Tensor = _Normalize.apply(
        input, weight, bias, moments.mean, moments.variance, moments.count, eps
    )
    return normalized


class _Moments:
    """Mean and biased variance of each channel, (C,), of ``count`` values each, () float64.

    The first two are float64 for values in it, else float32.
    """

    def __init__(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        self.mean, self.variance, self.count = mean, variance, count

    @classmethod
    def of(cls, values: torch.Tensor) -> "_Moments":
        """Return those of the values (B, C, ...) of all processes."""
        number = values.numel() / values.shape[1]
        with torch.no_grad():
            dtype = torch.promote_types(values.dtype, torch.float32)
            # With running statistics, of which nothing is kept, the results have their type. This
            # is what torch normalizes with; var_mean takes over ten times as long.
            unkept = values.new_zeros(values.shape[1], dtype=dtype)
            mean, variance = torch.batch_norm_update_stats(values, unkept, unkept.clone(), 0.0)
            mean, variance = mean.double(), variance.double()
            squares = number * (variance + mean.square())
            sums = torch.cat([mean.new_full((1,), number), number * mean, squares])
            count, total, squares = torch.split(ranks.add_up(sums), [1, len(mean), len(mean)])
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0.0)
            return cls(mean.to(dtype), variance.to(dtype), count[0])


class _Normalize(torch.autograd.Function):
    """(B, C, ...) -> the same, normalized with moments that depend on the values.

    torch's function for given moments does it, forward and back; what the moments add to the
    gradient is the normalized values with other weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(values, weight, mean, variance, count)
        ctx.eps = eps
        return functional.batch_norm(values, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        values, weight, mean, variance, count = ctx.saved_tensors
        gradient, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], values, weight, mean, variance, None, None, False, ctx.eps, [True] * 3
        )
        sums = ranks.add_up(torch.cat([of_bias, of_weight]).double())
        plain, along = (sums / count).to(mean.dtype).chunk(2)
        scale = weight * (variance + ctx.eps).rsqrt()
        gradient += functional.batch_norm(
            values, mean, variance, -scale * along, -scale * plain, eps=ctx.eps
        )
        return gradient, of_weight, of_bias, None, None, None, None
