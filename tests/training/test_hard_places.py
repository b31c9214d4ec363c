from dataclasses import replace

import numpy as np
import pytest
from trial import Tiny

from defectkit.approaches.sample_draws import HardPlace
from defectkit.approaches.segment import Segment
from defectkit.findings import Finding
from defectkit.labels import rle
from defectkit.training import hard_places
from defectkit.training.hard_places import LABEL_MARGIN, find_hard_places

SIDE = 96
"""Of the images of the fixture."""


def find_bright(self, network, images, scopes=()):
    """Take brightness for the score of a defect."""
    return [
        Finding(
            score_map=np.repeat(image[..., 0][None] / np.float32(255), 2, axis=0),
            region_map=np.zeros(image.shape[:2], np.int32),
            regions=(),
            score=1.0,
            class_scores=np.ones(2, np.float32),
        )
        for image in images
    ]


@pytest.fixture
def find(trial, monkeypatch):
    """Find hard places after an epoch, as brightness gives them."""
    monkeypatch.setattr(Segment, "find", find_bright)
    run = trial("data.hard_negatives=0.5")

    def call(*, epoch=1, known=(), records=None):
        if records is not None:
            run.samples.records = records
        return find_hard_places(run.approach, Tiny(), run.samples, known=known, epoch=epoch)

    call.samples = run.samples
    return call


@pytest.fixture
def all_at_once(monkeypatch):
    monkeypatch.setattr(hard_places, "PIXELS_PER_TRAINED", 1e6)


def test_the_highest_scores_of_good_pixels_are_found(find, all_at_once):
    places = find()
    records = {record.image_id: record for record in find.samples.records}
    assert {place.image_id for place in places} == records.keys()
    assert [place.score for place in places] == sorted((p.score for p in places), reverse=True)
    for image_id, record in records.items():
        (first, second) = [place for place in places if place.image_id == image_id]
        image = record.read_image(1)[..., 0].astype(float)
        for y, x in np.argwhere(record.read_masks(("1", "2")).any(axis=0)):
            image[max(y - LABEL_MARGIN, 0) : y + LABEL_MARGIN + 1,
                  max(x - LABEL_MARGIN, 0) : x + LABEL_MARGIN + 1] = 0  # fmt: skip
        assert first.score == pytest.approx(image.max() / 255)
        assert image[first.row, first.column] == image.max()
        assert second.score == pytest.approx(image[second.row, second.column] / 255)
        assert max(abs(first.row - second.row), abs(first.column - second.column)) > 16


def test_pixels_that_do_not_count_are_no_places(find, all_at_once):
    ignored = np.zeros((SIDE, SIDE), bool)
    ignored[:, 30:] = True
    records = [
        replace(record, ignored=rle.encode(ignored), rles={}, regions=())
        for record in find.samples.records
    ]
    assert max(place.column for place in find(records=records)) < 30
    records = [
        replace(record, roi="0,0,1,1", ignored="1 1", rles={}, regions=()) for record in records
    ]
    assert find(records=records) == []


def test_all_images_come_in_turn_and_what_is_known_of_others_is_kept(find, monkeypatch):
    assert find(epoch=0, known=[HardPlace("x", 1, 1, 1.0)]) == []
    records = find.samples.records
    trained = len(find.samples) * 32**2
    monkeypatch.setattr(hard_places, "PIXELS_PER_TRAINED", 3.0001 * SIDE**2 / trained)
    known, seen = [], []
    for epoch in range(1, 1 + -(-len(records) // 3)):
        before, known = known, find(epoch=epoch, known=known)
        assert {*before} <= {*known} or len(seen) + 3 > len(records)
        own = {place.image_id for place in known} - {place.image_id for place in before}
        seen += sorted(own)
    assert sorted(seen) == sorted(record.image_id for record in records)
    # What is looked at again replaces what was known of it.
    stale = [HardPlace(record.image_id, 0, 0, 1.0) for record in records]
    again = find(epoch=1, known=stale)
    assert sum(place in stale for place in again) == len(records) - 3
    assert again == find(epoch=1, known=stale)


def test_only_the_hardest_places_are_kept(find, all_at_once, monkeypatch):
    everything = find()
    monkeypatch.setattr(hard_places, "MAX_PLACES", 5)
    assert find() == everything[:5]


def test_of_large_images_one_is_scored_when_a_whole_one_is_due(find, monkeypatch):
    trained = len(find.samples) * 32**2
    monkeypatch.setattr(hard_places, "PIXELS_PER_TRAINED", 0.26 * SIDE**2 / trained)
    known, counts = [], []
    for epoch in range(1, 9):
        known = find(epoch=epoch, known=known)
        counts.append(len({place.image_id for place in known}))
    assert counts == [0, 0, 0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("settings", [["approach=patch"], ["data.resize=64"]])
def test_nothing_is_scored_where_samples_are_no_crops(trial, monkeypatch, settings):
    monkeypatch.setattr(hard_places, "predict", None)
    monkeypatch.setattr(hard_places, "PIXELS_PER_TRAINED", 1e6)
    run = trial("data.hard_negatives=0.5", *settings)
    assert find_hard_places(run.approach, Tiny(), run.samples, known=[], epoch=1) == []
