import copy
import time

import numpy as np
import pytest
import torch

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.errors import ImageError
from defectkit.evaluation.box_metrics import BoxMetrics
from defectkit.evaluation.image_metrics import image_metrics
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import batch_size_for, predict, predict_by
from defectkit.evaluation.region_matching import match_regions, region_metrics


@pytest.fixture(scope="module")
def model(run_folder):
    return defectkit.load(run_folder, device="cpu")


@pytest.fixture(scope="module")
def records(dataset_folder):
    return list(Dataset.load(dataset_folder).records)


@pytest.mark.check(29)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_every_image_is_predicted_once_in_order(model, records, batch_size):
    predictions = list(predict(model.approach, model.network, records, batch_size=batch_size))
    assert [prediction.record for prediction in predictions] == records
    for prediction in predictions:
        np.testing.assert_array_equal(prediction.image, prediction.record.read_image(1))
        np.testing.assert_array_equal(
            prediction.truth.masks, prediction.record.read_masks(("1", "2"))
        )
        assert prediction.finding.score_map.shape == prediction.truth.masks.shape
        assert prediction.seconds > 0


@pytest.mark.check(29)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batches_and_order_change_no_score(model, records, batch_size):
    alone = {
        prediction.record.image_id: prediction.finding.score
        for prediction in predict(model.approach, model.network, records)
    }
    shuffled = records[::-2] + records[::2]
    for prediction in predict(model.approach, model.network, shuffled, batch_size=batch_size):
        assert prediction.finding.score == pytest.approx(
            alone[prediction.record.image_id], abs=1e-5
        )


@pytest.fixture(scope="module")
def exact_network(model):
    """The network of `model` in float64, in which a larger batch rounds no pixel over a threshold.

    In float32 the convolutions of 64 images differ from those of one in the seventh digit, which
    may move a pixel of a mask, and with it a Dice value by 1e-5.
    """
    network = copy.deepcopy(model.network).double()
    network.body.encoder.register_forward_pre_hook(lambda _, images: images[0].double())
    return network


def metrics_of(approach, network, thresholds, records, batch_size):
    """The metrics of evaluation, as a flat dictionary."""
    pixels = PixelMetrics(classes=approach.classes, threshold=approach.tuning.pixel_threshold)
    boxes = BoxMetrics(classes=approach.classes)
    scores, regions = [], []
    for prediction in predict(approach, network, records, batch_size=batch_size):
        pixels.update(prediction.finding.score_map, prediction.truth)
        boxes.update(prediction.finding.regions, prediction.record.regions)
        regions += match_regions(
            prediction.finding, prediction.truth, image_id=prediction.record.image_id
        )
        scores.append((prediction.finding.score, prediction.record.defective))
    image = image_metrics(*zip(*scores, strict=True), thresholds)
    region = region_metrics(regions, {one.image_id: one.defective for one in records})
    return dict(numbers_of("", [image, pixels.result(), boxes.result(), region]))


def numbers_of(path, value):
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from numbers_of(f"{path}/{key}", inner)
    else:
        yield path, value


@pytest.mark.slow
@pytest.mark.check(29)
def test_neither_batches_nor_the_order_change_a_metric(model, exact_network, records, tally):
    parts = (model.approach, exact_network, model.thresholds)
    expected = metrics_of(*parts, records, 1)
    assert len(expected) > 30
    for seed in range(tally.number(short=1, full=5)):
        shuffled = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
        for batch_size in (1, 3, 7, 64):
            for order in (records, shuffled):
                with tally.case((seed, batch_size)):
                    assert metrics_of(*parts, order, batch_size) == pytest.approx(
                        expected, abs=1e-12
                    )


def test_no_more_images_are_held_than_two_batches(model, records, monkeypatch):
    read = []
    real = type(records[0]).read_image

    def counted(record, channels):
        read.append(record.image_id)
        return real(record, channels)

    monkeypatch.setattr(type(records[0]), "read_image", counted)
    for done, _ in enumerate(predict(model.approach, model.network, records, batch_size=2), 1):
        time.sleep(0.001)  # the reader could run ahead
        assert len(read) <= done + 6
    assert len(read) == len(records)


class SmallMemory:
    """A finder that has room for a few images at a time."""

    def __init__(self, model, room: int) -> None:
        self.model, self.room, self.batches = model, room, []
        self.channels, self.classes = model.approach.channels, model.approach.classes

    def find_all(self, images, scopes):
        self.batches.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.model.approach.find(self.model.network, images, scopes)


def test_a_batch_that_memory_has_no_room_for_is_found_in_parts(model, records):
    finder = SmallMemory(model, room=2)
    found = list(predict_by(finder, records[:5], batch_size=5))
    assert finder.batches == [5, 2, 3, 1, 2]
    expected = list(predict(model.approach, model.network, records[:5]))
    assert [one.record.image_id for one in found] == [one.record.image_id for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.finding.score == pytest.approx(other.finding.score, abs=1e-5)
    finder = SmallMemory(model, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        list(predict_by(finder, records[:2], batch_size=2))
    assert finder.batches == [2, 1]


def test_an_image_that_cannot_be_read_ends_it_with_its_error(model, dataset_copy):
    records = list(Dataset.load(dataset_copy).records)
    records[3].path.unlink()
    predictions = predict(model.approach, model.network, records)
    with pytest.raises(ImageError, match=f"cannot read the image .*{records[3].image_id}"):
        list(predictions)


def test_no_images_no_predictions(model):
    assert list(predict(model.approach, model.network, [])) == []


def test_one_at_a_time_on_a_cpu():
    assert batch_size_for(torch.nn.Conv2d(1, 1, 1)) == 1
    assert batch_size_for(torch.nn.Conv2d(1, 1, 1, device="meta")) == 8
