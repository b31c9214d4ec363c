import io
import shutil

import pytest
from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.data.image_search import ImageFile
from defectkit.files import read_json, write_json
from defectkit.reporting import training_images
from defectkit.reporting.training_images import tell_training_images
from defectkit.seals import add_seal


def told(model, *images) -> str:
    console = Console(file=io.StringIO(), width=300)
    files = [ImageFile(image_id=path.name, path=path) for path in images]
    tell_training_images(console, model, files)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def paths(dataset_folder):
    load = Dataset.load(dataset_folder).split
    return {split: [one.path for one in load(split)] for split in ("train", "val", "test")}


def test_images_of_training_and_validation_are_told(run_folder, paths):
    n_train, n_val = (len(paths[split]) for split in ("train", "val"))
    images = [path for split in paths.values() for path in split]
    note = (
        f"note: of {len(images)} image files {n_train} are training and {n_val} are "
        "validation images of the model: there it does better than on new images\n"
    )
    assert told(run_folder, *images) == note
    assert told(run_folder / "model", *images) == note
    assert "of 1 image files 1 are validation images" in told(run_folder, paths["val"][0])
    assert told(run_folder, *paths["test"]) == ""


def test_copies_are_known_and_other_images_of_the_same_name_are_not(run_folder, paths, tmp_path):
    first, second, *_ = paths["train"]
    copy = tmp_path / first.name
    shutil.copy(first, copy)
    assert "of 1 image files 1 are training images" in told(run_folder, copy)
    shutil.copy(second, copy)
    assert told(run_folder, copy) == ""


def test_after_so_many_images_no_further_ones_are_read(run_folder, paths, monkeypatch):
    monkeypatch.setattr(training_images, "MAX_FOUND", 2)
    read = []
    sha256 = training_images.sha256_file
    monkeypatch.setattr(
        training_images, "sha256_file", lambda path: read.append(path) or sha256(path)
    )
    assert "image files at least 2 are training images" in told(run_folder, *paths["train"])
    assert len(read) == 2


def test_without_the_dataset_of_the_run_nothing_is_told(run_copy, run_folder, paths, tmp_path):
    shutil.copytree(run_folder / "model", tmp_path / "alone" / "model")
    assert told(tmp_path / "alone", *paths["train"]) == ""
    facts = read_json(run_copy / "run.json")
    for change in ({"dataset": "another"}, {"dataset_folder": str(tmp_path)}):
        write_json(run_copy / "run.json", add_seal({**facts, **change}))
        assert told(run_copy, *paths["train"]) == "", change
    (run_copy / "run.json").write_text("{")
    assert told(run_copy, *paths["train"]) == ""
