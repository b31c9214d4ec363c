from dataclasses import replace

import pytest
from resealing import reseal, reseal_dataset
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.fusing import load_run_to_fuse
from defectkit.errors import DatasetError, ModelError

SMALL = ("novelty.bank=20",)


@pytest.fixture
def dataset(dataset_folder):
    return Dataset.load(dataset_folder)


def test_a_run_or_its_model_folder_is_taken_over(run_folder, dataset):
    for place in (run_folder, run_folder / "model"):
        model = load_run_to_fuse(place, dataset)
        assert model.approach.config.approach == "segment"
        assert model.device.type == "cpu"


@pytest.mark.slow
def test_runs_that_cannot_be_fused_are_refused(run_folder, dataset_folder, dataset, tmp_path):
    novelty = train_tiny(dataset_folder, tmp_path / "novelty", *SMALL, approach="novelty").run
    with pytest.raises(ModelError, match="is a run of novelty, which knows no defects.*segment,"):
        load_run_to_fuse(novelty, dataset)
    settings = (*SMALL, f"novelty.fuse={run_folder}")
    fused = train_tiny(dataset_folder, tmp_path / "fused", *settings, approach="novelty").run
    with pytest.raises(ModelError, match="is fused itself, from novelty and segment: .*Name a run"):
        load_run_to_fuse(fused, dataset)
    with pytest.raises(ModelError, match="gone does not exist"):
        load_run_to_fuse(tmp_path / "gone", dataset)


def test_a_model_that_saw_the_validation_images_is_refused(run_copy, dataset):
    seen = {"scores": [0.1, 0.9], "defective": [False, True]}
    reseal(run_copy / "model" / "model.json", out_of_fold=seen)
    with pytest.raises(ModelError, match="with --folds, so its model has seen the validation"):
        load_run_to_fuse(run_copy, dataset)


def test_other_classes_and_channels_are_refused(run_folder, dataset):
    renamed = replace(dataset, info={**dataset.info, "classes": ["1", "7"]})
    colored = replace(dataset, records=tuple(replace(one, channels=3) for one in dataset.records))
    for other, message in (
        (renamed, "it has the classes 1, 7, not 1, 2. novelty.fuse fuses"),
        (colored, "its images have 3 channels, not 1. novelty.fuse fuses"),
    ):
        with pytest.raises(DatasetError, match=f"is not the dataset that .* trained on: {message}"):
            load_run_to_fuse(run_folder, other)


def test_another_split_is_refused_before_anything_is_written(run_folder, dataset_copy, tmp_path):
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",train,", ",test,", 1))
    reseal_dataset(dataset_copy)
    settings = (*SMALL, f"novelty.fuse={run_folder}")
    with pytest.raises(DatasetError, match="masks or splits differ. novelty.fuse fuses.*--data"):
        train_tiny(dataset_copy, tmp_path / "fused", *settings, approach="novelty")
    assert not (tmp_path / "fused").exists()
    assert defectkit.load(run_folder, device="cpu").approach.classes == ("1", "2")
