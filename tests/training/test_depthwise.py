import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from defectkit.training.depthwise import Steps, _DepthwiseConvolution
from defectkit.training.reduced_precision import reduced_precision

CPU = torch.device("cpu")


class Backward(TorchDispatchMode):
    """Records the kernels of which torch computes gradients, and their dtypes."""

    def __init__(self):
        super().__init__()
        self.kernels, self.dtypes = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.kernels.append(tuple(args[2].shape[2:]))
            self.dtypes.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    side=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    stride=PAIRS,
    dilation=PAIRS,
    frozen=st.sampled_from([None, 0, 1]),
)
def test_gradients_are_those_of_torch(kernel, padding, side, stride, dilation, frozen):
    reach = [step * (cells - 1) for step, cells in zip(dilation, kernel, strict=True)]
    assume(all(s + 2 * p > r for s, p, r in zip(side, padding, reach, strict=True)))
    given = [torch.randn(2, 3, *side).double(), torch.randn(3, 1, *kernel).double()]
    for number, tensor in enumerate(given):
        tensor.requires_grad_(number != frozen)
    plain = nn.functional.conv2d(*given, None, stride, padding, dilation, 3)
    found = _DepthwiseConvolution.apply(*given, Steps(stride, padding, dilation))
    assert torch.equal(found, plain)
    weights = torch.randn_like(plain)
    wanted = [tensor for tensor in given if tensor.requires_grad]
    expected = torch.autograd.grad((plain * weights).sum(), wanted)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), wanted), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "stride": 2, "padding": (2, 1), "bias": True},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "dilation": (2, 1), "padding": 1},
    ],
)
def test_layers_are_those_of_torch_in_the_precision_of_autocast(options):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, groups=6, **{"bias": False, **options})
    images = torch.randn(2, 6, 11, 12, requires_grad=True)
    expected = torch.autograd.grad(plain(images).square().sum(), [images, *plain.parameters()])
    with reduced_precision(CPU, torch.bfloat16):
        found = plain(images)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), plain(images), atol=0.02, rtol=0.02)
    gradients = torch.autograd.grad(found.float().square().sum(), [images, *plain.parameters()])
    for one, other in zip(gradients, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.03 * other.abs().max().item(), rtol=0.05)


def test_torch_is_asked_for_nothing_that_it_computes_slowly():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 1),
        nn.Conv2d(8, 8, 5, groups=8, stride=2, padding=2),
        nn.Conv2d(8, 8, 3, groups=8),
    )
    with reduced_precision(CPU, torch.bfloat16):
        loss = network(torch.randn(1, 4, 16, 16)).sum()
    with Backward() as backward:
        loss.backward()
    assert backward.dtypes == {torch.bfloat16}
    assert backward.kernels == [(3, 3), (5, 3), (5, 3), (1, 1)]


def test_what_is_frozen_has_no_gradient():
    layer = nn.Conv2d(4, 4, 3, groups=4).requires_grad_(False)
    images = torch.randn(1, 4, 8, 8, requires_grad=True)
    with reduced_precision(CPU, torch.bfloat16):
        loss = layer(images).float().sum()
    loss.backward()
    assert layer.weight.grad is None
    assert images.grad is not None
