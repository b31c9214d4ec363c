import torch
from torch import nn

from defectkit import devices
from defectkit.config import TrainConfig
from defectkit.models.detection.localizer import Localizer
from defectkit.models.network import Network
from defectkit.training.reduced_precision import (
    choose_dtype,
    describe_precision,
    reduced_precision,
)

CPU = torch.device("cpu")


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


def test_networks_that_find_boxes_are_trained_in_full_precision_unless_told(monkeypatch):
    monkeypatch.setattr(devices, "_multiplies_bfloat16", lambda: True)
    network, localizer = Network(mean=0.0, std=1.0), Localizer.__new__(Localizer)
    assert choose_dtype(network, TrainConfig(), CPU) is torch.bfloat16
    assert choose_dtype(localizer, TrainConfig(), CPU) is None
    for one in (network, localizer):
        assert choose_dtype(one, TrainConfig(amp="bf16"), CPU) is torch.bfloat16
        assert choose_dtype(one, TrainConfig(amp="off"), CPU) is None
