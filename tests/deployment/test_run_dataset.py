import re

import pytest
from locked_files import lock
from resealing import reseal, reseal_dataset
from tiny_training import train_tiny

import defectkit
from defectkit.deployment.run_dataset import load_dataset_of_run
from defectkit.errors import DatasetError, ModelError


@pytest.fixture(scope="module")
def model(run_folder):
    return defectkit.load(run_folder, device="cpu")


def test_the_dataset_is_the_one_that_the_run_names_or_the_same_elsewhere(
    run_folder, model, dataset_folder, dataset_copy
):
    assert load_dataset_of_run(run_folder, model).folder == dataset_folder
    assert load_dataset_of_run(run_folder, model, dataset_copy).folder == dataset_copy


def test_another_dataset_is_refused(run_folder, model, dataset_copy):
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",train,", ",test,", 1))
    reseal_dataset(dataset_copy)
    with pytest.raises(DatasetError, match="is not the dataset that .* was trained on: its images"):
        load_dataset_of_run(run_folder, model, dataset_copy)


@pytest.mark.slow
@pytest.mark.check(55)
@pytest.mark.parametrize("named", [False, True])
def test_the_model_of_another_run_is_refused(
    run_folder, dataset_folder, dataset_copy, named, tmp_path
):
    other = train_tiny(dataset_folder, tmp_path / "other", "train.epochs=1", seed=1).run
    model, data = defectkit.load(other, device="cpu"), dataset_copy if named else None
    load_dataset_of_run(other, model, data)
    message = "is the model of another run: .* 'defectkit train --resume --out"
    with pytest.raises(ModelError, match=message):
        load_dataset_of_run(run_folder, model, data)


def test_a_damaged_run_json_is_of_no_matter_where_the_dataset_is_named(
    run_copy, model, dataset_copy
):
    (run_copy / "run.json").write_text("{")
    assert load_dataset_of_run(run_copy, model, dataset_copy).folder == dataset_copy


def test_a_run_that_names_no_dataset_says_the_way_out(run_copy, model, monkeypatch):
    path = run_copy / "run.json"
    reseal(path, dataset_folder="/gone")
    with pytest.raises(DatasetError, match="gone does not exist"):
        load_dataset_of_run(run_copy, model)
    path.write_text("{")
    with pytest.raises(ModelError, match=r"run\.json is damaged .*--data"):
        load_dataset_of_run(run_copy, model)
    with monkeypatch.context() as patch:
        told = lock(patch, path)
        with pytest.raises(ModelError, match=f"^{re.escape(told)}$"):
            load_dataset_of_run(run_copy, model)
    path.unlink()
    with pytest.raises(ModelError, match=r"is not a run \(it has no run.json\).*--data"):
        load_dataset_of_run(run_copy, model)
