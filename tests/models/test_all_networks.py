"""One battery of checks for all networks: a new architecture joins it by its name in the config.

Detectors are also held to what ``Detections`` promises.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scenes import scenes
from torchvision.ops import box_iou

from defectkit.approaches.build import build_approach
from defectkit.config import ARCHITECTURES, WITHOUT_ENCODER, load_config
from defectkit.errors import ModelError, NotFiniteError
from defectkit.models.classification.tile_classifier import TileClassifier
from defectkit.models.detection.detector import Detections, Detector
from defectkit.models.network import Network
from defectkit.models.segmentation.segmenter import SegmenterOutput

CLASSES = {1: ("1", "2"), 3: ("1",), 5: ("1", "2")}
ENCODERS = {1: "test_resnet", 3: "tf_efficientnet_lite0", 5: "test_resnet"}
"""Gray images have two classes and color images one, so that both are tried; so with encoders."""

SETTINGS = {
    "fcn": ("model.encoder=resnet50",),
    "dpt": ("model.encoder=resnet18",),
    "pan": ("data.crop=128",),
    "patch": ("patch.tile=32", "patch.context=16"),
    "novelty": ("novelty.bank=64",),
    "box": ("box.score_threshold=0", "box.max_detections=20", "box.anchor_sizes=[12,24,48]"),
}
"""What is asked of an approach, or of one architecture."""

UNREACHED = {"dpt": ["body.encoder.model.fc.weight", "body.encoder.model.fc.bias"]}
"""Layers that are built and never run: the library keeps the encoder's classifier."""

NETWORKS = [(a, name) for a, names in ARCHITECTURES.items() for name in names]

every_network = pytest.mark.parametrize(
    ("approach", "architecture"), NETWORKS, ids=[name for _, name in NETWORKS]
)


def make(approach: str, architecture: str, *settings: str, channels: int = 1) -> Any:
    """The approach and its network, with random weights that are the same each time."""
    torch.manual_seed(0)
    config = load_config(
        None,
        [
            f"approach={approach}",
            f"model.architecture={architecture}",
            "model.weights=none",
            f"model.encoder={ENCODERS[channels]}",
            *SETTINGS.get(approach, ()),
            *SETTINGS.get(architecture, ()),
            *settings,
        ],
    )
    made = build_approach(config, classes=CLASSES[channels], channels=channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of libraries about their own parts
        network = made.network()
    assert isinstance(network, Network)
    assert network.training
    return made, network


@cache
def evaluated(approach: str, architecture: str, channels: int = 1) -> Any:
    """As ``make``, for evaluation; shared by the tests, which do not change it."""
    made, network = make(approach, architecture, channels=channels)
    return made, network.eval()


def draw_images(network: Any, count: int, *, channels: int = 1) -> torch.Tensor:
    """Images (B, C, H, W) uint8 of a size that the network takes: not square, where it can."""
    if isinstance(network, TileClassifier):
        height = width = network.size
    else:
        height = network.size_divisor * -(-64 // network.size_divisor)
        width = height + network.size_divisor
    generator = torch.Generator().manual_seed(1)
    size = (count, channels, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def outputs(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """All that the network says of each image, as one tensor an image."""
    with torch.inference_mode():
        found = network(images)
    if isinstance(found, torch.Tensor):
        return list(found)
    if isinstance(found, SegmenterOutput):
        judged = [] if found.images is None else [found.images[:, None]]
        return list(torch.cat([found.pixels.flatten(1), *judged], dim=1))
    return [
        torch.cat([one.boxes, one.scores[:, None], one.labels[:, None].float()], dim=1)
        for one in found
    ]


def check_detections(found: list[Detections], architecture: str, images: torch.Tensor) -> None:
    _, channels, height, width = images.shape
    n_classes = len(CLASSES[channels])
    for one in found:
        count = len(one.scores)
        assert one.boxes.shape == (count, 4)
        assert one.labels.shape == (count,)
        assert one.boxes.dtype == one.scores.dtype == torch.float32
        assert one.labels.dtype == torch.int64
        assert 0 < count <= 20
        assert (one.scores.diff() <= 0).all()
        assert ((one.scores >= 0) & (one.scores <= 1)).all()
        assert ((one.labels >= 0) & (one.labels < n_classes)).all()
        assert (one.boxes >= 0).all()
        assert (one.boxes <= torch.tensor([width, height, width, height])).all()
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
        # The grid detector suppresses first and then clips boxes to the image, which changes IoUs.
        for label in range(n_classes) if architecture != "yolo_grid" else ():
            own = one.boxes[one.labels == label]
            assert (box_iou(own, own).triu(1) <= 0.4).all()
        if architecture == "mask_rcnn":
            assert one.masks is not None
            assert one.masks.shape == (count, height, width)
            assert ((one.masks >= 0) & (one.masks <= 1)).all()
        else:
            assert one.masks is None


@pytest.mark.slow
@every_network
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_it_says_of_images_of_any_channels_what_it_should(approach, architecture, channels):
    _, network = evaluated(approach, architecture, channels)
    images = draw_images(network, 2, channels=channels)
    with torch.inference_mode():
        found = network(images)
        as_floats = network(images.float())
    if isinstance(network, Detector):
        assert len(found) == 2
        check_detections(found, architecture, images)
        torch.testing.assert_close(found[0].boxes, as_floats[0].boxes)
    else:
        places = (1, 1) if approach == "patch" else images.shape[2:]
        if approach == "segment":
            if found.images is not None:
                assert found.images.shape == (2,)
                torch.testing.assert_close(found.images, as_floats.images)
            found, as_floats = found.pixels, as_floats.pixels
        n_outputs = {1: 3, 3: 1, 5: 3}[channels]  # any defect, and with two classes one for each
        if approach == "novelty":
            n_outputs = 1
        assert found.shape == (2, n_outputs, *places)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, as_floats)


@every_network
def test_images_of_odd_sizes_are_inspected(approach, architecture):
    made, network = evaluated(approach, architecture)
    image = np.random.default_rng(0).integers(0, 256, (67, 131, 1), np.uint8)
    (finding,) = made.find(network, [image])
    assert finding.score_map.shape == (len(made.found_classes), 67, 131)


@pytest.mark.check(56)
@every_network
def test_a_network_that_has_diverged_is_an_error_and_no_image_without_defects(
    approach, architecture
):
    made, network = make(approach, architecture)
    network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8)
    with pytest.raises(NotFiniteError, match=r"scores are not finite.*lower train\.lr"):
        made.find(network, [image])


@every_network
def test_an_image_is_judged_the_same_alone_again_and_beside_others(approach, architecture):
    _, network = evaluated(approach, architecture)
    images = draw_images(network, 3)
    together = outputs(network, images)
    for expected, again in zip(together, outputs(network, images), strict=True):
        assert torch.equal(expected, again)
    (alone,) = outputs(network, images[:1])
    torch.testing.assert_close(alone, together[0], rtol=1e-3, atol=1e-3)


@every_network
def test_its_state_is_all_there_is(approach, architecture):
    network, other = (make(approach, architecture)[1].eval() for _ in range(2))
    images = draw_images(network, 2)
    with torch.no_grad():  # what training changes: also buffers, such as anchors and statistics
        for parameter in network.parameters():
            parameter.mul_(0.9)
        for buffer in network.buffers():
            buffer.add_(0.01 if buffer.is_floating_point() else 1)
    other.load_state_dict(load(save(network.state_dict())))
    for expected, given in zip(outputs(network, images), outputs(other, images), strict=True):
        assert torch.equal(expected, given)


@every_network
def test_the_loss_reaches_every_parameter(approach, architecture):
    _, network = make(approach, architecture)
    assert network.learns == any(one.requires_grad for one in network.parameters())
    if not network.learns:
        return
    if isinstance(network, Detector):
        terms = network(*scenes(1, (1, 2), side=64))
        loss = torch.stack(list(terms.values())).sum()
    else:
        said = network(draw_images(network, 3))
        parts = said if isinstance(said, SegmenterOutput) else [said]
        loss = torch.stack([part.square().mean() for part in parts if part is not None]).sum()
    loss.backward()
    learning = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    unreached = [name for name, gradient in learning.items() if gradient is None]
    assert unreached == UNREACHED.get(architecture, [])
    gradients = [gradient for gradient in learning.values() if gradient is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0].any()


@pytest.mark.parametrize(
    ("approach", "architecture"),
    [pair for pair in NETWORKS if pair[1] not in WITHOUT_ENCODER],
    ids=[name for _, name in NETWORKS if name not in WITHOUT_ENCODER],
)
def test_an_unknown_encoder_is_refused_with_the_way_out(approach, architecture):
    with pytest.raises(ModelError, match=r"resnet19.*(List names with|one of: resnet50)"):
        make(approach, architecture, "model.encoder=resnet19")
