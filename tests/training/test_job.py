import pytest
from trial import CPU

from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.training.job import make_job
from defectkit.training.trial import UNKNOWN_TIME

SETTINGS = ["model.architecture=pixel_net", "data.crop=32", "train.samples_per_epoch=4"]


@pytest.fixture
def dataset(dataset_folder) -> Dataset:
    return Dataset.load(dataset_folder)


def test_a_job_trains_on_training_and_validates_on_validation(dataset):
    job = make_job(dataset, load_config(None, SETTINGS))
    assert job.training_images == len(dataset.split("train"))
    assert list(job.validation_records) == dataset.split("val")
    trained = {one.image_id for one in dataset.split("train")}
    assert {job.samples.image_id((1, index)) for index in range(4)} <= trained
    assert job.expected is UNKNOWN_TIME
    assert job.tried(CPU).expected.image > 0


def test_a_job_on_other_images_takes_them_for_both(dataset):
    records = [one for one in dataset.records if one.split != "test"]
    job = make_job(dataset, load_config(None, SETTINGS), records=records)
    assert job.training_images == len(records)
    assert list(job.validation_records) == records
