from dataclasses import replace

import numpy as np
import pytest
import torch

from defectkit.approaches.good_samples import GoodSamples
from defectkit.config import load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import DatasetError
from defectkit.labels import rle


@pytest.fixture
def make(dataset_folder):
    def call(*settings: str, change=lambda records: records) -> GoodSamples:
        dataset = Dataset.load(dataset_folder)
        config = load_config(None, ["approach=novelty", *settings])
        records = change(dataset.split("train"))
        return GoodSamples(config, dataset, records)

    return call


def test_each_good_image_is_a_sample_with_its_group(make, dataset_folder):
    good = {one.image_id: one for one in Dataset.load(dataset_folder).split("train")}
    good = {name: record for name, record in good.items() if not record.defective}
    samples = make()
    assert {samples.image_id((0, index)) for index in range(len(samples))} == good.keys()
    groups = {}
    for index in range(len(samples)):
        image, target = samples[0, index]
        record = good[samples.image_id((0, index))]
        assert (image.shape, image.dtype) == ((1, 96, 96), torch.uint8)
        np.testing.assert_array_equal(image[0], record.read_image(1)[..., 0])
        assert target["counted"].shape == (96, 96)
        assert target["counted"].all()
        groups.setdefault(record.group, set()).add(target["group"])
    assert all(len(numbers) == 1 for numbers in groups.values())
    assert len(set.union(*groups.values())) == len(groups)


def test_large_images_come_in_tiles_in_an_order_of_the_seed(make):
    one, other = (
        make("infer.tile=64", "infer.overlap=16"),
        make("infer.tile=64", "infer.overlap=16", "seed=1"),
    )
    assert len(one) == 4 * len(make())
    assert (one.unit, make().unit) == ("tiles of good images", "good images")
    assert one.tiles != other.tiles
    assert one.tiles == make("infer.tile=64", "infer.overlap=16").tiles
    inputs, targets = one.collate([one[0, 0], one[0, 1]])
    assert inputs.shape == (2, 1, 64, 64)
    assert targets["counted"].shape == (2, 64, 64)
    assert targets["group"].shape == (2,)


def test_what_is_ignored_does_not_count_and_tiles_of_nothing_else_are_left_out(make):
    ignored = np.zeros((96, 96), bool)
    ignored[:70, :70] = True

    def ignore(records):
        return [replace(one, ignored=rle.encode(ignored)) for one in records]

    _, target = make(change=ignore)[0, 0]
    np.testing.assert_array_equal(target["counted"], ~ignored)
    tiled = make("infer.tile=64", "infer.overlap=16", change=ignore)
    assert len(tiled) == 3 * len(make())
    assert all(tiled[0, index][1]["counted"].any() for index in range(len(tiled)))


def test_good_images_of_one_group_are_refused(make):
    for change, count in (
        (lambda records: [one for one in records if one.defective], "0 groups"),
        (lambda records: [replace(one, group="a") for one in records], "1 group,"),
    ):
        with pytest.raises(DatasetError, match=rf"good training images of {count}.*at least two"):
            make(change=change)


def test_it_is_told_which_images_are_left_out(make):
    n_good = len(make())
    (line,) = make().describe()
    assert line == (
        f"learns from {n_good} good training images alone; {10 - n_good} defective ones are left "
        "out"
    )
    (alone,) = make(change=lambda records: [r for r in records if not r.defective]).describe()
    assert alone == f"learns from {n_good} good training images alone"
    image, masks = make().preview(2)[1]
    assert (image.shape, masks.shape) == ((96, 96, 1), (2, 96, 96))
    assert not masks.any()


def test_a_large_image_is_decoded_once_for_all_of_its_tiles(make, monkeypatch):
    decoded = []
    read = ImageRecord.read_image
    monkeypatch.setattr(
        ImageRecord, "read_image", lambda self, n: decoded.append(self.image_id) or read(self, n)
    )
    samples = make("infer.tile=64", "infer.overlap=16")
    for index in range(len(samples)):
        samples[0, index]
    assert sorted(decoded) == sorted(record.image_id for record in samples.records)
