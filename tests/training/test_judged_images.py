import copy
import dataclasses

import numpy as np
import pytest
from trial import Tiny, Trial

from defectkit.evaluation.prediction import predict
from defectkit.training.judged_images import JudgedImages, judge
from defectkit.training.validation import _conclude


@pytest.fixture
def images(dataset_folder, tmp_path):
    """An approach and its predictions of images, by a network with random weights."""
    trial = Trial(dataset_folder, tmp_path)
    records = [*trial.records, *trial.samples.records]
    return trial.approach, list(predict(trial.approach, Tiny().eval(), records))


def test_images_judged_apart_and_sent_are_those_judged_together(images):
    approach, predictions = images
    watched = frozenset(one.record.image_id for one in predictions[1:3])
    together = judge(approach, predictions, watched_ids=watched)
    apart = JudgedImages(approach)
    for one in predictions:
        # Copied as it is when it goes to another process.
        apart.merge(copy.deepcopy(judge(approach, [one], watched_ids=watched)))
    assert apart.pixels.result() == together.pixels.result()
    assert apart.pixels.best_threshold() == together.pixels.best_threshold()
    one, other = (_conclude(judged) for judged in (together, apart))
    assert [p.record.image_id for p in other.watched] == [p.record.image_id for p in one.watched]
    assert len(one.watched) == 2
    for field in dataclasses.fields(one):
        if field.name not in ("levels", "watched"):
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    assert np.array_equal(one.levels.score, other.levels.score)


def test_what_is_sent_is_small(images):
    approach, predictions = images
    judged = judge(approach, predictions[:1])
    assert sum(array.nbytes for array in judged.pixels.arrays().values()) < 300_000
