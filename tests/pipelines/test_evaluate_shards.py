"""Shards of evaluations, merged: byte for byte what a single process writes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of, hashes_of_results
from resealing import reseal
from steady_clock import SteadyClock
from tiny_training import train_tiny

import defectkit
from defectkit.errors import ConfigError
from defectkit.evaluation import prediction
from defectkit.files import read_cells, read_json, write_csv, write_json
from defectkit.reporting import evaluation_pictures
from defectkit.reporting.evaluation_shards import RECORDS
from defectkit.results_marker import Marker, sizes_of
from defectkit.seals import add_seal, hash_tables

pytestmark = pytest.mark.check(63)


@pytest.fixture
def steady(monkeypatch):
    """A clock by which each image takes a quarter of a second."""

    monkeypatch.setattr(prediction, "time", SteadyClock())


@pytest.fixture
def two_runs(run_copy, tmp_path) -> tuple[Path, Path]:
    """The same run twice, under one name: one for a single process, one for shards.

    In it some images are reviewed, so that all outcomes occur.
    """
    thresholds = {"low": 0.3, "high": 0.6, "rule": "f1"}
    reseal(run_copy / "model" / "model.json", thresholds=thresholds)
    (tmp_path / "shards").mkdir()
    return run_copy, Path(shutil.copytree(run_copy, tmp_path / "shards" / "run"))


def evaluate_both(cli, monkeypatch, runs, count: int, *options: str, folder: str):
    """Evaluate by a single process and by shards, each from the folder of its run."""
    folders = []
    said = []
    for run in runs:
        monkeypatch.chdir(run.parent)
        words = ["evaluate", run.name, "--device", "cpu", *options]
        if run is runs[0]:
            done = cli(*words)
            assert done.code == 0, done.err
        else:
            for number in range(count, 0, -1):
                done = cli(*words, "--shard", f"{number}/{count}")
                assert done.code == 0, done.err
                assert f"with all {count}: defectkit merge run/evaluation/{folder}" in done.err
            done = cli("merge", f"run/evaluation/{folder}")
            assert done.code == 0, done.err
        said.append(done.err)
        folders.append(run / "evaluation" / folder)
    return folders, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "options"),
    [
        (1, []),
        (3, ["--split", "all"]),
        (7, ["--split", "all", "--overlays", "all", "--all-regions"]),
        (8, ["--overlays", "none"]),  # more shards than images
    ],
)
def test_the_merged_evaluation_is_that_of_one_process(
    two_runs, cli, steady, monkeypatch, count, options
):
    monkeypatch.setattr(evaluation_pictures, "SAMPLE", 2)
    folder = "all" if "all" in options[:2] else "test"
    folders, said = evaluate_both(cli, monkeypatch, two_runs, count, *options, folder=folder)
    whole, merged = map(hashes_of_results, folders)
    assert merged == whole
    assert len(whole) >= 6
    assert Marker.read(folders[0]) == Marker.read(folders[1])
    assert said[0] == said[1]


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["patch", "box", "novelty"])
def test_merged_evaluations_of_other_approaches_too(
    dataset_folder, cli, steady, monkeypatch, tmp_path, approach
):
    run = train_tiny(
        dataset_folder, tmp_path / "run", "train.epochs=1", "novelty.bank=20", approach=approach
    ).run
    (tmp_path / "shards").mkdir()
    runs = run, Path(shutil.copytree(run, tmp_path / "shards" / "run"))
    folders, said = evaluate_both(cli, monkeypatch, runs, 3, "--split", "all", folder="all")
    assert hashes_of_results(folders[1]) == hashes_of_results(folders[0])
    assert said[0] == said[1]


@pytest.mark.slow
def test_only_times_differ(two_runs, cli, monkeypatch):
    folders, _ = evaluate_both(cli, monkeypatch, two_runs, 2, "--split", "all", folder="all")
    whole, merged = map(hashes_of_results, folders)
    differing = {name for name in whole if whole[name] != merged.get(name)}
    assert differing <= {"metrics.json", "report.html"}
    metrics = [read_json(folder / "metrics.json") for folder in folders]
    for one in metrics:
        for name in ("ms_per_image_median", "ms_per_image_p95", "images_per_second"):
            assert one["speed"].pop(name) > 0
        del one["seal"]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5])
def test_another_lot_is_evaluated_in_shards_too(
    two_runs, cli, steady, monkeypatch, source_csv, tmp_path, quiet, count
):
    defectkit.prepare(source_csv, out=tmp_path / "lot", split="0.4/0.3/0.3", console=quiet)
    options = ["--data", str(tmp_path / "lot"), "--map-class", "1=2", "--map-class", "2=1"]
    monkeypatch.chdir(two_runs[0].parent)
    cli("evaluate", "run", "--device", "cpu", *options)
    (lot,) = (path.name for path in (two_runs[0] / "evaluation").glob("lot-*"))
    folders, said = evaluate_both(cli, monkeypatch, two_runs, count, *options, folder=lot)
    assert hashes_of_results(folders[1]) == hashes_of_results(folders[0])
    assert said[0] == said[1]


def test_what_only_a_whole_evaluation_can_is_refused(run_copy, cli):
    before = hashes_of(run_copy)
    for options, reason in (
        (["--max-escape-rate", "0.1"], "thresholds are chosen for all shards at once. Choose them"),
        (["--best-f1"], "thresholds are chosen for all shards at once."),
        (["--open"], "a shard has no report. Leave out --open"),
        (["--shard", "0/2"], "--shard '0/2' is no shard."),
    ):
        done = cli("evaluate", run_copy, "--device", "cpu", "--shard", "1/2", *options)
        assert done.code == 2
        assert reason in done.err
    assert hashes_of(run_copy) == before


def shard_folder(run: Path, number: int, split: str = "test") -> Path:
    return run / "evaluation" / split / "shards" / f"{number}-of-2"


def test_what_was_changed_since_is_refused(run_copy, cli):
    for number in (1, 2):
        cli("evaluate", run_copy, "--device", "cpu", "--shard", f"{number}/2")
    thresholds = {"low": 0.0, "high": 0.0, "rule": "f1"}
    reseal(run_copy / "model" / "model.json", thresholds=thresholds)
    done = cli("merge", run_copy / "evaluation" / "test")
    assert done.code == 2
    assert "the shards cannot be merged: the model is" in done.err
    assert "Evaluate all shards again, or merge with what they were written with." in done.err
    cli("evaluate", run_copy, "--device", "cpu", "--shard", "2/2")
    done = cli("merge", run_copy / "evaluation" / "test")
    assert "are not shards of the same results: the model is" in done.err


def forge(folder: Path, change) -> None:
    """Change the records of a shard, and seal it again."""
    columns, *rows = read_cells(folder / RECORDS)
    write_csv(folder / RECORDS, columns, change(rows))
    head = read_json(folder / "shard.json")
    head["tables"] = hash_tables(folder, list(head["tables"]))
    write_json(folder / "shard.json", add_seal(head))
    marker = Marker.read(folder)
    Marker(marker.kind, complete=True, files=sizes_of(folder, marker.files)).write(folder)


def test_an_image_in_two_shards_or_in_none_is_refused(run_copy, cli):
    for number in (1, 2):
        cli("evaluate", run_copy, "--device", "cpu", "--shard", f"{number}/2")
    kept = run_copy / "evaluation" / "kept"
    shutil.copytree(run_copy / "evaluation" / "test", kept)
    first, second = (shard_folder(run_copy, number) for number in (1, 2))

    def refused(reason: str, number: int) -> None:
        done = cli("merge", run_copy / "evaluation" / "test")
        assert done.code == 2
        assert reason in done.err
        assert f"Run the command again with --shard {number}/2; then merge again." in done.err
        assert not (run_copy / "evaluation" / "test" / "metrics.json").exists()
        shutil.rmtree(run_copy / "evaluation" / "test")
        shutil.copytree(kept, run_copy / "evaluation" / "test")

    forge(second, lambda rows: rows[:-1])
    refused("is in no shard", 2)
    other = list(read_cells(first / RECORDS))[1]
    forge(second, lambda rows: [*rows, other])
    refused("is not of this shard, or of another one too", 2)
    forge(first, lambda rows: [[str(int(place) + 1), record] for place, record in rows])
    refused("is not of this shard, or of another one too", 1)
    forge(first, lambda rows: [[place, record[:-2]] for place, record in rows])
    refused("cannot be merged", 1)
    (first / "pixels.safetensors").write_bytes(b"")
    refused("pixels.safetensors was changed after it was written", 1)


def test_a_shard_is_evaluated_again_and_earlier_results_stay(run_copy, quiet, cli):
    options = {"device": "cpu", "console": quiet}
    whole = defectkit.evaluate(run_copy, **options)
    before = hashes_of_results(whole.folder)
    for _ in range(2):
        part = defectkit.evaluate(run_copy, shard="2/2", **options)
    own = set(part.images["image_id"])
    assert own
    assert own < set(whole.images["image_id"])
    assert part.folder == shard_folder(run_copy, 2)
    assert defectkit.evaluate(run_copy, shard="50/50", **options).metrics == {}
    shutil.rmtree(run_copy / "evaluation" / "test" / "shards" / "50-of-50")
    now = hashes_of_results(whole.folder)
    assert {name: now[name] for name in before} == before
    with pytest.raises(ConfigError, match="not finished: 1/2"):
        defectkit.merge(whole.folder, console=quiet)
    defectkit.evaluate(run_copy, shard="1/2", **options)
    merged = defectkit.merge(whole.folder, console=quiet)
    assert not (whole.folder / "shards").exists()
    assert merged.folder == whole.folder
    np.testing.assert_array_equal(merged.images["score"], whole.images["score"])
