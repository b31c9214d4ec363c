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
    normalized: torch.Tensor = _Normalize.apply(
        input, moments.mean, moments.variance, moments.count, eps
    )
    shape = (1, -1, *(1,) * (input.ndim - 2))
    if weight is not None and bias is not None:
        normalized = torch.addcmul(bias.view(shape), normalized, weight.view(shape))
    return normalized.to(input.dtype)


class _Moments:
    """Mean and biased variance of each channel, (C,) float64, of ``count`` values each, ()."""

    def __init__(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        self.mean, self.variance, self.count = mean, variance, count

    @classmethod
    def of(cls, values: torch.Tensor) -> "_Moments":
        """Return those of the values (B, C, ...) of all processes."""
        dims = [dim for dim in range(values.ndim) if dim != 1]
        with torch.no_grad():
            variance, mean = torch.var_mean(values.float(), dim=dims, correction=0)
            mean, variance = mean.double(), variance.double()
            number = values.numel() / values.shape[1]
            squares = number * (variance + mean.square())
            sums = torch.cat([mean.new_full((1,), number), number * mean, squares])
            count, total, squares = torch.split(_add_up(sums), [1, len(mean), len(mean)])
            mean = total / count
            return cls(mean, (squares / count - mean.square()).clamp(min=0.0), count[0])


class _Normalize(torch.autograd.Function):
    """(B, C, ...) -> the same with mean 0 and variance 1 over all processes, float32."""

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        shape = (1, -1, *(1,) * (values.ndim - 2))
        scale = (variance + eps).rsqrt().float().view(shape)
        normalized = (values.float() - mean.float().view(shape)) * scale
        ctx.save_for_backward(normalized, scale, count)
        return normalized

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        normalized, scale, count = ctx.saved_tensors
        (gradient,) = gradients
        dims = [dim for dim in range(gradient.ndim) if dim != 1]
        sums = torch.stack([gradient.sum(dim=dims), (gradient * normalized).sum(dim=dims)])
        plain, along = (_add_up(sums.double()) / count).float().view(2, *scale.shape)
        return (gradient - plain - normalized * along) * scale, None, None, None, None


def _add_up(sums: torch.Tensor) -> torch.Tensor:
    """Add up over all processes, in place."""
    import torch.distributed as dist

    with ranks.explain_lost_process():
        dist.all_reduce(sums)
    return sums
