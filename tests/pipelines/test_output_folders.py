"""What no command does to a folder: change what is not its own, mix results, or leave half."""

import io
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from file_hashes import hashes_of, hashes_of_results
from killing import is_killed
from label_source import Source
from rich.console import Console

import defectkit
from defectkit.approaches.segment import Segment
from defectkit.data.dataset import Dataset
from defectkit.errors import DatasetError, LabelError, TrainingError
from defectkit.files import TEMP_MARK, read_json, write_bytes
from defectkit.preparation.kept_facts import FACTS
from defectkit.results_folder import hold_lock
from defectkit.results_marker import LOCK, MARKER, UNFINISHED
from defectkit.training import runs
from defectkit.training.runs import hold_run

pytestmark = pytest.mark.check(52)

QUIET = Console(file=io.StringIO())
SIZE = ("--images", "2", "--size", "128")


@pytest.fixture(scope="module")
def place(source_csv, dataset_folder, run_folder, tmp_path_factory):
    """Labels, images, a dataset and a run that was evaluated, in one folder. Do not change."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(source_csv.parent / "Train", folder / "Train")
    shutil.copy(source_csv, folder)
    shutil.copytree(dataset_folder, folder / "dataset")
    shutil.copytree(run_folder, folder / "run")
    defectkit.evaluate(folder / "run", data=folder / "dataset", device="cpu", console=QUIET)
    return folder


PREPARE = ("prepare", "train.csv", "--out", "dataset")
EVALUATE = ("evaluate", "run", "--data", "dataset")
COMPARE = ("compare", "run", "--data", "dataset")
SUSPECTS = ("suspects", "run", "--data", "dataset")
WRONG = [
    (*PREPARE, "--split", "0.5/0.6/0.7"),
    (*PREPARE, "--pixel-pitch", "-1"),
    (*PREPARE, "--window", "9,3"),
    (*PREPARE, "--workers", "-1"),
    (*PREPARE, "--group-by", "("),
    (*PREPARE, "--group-by", "^lot"),
    (*PREPARE, "--ignore-class", "dirt"),
    (*PREPARE, "--images", "absent"),
    (*PREPARE, "--roi", "absent.png"),
    (*EVALUATE, "--max-escape-rate", "1"),
    (*EVALUATE, "--cost-ratio", "nan"),
    (*EVALUATE, "--cost-ratio", "5", "--max-escape-rate", "0.1"),
    (*EVALUATE, "--cost-ratio", "5", "--best-f1"),
    (*EVALUATE, "--split", "everything"),
    ("evaluate", "run", "--data", "absent"),
    ("compare", "--out", "comparison"),
    (*COMPARE, "run", "--out", "comparison"),
    (*SUSPECTS, "--max-images", "0"),
    ("labels", "convert", "dataset", "--to", "pdf", "--out", "masks"),
    ("labels", "convert", "dataset", "--to", "csv", "--out", "train.csv"),
    ("labels", "convert", "dataset", "--to", "masks", "--out", "Train"),
    ("synth", "Train", "--levels", "1"),
    ("inspect", "run", "absent", "--out", "inspection"),
    ("inspect", "run", "Train", "--roi", "absent.png", "--out", "inspection"),
    ("configs", "copy", "patch", "train.csv"),
    (*PREPARE[:3], "dataset/unfinished"),
    ("prepare", "dataset/masks.csv", "--images", "Train", "--out", "dataset"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_option_changes_nothing(place, cli, monkeypatch, arguments):
    monkeypatch.chdir(place)
    before = hashes_of(place)
    assert cli(*arguments).code == 2
    assert hashes_of(place) == before


WRITING = [
    ("prepare", "train.csv", "--out"),
    (*COMPARE, "--out"),
    (*SUSPECTS, "--out"),
    ("inspect", "run", "Train", "--out"),
    ("labels", "convert", "dataset", "--to", "masks", "--out"),
    ("synth", *SIZE),
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
@pytest.mark.parametrize(
    "out", ["", "train.csv", "dataset", "run", "run/model", "run/evaluation/test"]
)
def test_nothing_is_written_into_what_another_command_wrote(
    place, cli, monkeypatch, arguments, out
):
    if (arguments[0], out) == ("prepare", "dataset"):
        pytest.skip("it replaces the dataset")
    monkeypatch.chdir(place)
    before = hashes_of(place)
    outcome = cli(*arguments, out)
    assert outcome.code == 2
    assert re.search(r"hoose (another|a new)|is empty", outcome.err)
    assert hashes_of(place) == before


@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_a_folder_that_is_being_written_is_refused(place, cli, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(place)
    with hold_lock(tmp_path / LOCK, busy=ValueError("busy")):
        outcome = cli(*arguments, tmp_path)
    assert outcome.code == 2
    assert f"another process is writing to {tmp_path}. Wait for its end" in outcome.err
    assert {*hashes_of(tmp_path)} == {LOCK}


@pytest.fixture
def source(tmp_path):
    source = Source(tmp_path)
    source.good(12)
    source.defective(9)
    source.prepare()
    return source


def test_a_second_prepare_that_fails_leaves_the_first_dataset_whole(source):
    out = source.folder / "dataset"
    before = hashes_of(out)
    source.add("absent.png", "1", "3 4")
    with pytest.raises(LabelError, match=r"unfinished.ledger\.csv"):
        source.prepare()
    left = hashes_of(out / UNFINISHED)
    assert set(left) == {"ledger.csv", FACTS, MARKER}
    below = {f"{UNFINISHED}/{name}": value for name, value in left.items()}
    assert hashes_of(out) == {**before, **below}
    source.rows.pop()
    source.prepare()
    assert hashes_of(out) == before


@pytest.mark.slow
def test_a_prepare_that_is_killed_leaves_a_whole_dataset_or_none(source, tally):
    first, out = source.folder / "dataset", source.folder / "again"
    images = hashes_of(source.images)
    old = hashes_of_results(shutil.copytree(first, source.folder / "old"))
    source.defective(3, prefix="more")
    source.prepare(out=source.folder / "new")
    new = hashes_of_results(source.folder / "new")
    for at in range(1, 300, 3):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(first, out)
        with tally.case(at):
            killed = is_killed(partial(source.prepare, out=out), at=at)
            now = hashes_of_results(out)
            left = (UNFINISHED, TEMP_MARK)
            whole = {name: value for name, value in now.items() if not name.startswith(left)}
            if "dataset.json" in whole:
                Dataset.load(out)
                assert whole in (old, new)
            source.prepare(out=out)
            now = hashes_of_results(out)
            assert {name: v for name, v in now.items() if TEMP_MARK not in name} == new
        if not killed:
            break
    assert 20 < at < 290
    assert images.items() <= hashes_of(source.images).items()


@pytest.mark.slow
def test_an_evaluation_that_fails_leaves_the_earlier_one_whole(place, tmp_path, monkeypatch):
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    evaluate = partial(defectkit.evaluate, run, data=place / "dataset", device="cpu", console=QUIET)
    before = hashes_of(run / "evaluation")

    def fail(*_, **__):
        raise DatasetError("no")

    with monkeypatch.context() as context:
        context.setattr("defectkit.reporting.evaluation_folder.write_report", fail)
        with pytest.raises(DatasetError):
            evaluate()
    after = hashes_of(run / "evaluation")
    assert before.items() <= after.items()
    assert all(name.startswith("test/unfinished/") for name in after.keys() - before.keys())
    evaluate()
    assert hashes_of(run / "evaluation").keys() == before.keys()


@pytest.mark.slow
def test_an_evaluation_leaves_pictures_of_the_user(place, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(place)
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    overlays = run / "evaluation" / "test" / "overlays"
    (overlays / "mine.png").write_bytes(b"mine")
    assert cli("evaluate", run, "--data", "dataset", "--device", "cpu").code == 0
    assert (overlays / "mine.png").read_bytes() == b"mine"
    write_bytes(overlays / "1-my-photo.png", b"mine")
    # Now nothing says whose the other overlays are, but their names.
    (run / "evaluation" / "test" / MARKER).write_text("{")
    for _ in range(2):
        assert cli("evaluate", run, "--data", "dataset", "--device", "cpu").code == 0
        for name in ("mine.png", "1-my-photo.png"):
            assert (overlays / name).read_bytes() == b"mine"
        (overlays / "1-escape-mine.png").write_bytes(b"mine")
    assert (overlays / "1-escape-mine.png").exists()


@pytest.mark.slow
def test_thresholds_are_not_changed_under_a_training(place, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "LOCK_SECONDS", 0.1)
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    before = read_json(run / "model" / "model.json")
    evaluate = partial(defectkit.evaluate, run, data=place / "dataset", device="cpu", console=QUIET)
    with hold_run(run):
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "find", lambda *_: pytest.fail("work that would be lost"))
            with pytest.raises(TrainingError, match="another process is changing .*: a training"):
                evaluate(cost_ratio=50)
        evaluate()
    assert read_json(run / "model" / "model.json") == before
    evaluate(cost_ratio=50)
    assert read_json(run / "model" / "model.json") != before


@pytest.mark.slow
def test_images_in_the_folder_of_the_overlays_stay(place, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(place)
    photos = tmp_path / "line1" / "overlays"
    shutil.copytree(place / "Train", photos)
    before = hashes_of(photos)
    for _ in range(2):
        out = tmp_path / "line1"
        assert cli("inspect", "run", photos, "--out", out, "--device", "cpu").code == 0
        assert before.items() <= hashes_of(photos).items()


@pytest.mark.slow
def test_earlier_results_that_are_to_be_inspected_are_not_replaced(
    place, tmp_path, cli, monkeypatch
):
    monkeypatch.chdir(place)
    inspect = ("inspect", "run", "--out", tmp_path, "--device", "cpu", "--overlays", "all")
    assert cli(*inspect, "Train").code == 0
    before = hashes_of(tmp_path)
    overlays = sorted((tmp_path / "overlays").iterdir())
    outcome = cli(*inspect, *overlays)
    assert outcome.code == 2
    assert "is an earlier result, which this would replace. Move it away, or" in outcome.err
    assert hashes_of(tmp_path) == before


def test_pictures_in_the_way_of_synth_are_refused_at_once(tmp_path, cli):
    (tmp_path / "Train").mkdir()
    (tmp_path / "Train" / "0001.png").write_bytes(b"mine")
    outcome = cli("synth", tmp_path, *SIZE)
    assert outcome.code == 2
    assert "choose another folder, or add --force" in outcome.err
    assert not (tmp_path / UNFINISHED).exists()
    assert cli("synth", tmp_path, *SIZE, "--force").code == 0
