"""Folders of format version 1, made from current ones by undoing the change: every command on them.

Version 1 had no seals, no hashes of tables, no versions of packages, and in ``model.json`` a
threshold of pixels in place of the whole tuning. A command reads such a folder, and says in a
warning what brings a seal or makes the file again by itself.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from resealing import unseal
from tiny_training import train_tiny

import defectkit
from defectkit.errors import DefectkitWarning
from defectkit.files import read_json, write_json
from defectkit.seals import is_sealed

SEALED = ("dataset.json", "run.json", "model.json", "metrics.json")
"""What ``docs/schemas`` publishes, by the names of the files."""


@dataclass(frozen=True)
class Earlier:
    """A dataset, and a run of it, of the format version before; its number of test images."""

    dataset: Path
    run: Path
    images: int


def to_version_1(dataset: Path, run: Path) -> None:
    unseal(dataset / "dataset.json")
    unseal(run / "run.json", "config", "identity")
    unseal(run / "evaluation" / "test" / "metrics.json", "evaluated")
    for model in run.rglob("model.json"):  # the kept one, and its copy among the checkpoints
        info = read_json(model)
        write_json(model, {**info, "pixel_threshold": info["tuning"]["pixel_threshold"]})
        unseal(model, "tuning", "tuning_warnings", "validation_levels", "roi")


@pytest.fixture(scope="module")
def made(dataset_folder, run_folder, tmp_path_factory, quiet):
    """The tiny run, evaluated, with its dataset, in the format of today."""
    folder = tmp_path_factory.mktemp("today")
    shutil.copytree(dataset_folder.parent / "Train", folder / "Train")
    dataset = shutil.copytree(dataset_folder, folder / "dataset")
    run = shutil.copytree(run_folder, folder / "run")
    evaluation = defectkit.evaluate(run, data=dataset, device="cpu", console=quiet)
    return folder, len(evaluation.images)


@pytest.fixture
def earlier(made, tmp_path):
    folder, images = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    to_version_1(tmp_path / "dataset", tmp_path / "run")
    found = {path.name: read_json(path) for path in tmp_path.rglob("*.json")}
    for name in SEALED:
        assert found[name]["format_version"] == 1
        assert not is_sealed(found[name])
    return Earlier(tmp_path / "dataset", tmp_path / "run", images)


def warned(record) -> set[str]:
    """The files and folders that warnings name as those of an earlier version, with the way out."""
    said = (re.search(r"(\S+) was written by an earlier .*\. (.*) to get one", str(one.message))
            for one in record)  # fmt: skip
    return {f"{Path(one[1]).name}: {one[2]}" for one in said if one}


DATASET, RUN, MODEL = (
    "dataset: Run 'defectkit prepare' again",
    "run.json: Start a new run",
    "model: Train again",
)


def test_a_model_is_trained_on_an_earlier_dataset(earlier, tmp_path):
    with pytest.warns(DefectkitWarning) as record:
        trained = train_tiny(earlier.dataset, tmp_path / "new")
    assert warned(record) == {DATASET}
    assert is_sealed(read_json(trained.run / "model" / "model.json"))


def test_an_earlier_run_is_resumed(earlier, quiet):
    with pytest.warns(DefectkitWarning) as record:
        defectkit.train(out=earlier.run, resume=True, data=earlier.dataset, epochs=3, console=quiet)
    assert {DATASET, RUN} <= warned(record)
    assert is_sealed(read_json(earlier.run / "run.json"))


def test_an_earlier_run_is_evaluated(earlier, quiet):
    with pytest.warns(DefectkitWarning) as record:
        again = defectkit.evaluate(earlier.run, data=earlier.dataset, device="cpu", console=quiet)
    assert {DATASET, MODEL} <= warned(record)
    assert len(again.images) == earlier.images
    assert is_sealed(read_json(again.folder / "metrics.json"))


def test_images_are_inspected_with_an_earlier_model(earlier, tmp_path, quiet):
    out = tmp_path / "inspection"
    with pytest.warns(DefectkitWarning) as record:
        done = defectkit.inspect(earlier.run, tmp_path / "Train", out=out, console=quiet)
    assert warned(record) == {MODEL}
    assert done.unreadable == 0


@pytest.mark.slow
def test_an_earlier_evaluation_is_made_again_by_compare(earlier, tmp_path, quiet):
    other = shutil.copytree(earlier.run, tmp_path / "other")
    runs, options = [earlier.run, other], {"data": earlier.dataset, "device": "cpu"}
    with pytest.warns(DefectkitWarning):
        defectkit.compare(*runs, out=tmp_path / "comparison", console=quiet, **options)
    for run in runs:
        assert is_sealed(read_json(run / "evaluation" / "test" / "metrics.json"))


def test_suspects_are_listed_by_an_earlier_run(earlier, quiet):
    with pytest.warns(DefectkitWarning) as record:
        defectkit.suspects(earlier.run, data=earlier.dataset, device="cpu", console=quiet)
    assert {DATASET, MODEL} <= warned(record)


@pytest.mark.slow
def test_an_earlier_model_is_exported_with_a_seal(earlier, tmp_path, quiet):
    with pytest.warns(DefectkitWarning) as record:
        exported = defectkit.export(
            earlier.run, data=earlier.dataset, out=tmp_path / "line", console=quiet
        )
    assert {DATASET, MODEL} <= warned(record)
    assert is_sealed(read_json(exported.out / "model.json"))


def test_every_published_file_is_among_them():
    schemas = Path(__file__).resolve().parents[1] / "docs" / "schemas"
    assert {path.name.replace(".schema", "") for path in schemas.iterdir()} == set(SEALED)
