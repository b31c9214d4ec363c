import copy

import numpy as np
import pytest
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from defectkit.data import image_cache
from defectkit.data.dataset import Dataset
from defectkit.data.image_cache import MIB, ImageCache
from defectkit.errors import ImageError

SIDE = 96
"""Of the images of the fixture."""


@pytest.fixture
def records(dataset_copy):
    return Dataset.load(dataset_copy).split("train")


def test_an_image_is_decoded_once_and_may_not_be_written_to(records):
    cache = ImageCache(1)
    first = cache.read(records[0], 1)
    np.testing.assert_array_equal(first, records[0].read_image(1))
    assert cache.read(records[0], 1) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    records[0].path.unlink()
    assert cache.read(records[0], 1) is first


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_no_more_images_are_kept_than_the_budget_allows(records, kept):
    cache = ImageCache(0)
    cache.budget = (kept + 1) * SIDE**2 - 1
    for record in records[:5]:
        cache.read(record, 1)
        assert cache.taken <= cache.budget
    for record in records[:5]:
        record.path.unlink()
    for record in records[:kept]:
        cache.read(record, 1)
    for record in records[kept:5]:
        with pytest.raises(ImageError, match="cannot read"):
            cache.read(record, 1)


@pytest.mark.parametrize(("free", "budget"), [(400 * MIB, 100 * MIB), (None, 256 * MIB)])
def test_by_default_a_quarter_of_the_free_memory_is_taken(monkeypatch, free, budget):
    monkeypatch.setattr(image_cache, "free_memory", lambda: free)
    assert ImageCache(None).budget == budget
    assert ImageCache(7).budget == 7 * MIB


def test_another_process_starts_with_the_budget_and_no_image(records):
    cache = ImageCache(3)
    cache.read(records[0], 1)
    other = copy.copy(cache)  # as it is sent
    assert (other.budget, other.taken) == (3 * MIB, 0)


class Readings(TorchDataset):
    """Reads the images again and again; an item is what its cache takes then."""

    def __init__(self, records):
        self.records, self.cache = records, ImageCache(0)
        self.cache.budget = 4 * SIDE**2

    def __len__(self):
        return 20

    def __getitem__(self, index):
        for record in self.records:
            self.cache.read(record, 1)
        return self.cache.taken


def test_loader_processes_share_the_budget(records):
    for workers, taken in ((0, 4), (1, 4), (2, 2)):
        loader = DataLoader(Readings(records), num_workers=workers)
        assert {int(value) for value in loader} == {taken * SIDE**2}


def test_what_loader_processes_inherit_leaves_each_a_share_of_the_rest(records):
    readings = Readings(records)
    for record in records[:2]:
        readings.cache.read(record, 1)
    loader = DataLoader(readings, num_workers=2, multiprocessing_context="fork")
    assert {int(value) for value in loader} == {3 * SIDE**2}
