import numpy as np
import pytest
import torch

from defectkit.approaches.box import Box
from defectkit.approaches.build import build_approach
from defectkit.approaches.fused import Fused
from defectkit.approaches.novelty import Novelty
from defectkit.approaches.patch import Patch
from defectkit.approaches.segment import Segment
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config


@pytest.mark.parametrize(
    ("name", "kind"),
    [("segment", Segment), ("patch", Patch), ("box", Box), ("novelty", Novelty)],
)
def test_the_approach_of_the_configuration_is_built(name, kind):
    config = load_config(None, [f"approach={name}"])
    tuning = Tuning(pixel_threshold=0.3)
    built = build_approach(config, classes=("scratch", "stain"), channels=3, tuning=tuning)
    assert isinstance(built, kind)
    assert built.config is config
    assert (built.classes, built.channels, built.tuning) == (("scratch", "stain"), 3, tuning)


def test_novelty_is_fused_with_a_trained_approach():
    known = {"classes": ("scratch", "stain"), "channels": 3}
    trained = build_approach(load_config(None, []), **known, tuning=Tuning(min_area=7))
    config = load_config(None, ["approach=novelty", "infer.min_area=5"])
    fused = build_approach(config, **known, trained=trained, trained_run="abc")
    assert isinstance(fused, Fused)
    assert (fused.config, fused.trained, fused.tuning.min_area) == (config, trained, 5)
    assert (fused.classes, fused.found_classes) == (known["classes"], known["classes"])
    assert (fused.channels, fused.trained_run) == (3, "abc")
    tuned = fused.tuned(0.8).tuning
    assert (tuned.min_area, tuned.novelty_threshold) == (7, 0.8)


@pytest.mark.parametrize(("chosen", "asked", "expected"), [(5, 9, 9), (9, 5, 9), (0, 0, 0)])
def test_the_min_area_of_the_configuration_is_a_floor(chosen, asked, expected):
    config = load_config(None, [f"infer.min_area={asked}"])
    tuning = Tuning(pixel_threshold=0.3, min_area=chosen)
    built = build_approach(config, classes=("1",), channels=1, tuning=tuning)
    assert built.tuning == Tuning(pixel_threshold=0.3, min_area=expected)


@pytest.mark.check(61)
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 2000)])
@pytest.mark.parametrize(
    "settings",
    [
        ("approach=segment", "model.encoder=resnet18"),
        ("approach=patch", "model.architecture=lenet", "patch.tile=32"),
        ("approach=box", "model.architecture=yolo_grid", "model.encoder=resnet18"),
        ("approach=novelty", "model.encoder=resnet18", "novelty.bank=8"),
    ],
)
def test_of_thin_images_a_network_sees_parts_of_bounded_size(settings, size):
    config = load_config(
        None, ["infer.tile=64", "infer.overlap=16", "model.weights=none", *settings]
    )
    approach = build_approach(config, classes=("1",), channels=1)
    network = approach.network().eval()
    seen: list[int] = []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0].numel()))
    (finding,) = approach.find(network, [np.zeros((*size, 1), np.uint8)])
    assert finding.score_map.shape == (1, *size)
    # A tile with its padding, and with the tiles and their context that reach beyond it.
    assert max(seen) <= (64 + 2 * 32) ** 2
