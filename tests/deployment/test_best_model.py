import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.best_model import (
    SECOND_COPY,
    describe_dataset,
    is_settled,
    load_kept_weights,
    repair_model,
)
from defectkit.errors import TrainingError
from defectkit.files import sha256_file
from defectkit.training.run_info import read_run_info

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


def test_weights_are_loaded_with_their_own_epoch(run_copy):
    trained = defectkit.load(run_copy, device="cpu")
    network = trained.approach.network()
    assert load_kept_weights(run_copy, network) == trained.info["epoch"] == 2
    expected = trained.network.state_dict()
    assert all(torch.equal(one, expected[name]) for name, one in network.state_dict().items())


def test_a_run_is_settled_by_its_own_model_alone_that_all_images_chose_for(run_copy):
    images = defectkit.load(run_copy, device="cpu").info["validation"]["images"]
    for epoch, identity, count, settled in (
        (2, identity_of(run_copy), images, True),
        (None, identity_of(run_copy), images, True),
        (1, identity_of(run_copy), images, False),
        (2, "other", images, False),
        (None, identity_of(run_copy), images + 1, False),
    ):
        assert is_settled(run_copy, identity=identity, epoch=epoch, images=count) == settled


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
