from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor, check_side
from defectkit.approaches.sample_draws import HardPlace
from defectkit.arrays import Image, Mask
from defectkit.config import load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import write_png
from defectkit.errors import ModelError
from defectkit.labels import rle
from defectkit.regions import measure_regions

STILL = tuple(
    f"augment.{change}=0"
    for change in ("hflip", "vflip", "rot90", "affine", "brightness_contrast", "noise", "blur")
)


@pytest.fixture
def make(dataset_folder):
    def call(*settings: str, **options) -> CropSamples:
        dataset = Dataset.load(dataset_folder)
        config = load_config(None, ["data.crop=64", *settings])
        return CropSamples(config, dataset, dataset.split("train"), **options)

    return call


def test_a_sample_is_a_crop_and_its_masks(make):
    samples = make()
    image, masks = samples[1, 0]
    assert (image.shape, image.dtype) == ((1, 64, 64), torch.uint8)
    assert (masks.shape, masks.dtype) == ((2, 64, 64), torch.uint8)
    assert len(samples) == 128
    assert samples.unit == "random crops of 64 x 64 pixels"
    assert make("data.resize=32").unit == "whole images, resized to 32 x 32 pixels"
    assert len(make("train.samples_per_epoch=7")) == 7
    inputs, targets = samples.collate([samples[1, index] for index in range(3)])
    assert (inputs.shape, targets.shape) == ((3, 1, 64, 64), (3, 2, 64, 64))


def test_a_crop_is_a_window_of_its_image_and_masks_lie_on_their_defects(make):
    samples = make(*STILL, "data.crop=32")
    inside = 0
    records = {record.image_id: record for record in samples.records}
    for index in range(40):
        image, masks = samples.sample((1, index))
        record = records[samples.image_id((1, index))]
        whole, truth = record.read_image(1), record.read_masks(samples.classes)
        windows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (32, 32))
        places = np.argwhere((windows == image[..., 0]).all(axis=(2, 3)))
        for row, column in places:
            inside += 1
            here = truth[:, row : row + 32, column : column + 32]
            np.testing.assert_array_equal(masks, here)
    assert inside > 10


def test_as_many_crops_as_asked_hold_a_defect(make):
    for fraction, low, high in ((0.0, 0.0, 0.6), (1.0, 1.0, 1.0)):
        samples = make(*STILL, f"data.defect_fraction={fraction}", "data.crop=32")
        share = np.mean([samples.sample((1, index))[1].any() for index in range(60)])
        assert low <= share <= high


def write_image(folder: Path, image: Image, mask: Mask) -> ImageRecord:
    """An image file and its record, with the defects of ``mask``."""
    write_png(folder / "x.png", image)
    return ImageRecord(
        image_id="x", path=folder / "x.png", height=mask.shape[0], width=mask.shape[1], channels=1,
        sha256="", group="", split="train", rles={"a": rle.encode(mask)} if mask.any() else {},
        regions=tuple(measure_regions(mask, "a")),
    )  # fmt: skip


def crops_of(record: ImageRecord, *settings: str) -> CropSamples:
    dataset = Dataset(record.path.parent, {"classes": ["a"]}, (record,))
    return CropSamples(load_config(None, ["data.crop=32", *STILL, *settings]), dataset, [record])


def test_the_whole_area_is_seen_equally_often(tmp_path):
    record = write_image(tmp_path, np.zeros((189, 111), np.uint8), np.zeros((189, 111), bool))
    samples = crops_of(record)
    rng = np.random.default_rng(0)
    corners = [
        samples._draw_corner(samples.draws.draw((0, index)), (189, 111), None, rng)
        for index in range(90 * 6 * 4)  # ninety times as many crops as cover the image
    ]
    rows, columns = np.array(corners).T
    assert (rows.min(), rows.max()) == (-8, 189 - 32 + 8)
    assert (columns.min(), columns.max()) == (-8, 111 - 32 + 8)
    cells = Counter(zip((rows + 8) // 29, (columns + 8) // 24, strict=True))
    assert len(cells) == 6 * 4
    assert set(cells.values()) == {90}


def test_each_defect_comes_equally_often_whatever_encloses_it(tmp_path):
    """A ring, a spot in it, and a spot in its box: three regions, two of them in the box of one."""
    mask = np.zeros((90, 90), bool)
    mask[10:70, 10:70] = True
    mask[14:66, 14:66] = False
    mask[40, 40] = mask[20, 60] = True
    record = write_image(tmp_path, mask.astype(np.uint8), mask)
    samples = crops_of(record, "data.defect_fraction=1")
    masks = mask[None].view(np.uint8)
    corners = []
    for index in range(300):
        rng = np.random.default_rng(index)
        draw = samples.draws.draw((0, index))
        center = samples._draw_center(draw, masks, rng)
        corners.append(samples._draw_corner(draw, mask.shape, center, rng))
    for region in record.regions:
        if region.area > 1:
            continue
        x, y, *_ = region.box_xywh
        inside = [row <= y < row + 32 and column <= x < column + 32 for row, column in corners]
        assert 100 <= sum(inside) < 190


def test_an_epoch_is_drawn_again_the_same_and_the_next_is_another(make):
    one, same = make(), make()
    torch.testing.assert_close(one[2, 5], same[2, 5])
    assert not torch.equal(one[2, 5][0], one[3, 5][0])
    assert not torch.equal(one[2, 5][0], make("seed=1")[2, 5][0])


def test_whole_images_are_resized_where_that_is_asked(make):
    samples = make(*STILL, resize=48)
    image, masks = samples.sample((1, 0))
    assert image.shape == (48, 48, 1)
    assert masks.shape == (2, 48, 48)
    assert set(np.unique(masks)) <= {0, 1}
    assert make("data.resize=64").resize == 64


def test_a_tensor_shares_no_memory_with_its_image():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tensor = as_tensor(image)
    assert tensor.shape == (3, 2, 4)
    before = tensor.clone()
    image[:] = 0
    assert torch.equal(tensor, before)


@pytest.mark.parametrize(
    ("settings", "resize", "message"),
    [
        (["data.crop=100"], None, r"data.crop=100 is not divisible by 32, as unet .* 96 or 128\."),
        ([], 40, r"data.resize=40 is not divisible by 32, as unet needs\. Use 32 or 64\."),
        (["data.crop=33"], None, r"Use 32 or 64\."),
    ],
)
def test_a_side_that_does_not_fit_the_network_is_refused(settings, resize, message):
    with pytest.raises(ModelError, match=message):
        check_side(load_config(None, settings), divisor=32, resize=resize)
    check_side(load_config(None, ["data.crop=96"]), divisor=32, resize=None)


def test_samples_know_which_of_their_pixels_count(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    config = load_config(None, ["data.crop=64", "data.defect_fraction=0", *STILL])
    ignored = np.zeros((96, 96), bool)
    ignored[40:60] = True
    records = [
        replace(record, roi="8,16,20,70", ignored=rle.encode(ignored), rles={}, regions=())
        for record in dataset.split("train")
    ]
    records[0] = replace(records[0], roi="", ignored="")
    samples = CropSamples(config, dataset, records)
    by_id = {record.image_id: record for record in records}
    for index in range(20):
        image, masks, counted = samples.scoped_sample((1, index))
        assert (counted.shape, counted.dtype, masks.shape) == ((64, 64), np.bool_, (2, 64, 64))
        assert counted.any()
        record = by_id[samples.image_id((1, index))]
        assert counted.all() == (record is records[0])
        whole = np.pad(record.read_image(1)[..., 0], 16, mode="symmetric")
        truth = np.ones((96, 96), bool)
        if record is not records[0]:
            truth = record.read_scope().counted
        truth = np.pad(truth, 16, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(whole, (64, 64))
        (row, column), *_ = np.argwhere((windows == image[..., 0]).all(axis=(2, 3)))
        np.testing.assert_array_equal(counted, truth[row : row + 64, column : column + 64])
    inputs, targets = samples.collate([samples[1, index] for index in range(3)])
    assert inputs.shape == (3, 1, 64, 64)
    assert targets["masks"].shape == (3, 2, 64, 64)
    assert (targets["counted"].shape, targets["counted"].dtype) == ((3, 64, 64), torch.bool)


def test_scopes_are_augmented_and_resized_as_the_masks_are(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    for settings in (["data.crop=64"], ["data.resize=64"]):
        config = load_config(None, [*settings, "data.defect_fraction=1"])
        # The defects are what does not count: so they are where it is not counted.
        records = [
            replace(record, ignored=rle.encode(record.read_masks(dataset.classes).any(axis=0)))
            for record in dataset.split("train")
            if record.defective
        ]
        samples = CropSamples(config, dataset, records)
        for index in range(12):
            _, masks, counted = samples.scoped_sample((1, index))
            np.testing.assert_array_equal(~counted, masks.any(axis=0))


def test_real_defects_are_pasted_into_the_asked_fraction_of_the_other_crops(make):
    settings = (*STILL, "data.defect_fraction=0.25", "data.crop=64")
    samples, plain = make(*settings, "data.injection=0.6"), make(*settings)
    asked = pasted = 0
    for index in range(80):
        draw = samples.draws.draw((1, index))
        image, masks = samples.sample((1, index))
        assert samples.image_id((1, index)) == plain.image_id((1, index))
        if draw.class_id is not None:
            np.testing.assert_array_equal(image, plain.sample((1, index))[0])
        asked += bool(draw.sources)
        pasted += bool(draw.sources) and masks.any()
        assert {source.record.split for source in draw.sources} <= {"train"}
        assert len({source.class_id for source in draw.sources}) <= 1
        # The squares of the dataset are the only bright things in it.
        np.testing.assert_array_equal(masks.any(axis=0), image[..., 0] >= 190)
    assert asked == 36
    assert pasted > 20


def test_the_asked_fraction_of_good_crops_is_cut_around_a_hard_place(make):
    settings = (*STILL, "data.crop=32", "data.defect_fraction=0.5")
    samples = make(*settings, "data.hard_negatives=0.5")
    record = samples.records[0]
    whole = record.read_image(1)[..., 0]
    place = HardPlace(record.image_id, 40, 60, 0.9)
    around = np.lib.stride_tricks.sliding_window_view(whole[9:72, 29:92], (32, 32))
    hard = 0
    for index in range(80):
        image, _ = samples.sample((1, index, place))
        if samples.draws.draw((1, index, place)).place is None:
            np.testing.assert_array_equal(image, samples.sample((1, index))[0])
            continue
        hard += 1
        assert samples.image_id((1, index, place)) == record.image_id
        assert (around == image[..., 0]).all(axis=(2, 3)).any()
    assert hard == 20
