import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.best_model import SECOND_COPY, describe_dataset, repair_model
from defectkit.errors import TrainingError
from defectkit.files import sha256_file
from defectkit.training.runs import read_run_info

WEIGHTS = "model.safetensors"


def identity_of(run: Path) -> str:
    """The identity of a run by its ``run.json``."""
    return str(read_run_info(run)["identity"])


def test_a_damaged_model_comes_back_from_its_second_copy(run_copy):
    whole = sha256_file(run_copy / "model" / WEIGHTS)
    assert sha256_file(run_copy / SECOND_COPY / WEIGHTS) == whole
    (run_copy / "model" / WEIGHTS).write_bytes(b"half")
    repair_model(run_copy, identity=identity_of(run_copy))
    assert sha256_file(run_copy / "model" / WEIGHTS) == whole
    defectkit.load(run_copy, device="cpu")


def test_a_whole_model_stays_although_its_copy_significant(run_copy):
    whole = sha256_file(run_copy / "model" / WEIGHTS)
    (run_copy / SECOND_COPY / WEIGHTS).write_bytes(b"half")
    repair_model(run_copy, identity=identity_of(run_copy))
    assert sha256_file(run_copy / "model" / WEIGHTS) == whole


@pytest.mark.check(55)
@pytest.mark.parametrize("folder", ["model", SECOND_COPY])
def test_a_model_of_another_run_is_none_of_this_one(run_copy, dataset_folder, tmp_path, folder):
    other = train_tiny(dataset_folder, tmp_path / "other", "train.epochs=1", seed=1).run
    identity, whole = identity_of(run_copy), sha256_file(run_copy / "model" / WEIGHTS)
    assert identity != identity_of(other)
    shutil.copytree(other / "model", run_copy / folder, dirs_exist_ok=True)
    repair_model(run_copy, identity=identity)
    assert sha256_file(run_copy / "model" / WEIGHTS) == whole


def test_a_lost_model_is_said_plainly(run_copy):
    identity = identity_of(run_copy)
    for folder in ("model", SECOND_COPY):
        (run_copy / folder / WEIGHTS).write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"the best model of .* is lost: both .*another --out"):
        repair_model(run_copy, identity=identity)
    shutil.rmtree(run_copy / "checkpoints")
    repair_model(run_copy, identity=identity)  # No epoch was finished: there is none to lose.


def test_a_region_to_inspect_is_kept_where_it_is_that_of_all_images(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    assert describe_dataset(dataset) == {
        "dataset": dataset.fingerprint,
        "pixels": {"window": None, "pages": "first", "shown": None},
        "roi": None,
    }
    records = [replace(record, roi="1,2,30,40") for record in dataset.records]
    same = replace(dataset, records=tuple(records))
    expected = {"shape": "1,2,30,40", "height": 96, "width": 96}
    assert describe_dataset(same)["roi"] == expected
    for changes in ({"roi": "1,2,30,41"}, {"roi": ""}, {"width": 97}):
        records[3] = replace(records[3], roi="1,2,30,40", width=96)
        records[3] = replace(records[3], **changes)
        assert describe_dataset(replace(dataset, records=tuple(records)))["roi"] == "by image"
