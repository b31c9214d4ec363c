from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import train_tiny
from torch import nn

from defectkit.approaches.box import Box
from defectkit.approaches.build import build_approach
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.errors import ModelError
from defectkit.findings import Region
from defectkit.models.detection.detector import Detections
from defectkit.models.detection.localizer import Localizer
from defectkit.models.detection.yolo_grid import YoloGrid
from defectkit.training.loader import batches_of_one

CPU = torch.device("cpu")
RNG = np.random.default_rng(5)
SMALL = ("model.weights=none", "model.encoder=test_efficientnet")


class Bright(nn.Module):
    """Finds the box around all pixels above 200, its score the brightest of them; class 1."""

    def __init__(self, *, stride: int = 1, masks: bool = False):
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.size_divisor, self.masks = stride, masks
        self.images: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> list[Detections]:
        assert images.shape[2] % self.size_divisor == images.shape[3] % self.size_divisor == 0
        self.images.append(images.clone())
        return [self.look(one[0]) for one in images]

    def look(self, image: torch.Tensor) -> Detections:
        rows, columns = torch.nonzero(image > 200, as_tuple=True)
        if not len(rows):
            none = torch.zeros(0)
            masks = torch.zeros(0, *image.shape) if self.masks else None
            return Detections(torch.zeros(0, 4), none, none.long(), masks)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections(
            torch.tensor([box], dtype=torch.float32),
            image.max().float()[None] / 255,
            torch.tensor([1]),
            (image > 200).float()[None] if self.masks else None,
        )


def box(*changes: str, classes: int = 2, channels: int = 1, threshold: float = 0.5) -> Box:
    names = tuple(str(number) for number in range(1, classes + 1))
    config = load_config(None, ["approach=box", *changes])
    approach = build_approach(
        config, classes=names, channels=channels, tuning=Tuning(pixel_threshold=threshold)
    )
    assert isinstance(approach, Box)
    return approach


def image_with(height: int, width: int, *squares: tuple[int, int, int, int]) -> np.ndarray:
    image = RNG.integers(0, 200, (height, width, 1), np.uint8)
    for x, y, w, h in squares:
        image[y : y + h, x : x + w] = 255
    return image


# --- find ---------------------------------------------------------------------------------------


def test_images_of_several_sizes_keep_their_order_and_share_batches():
    network = Bright()
    boxes = [(3, 4, 5, 6), (1, 1, 9, 2), (30, 20, 8, 8), (0, 0, 4, 4)]
    sizes = [(40, 50), (30, 30), (40, 50), (50, 40)]
    images = [image_with(*size, one) for size, one in zip(sizes, boxes, strict=True)]
    findings = box().find(network, images)
    assert sorted(len(batch) for batch in network.images) == [1, 1, 2]
    for size, one, finding in zip(sizes, boxes, findings, strict=True):
        assert finding.score_map.shape == (2, *size)
        assert finding.regions == (
            Region(class_id="2", score=1.0, box_xywh=one, area=one[2] * one[3]),
        )
        assert finding.class_scores.tolist() == [0, 1]
    assert box().find(network, []) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 33), (64, 64)])
def test_images_are_padded_to_the_stride_by_reflection(size):
    network = Bright(stride=32)
    image = image_with(*size)
    (finding,) = box().find(network, [image])
    (seen,) = network.images
    padded = [(0, -length % 32) for length in size]
    np.testing.assert_array_equal(seen[0, 0], np.pad(image[..., 0], padded, mode="symmetric"))
    assert finding.score_map.shape == (2, *size)


def test_boxes_that_reach_into_the_padding_end_at_the_image():
    (finding,) = box().find(Bright(stride=32), [image_with(40, 40, (30, 36, 10, 4))])
    assert [one.box_xywh for one in finding.regions] == [(30, 36, 10, 4)]


def test_the_pixel_threshold_decides_what_a_region_is():
    image = image_with(40, 40)
    image[3:9, 3:9] = 204  # score 0.8
    for threshold, count in ((0.79, 1), (0.81, 0)):
        (finding,) = box(threshold=threshold).find(Bright(), [image])
        assert (len(finding.regions), len(finding.detections)) == (count, 1)
        assert finding.score == pytest.approx(0.8)


def test_large_images_are_tiled_and_boxes_found_twice_are_kept_once():
    network = Bright()
    tiles = ("infer.tile=64", "infer.overlap=32")
    # The first lies in one tile alone, the second in what four of them share.
    squares = [(2, 3, 10, 8), (76, 68, 14, 16)]
    (finding,) = box(*tiles).find(network, [image_with(160, 170, *squares)])
    assert len(network.images) > 4
    assert max(max(batch.shape[2:]) for batch in network.images) <= 64
    assert sorted(one.box_xywh for one in finding.detections) == squares
    (untiled,) = box("infer.tile=170").find(network, [image_with(160, 170, squares[0])])
    assert network.images[-1].shape == (1, 1, 160, 170)
    assert [one.box_xywh for one in untiled.detections] == squares[:1]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("architecture", ["localizer", "yolo_grid"])
def test_boxes_in_resized_images_are_brought_back_to_the_images_size(architecture, masks):
    network = Bright(masks=masks)
    approach = box(f"model.architecture={architecture}", "data.resize=128")
    image = np.full((64, 200, 1), 10, np.uint8)
    image[20:40, 50:120] = 255
    (finding,) = approach.find(network, [image])
    assert network.images[0].shape == (1, 1, 128, 128)
    (region,) = finding.regions
    np.testing.assert_allclose(region.box_xywh, (50, 20, 70, 20), atol=2)
    assert finding.score_map[1, 22:38, 53:117].min() > 0.9
    assert region.area == pytest.approx(1400, rel=0.1)


@pytest.mark.parametrize("masks", [False, True])
def test_nothing_found_in_a_resized_image(masks):
    network = Bright(masks=masks)
    (finding,) = box("data.resize=64").find(network, [image_with(30, 50)])
    assert (finding.score, finding.detections) == (0.0, ())


def test_the_localizer_sees_256_where_no_other_size_is_asked_for():
    network = Bright()
    box("model.architecture=localizer").find(network, [image_with(40, 300)])
    assert network.images[0].shape == (1, 1, 256, 256)


# --- network ------------------------------------------------------------------------------------


def test_the_choice_of_the_network():
    assert isinstance(box(*SMALL).network(), YoloGrid)
    assert isinstance(box(*SMALL, "model.architecture=localizer").network(), Localizer)


@pytest.mark.parametrize(("cell", "anchors"), [(8, 2), (32, 7)])
def test_the_settings_reach_the_grid_detector(cell, anchors):
    changes = (f"box.grid_stride={cell}", f"box.anchors={anchors}", "box.loss=l1",
               "box.loss_weight=7", "box.nms_iou=0.3",
               "box.score_threshold=0.2", "box.max_detections=9")  # fmt: skip
    network = box(*SMALL, *changes, classes=3).network()
    assert isinstance(network, YoloGrid)
    assert (network.cell_size, len(network.anchors)) == (cell, anchors)
    assert (network.box_loss, network.box_loss_weight) == ("l1", 7.0)
    assert network.suppress.keywords == {
        "nms_iou": 0.3,
        "score_threshold": 0.2,
        "max_detections": 9,
    }
    assert network.head.out_channels == anchors * 8


def test_a_side_that_the_network_cannot_take_is_refused():
    with pytest.raises(ModelError, match=r"data\.crop=100 is not divisible by 32, as yolo_grid"):
        box(*SMALL, "data.crop=100").network()
    with pytest.raises(ModelError, match=r"data\.resize=100 .* as localizer .* 96 or 128"):
        box(*SMALL, "data.resize=100", "model.architecture=localizer").network()
    box(*SMALL, "data.crop=100", "model.architecture=localizer").network()


@pytest.mark.parametrize("architecture", ["localizer", "yolo_grid"])
def test_the_encoder_of_an_earlier_run_of_another_approach_is_taken(architecture, run_folder):
    changes = (f"model.weights={run_folder}", f"model.architecture={architecture}")
    network = box(*changes).network()
    assert network.encoder is network.features
    earlier = load_file(run_folder / "model" / "model.safetensors")
    torch.testing.assert_close(
        network.features.conv_stem.weight, earlier["body.encoder.model.conv_stem.weight"]
    )


# --- training -----------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_its_terms():
    terms = {"box": torch.tensor(2.0), "class": torch.tensor(0.5)}
    network = lambda inputs, targets: terms if (inputs, targets) == ("in", "out") else None  # noqa: E731
    assert box().loss(network, "in", "out") == {**terms, "loss": torch.tensor(2.5)}


def test_the_grid_detector_gets_its_anchors_from_the_training_boxes(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    approach = box(*SMALL, "data.crop=96", "train.samples_per_epoch=40", "box.anchors=1")
    network = approach.network()
    samples = approach.samples(dataset, dataset.split("train"))
    network.fit_before_training(batches_of_one(samples, CPU))
    boxes = torch.cat([samples[0, index][1]["boxes"] for index in range(40)])
    mean = (boxes[:, 2:] - boxes[:, :2]).mean(dim=0)
    torch.testing.assert_close(network.anchors[0], mean, rtol=0.1, atol=1)
    before = network.anchors.clone()
    good = [record for record in dataset.split("train") if not record.defective]
    network.fit_before_training(batches_of_one(approach.samples(dataset, good), CPU))
    assert torch.equal(network.anchors, before)  # nothing to learn from: they stay


@pytest.mark.parametrize("architecture", ["yolo_grid", "localizer"])
def test_train_save_load_and_find(architecture, dataset_folder, tmp_path: Path):
    changes = (f"model.architecture={architecture}", "data.resize=64", SMALL[1], "approach=box")
    summary = train_tiny(dataset_folder, tmp_path / "run", *changes)
    assert summary.epochs == 2
    model = TrainedModel.load(tmp_path / "run", device="cpu")
    finding = model.find(image_with(70, 50)[..., 0])
    assert finding.score_map.shape == (2, 70, 50)
    if architecture == "localizer":
        assert len(finding.detections) == 1
    else:
        assert isinstance(model.network, YoloGrid)
        untouched = 16 * 2.0 ** torch.arange(5)
        assert not torch.equal(model.network.anchors[:, 0], untouched)
        # A resumed run goes on with the anchors it has, whatever is drawn meanwhile.
        train_tiny(dataset_folder, tmp_path / "run", *changes, "train.epochs=3", resume=True)
        resumed = TrainedModel.load(tmp_path / "run", device="cpu")
        torch.testing.assert_close(resumed.network.anchors, model.network.anchors)
