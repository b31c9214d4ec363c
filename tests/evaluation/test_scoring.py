import time

import numpy as np
import pytest
import torch

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.errors import ImageError
from defectkit.evaluation.scoring import batch_size_for, look_at


@pytest.fixture(scope="module")
def model(run_folder):
    return defectkit.load(run_folder, device="cpu")


@pytest.fixture(scope="module")
def records(dataset_folder):
    return list(Dataset.load(dataset_folder).records)


@pytest.mark.check(29)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_every_image_is_looked_at_once_in_order(model, records, batch_size):
    looks = list(look_at(model.approach, model.network, records, batch_size=batch_size))
    assert [look.record for look in looks] == records
    for look in looks:
        np.testing.assert_array_equal(look.image, look.record.read_image(1))
        np.testing.assert_array_equal(look.truth, look.record.read_masks(("1", "2")))
        assert look.finding.score_map.shape == look.truth.shape
        assert look.seconds > 0


@pytest.mark.check(29)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batches_and_order_change_no_score(model, records, batch_size):
    alone = {
        look.record.image_id: look.finding.score
        for look in look_at(model.approach, model.network, records)
    }
    shuffled = records[::-2] + records[::2]
    for look in look_at(model.approach, model.network, shuffled, batch_size=batch_size):
        assert look.finding.score == pytest.approx(alone[look.record.image_id], abs=1e-5)


def test_no_more_images_are_held_than_two_batches(model, records, monkeypatch):
    read = []
    real = type(records[0]).read_image

    def counted(record, channels):
        read.append(record.image_id)
        return real(record, channels)

    monkeypatch.setattr(type(records[0]), "read_image", counted)
    for done, _ in enumerate(look_at(model.approach, model.network, records, batch_size=2), 1):
        time.sleep(0.001)  # the reader could run ahead
        assert len(read) <= done + 6
    assert len(read) == len(records)


def test_an_image_that_cannot_be_read_ends_it_with_its_error(model, dataset_copy):
    records = list(Dataset.load(dataset_copy).records)
    records[3].path.unlink()
    looks = look_at(model.approach, model.network, records)
    with pytest.raises(ImageError, match=f"cannot read the image .*{records[3].image_id}"):
        list(looks)


def test_no_images_no_looks(model):
    assert list(look_at(model.approach, model.network, [])) == []


def test_one_at_a_time_on_a_cpu():
    assert batch_size_for(torch.nn.Conv2d(1, 1, 1)) == 1
    assert batch_size_for(torch.nn.Conv2d(1, 1, 1, device="meta")) == 8
