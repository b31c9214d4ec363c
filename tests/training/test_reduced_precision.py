import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from defectkit.config import TrainConfig
from defectkit.models.detection.localizer import Localizer
from defectkit.models.network import Network
from defectkit.training.reduced_precision import (
    choose_dtype,
    describe_precision,
    reduced_precision,
)

CPU = torch.device("cpu")


class Backward(TorchDispatchMode):
    """Records the dtypes of the gradients of convolutions."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.dtypes.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "stride": 2, "padding": (2, 1), "bias": True},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "dilation": (2, 1), "padding": 1},
    ],
)
def test_depthwise_convolutions_are_those_of_torch(options):
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


def test_only_gradients_of_depthwise_convolutions_are_in_full_precision():
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 3))
    with reduced_precision(CPU, torch.bfloat16):
        loss = network(torch.randn(1, 4, 9, 9)).sum()
    with Backward() as backward:
        loss.backward()
    assert backward.dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_what_is_frozen_has_no_gradient():
    layer = nn.Conv2d(4, 4, 3, groups=4).requires_grad_(False)
    images = torch.randn(1, 4, 8, 8, requires_grad=True)
    with reduced_precision(CPU, torch.bfloat16):
        loss = layer(images).float().sum()
    loss.backward()
    assert layer.weight.grad is None
    assert images.grad is not None


def test_without_a_dtype_nothing_is_changed():
    layer, images = nn.Conv2d(4, 4, 3, groups=4), torch.randn(1, 4, 8, 8)
    with reduced_precision(CPU, None):
        found = layer(images)
    assert found.dtype == torch.float32
    assert torch.equal(found, layer(images))


def test_the_precision_has_the_name_of_its_dtype():
    network = Network(mean=0.0, std=1.0)
    for amp, name in (("bf16", "bfloat16"), ("fp16", "float16"), ("off", "float32")):
        assert describe_precision(network, TrainConfig(amp=amp), CPU) == name
    network.learns = False  # nothing is trained by gradients
    assert describe_precision(network, TrainConfig(amp="bf16"), CPU) == "float32"


def test_networks_that_find_boxes_are_trained_in_full_precision():
    config = TrainConfig(amp="bf16")
    assert choose_dtype(Network(mean=0.0, std=1.0), config, CPU) is torch.bfloat16
    localizer = Localizer.__new__(Localizer)
    assert choose_dtype(localizer, config, CPU) is None
