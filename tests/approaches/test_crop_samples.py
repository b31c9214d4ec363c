from dataclasses import replace

import numpy as np
import pytest
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor, check_side
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ModelError
from defectkit.labels import rle

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


def test_rare_classes_are_drawn_more_often_than_they_occur(make):
    samples = make("data.defect_fraction=1")
    (only,) = [record for record in samples.defective if "1" in record.rles][:1]
    samples.records = samples.defective = [
        only, *(record for record in samples.defective if "2" in record.rles),
    ]  # fmt: skip
    others = len(samples.defective) - 1
    assert others >= 2
    drawn = [samples.image_id((1, index)) == only.image_id for index in range(400)]
    assert np.mean(drawn) == pytest.approx(1 / (1 + others**0.5), abs=0.08)


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
