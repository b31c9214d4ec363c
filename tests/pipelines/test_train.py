import io
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
from file_hashes import hashes_of
from PIL import Image
from resealing import reseal_dataset
from rich.console import Console
from safetensors.numpy import load_file
from tiny_training import TINY, train_tiny

import defectkit
from defectkit import devices
from defectkit.config import Config, dump_config, load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import DatasetError, OutputError, TrainingError
from defectkit.files import TEMP_MARK, read_csv, read_json, sha256_file, write_csv
from defectkit.training.loop import train_one_epoch
from defectkit.versions import PACKAGES


def test_a_run_holds_exactly_its_files(run_folder):
    assert set(hashes_of(run_folder)) == {
        ".lock",
        "augmentations.png",
        "checkpoints/best/model.json",
        "checkpoints/best/model.safetensors",
        "checkpoints/epoch-0001.json",
        "checkpoints/epoch-0001.safetensors",
        "checkpoints/epoch-0002.json",
        "checkpoints/epoch-0002.safetensors",
        "config.yaml",
        "curves.png",
        "history.csv",
        "model/model.json",
        "model/model.safetensors",
        "progress.gif",
        "progress/epoch-0001.png",
        "progress/epoch-0002.png",
        "run.json",
    }


def test_the_resolved_config_is_kept_and_complete(run_folder):
    asked = load_config(None, [*TINY, "device=cpu"])
    assert load_config(run_folder / "config.yaml") == asked
    assert (run_folder / "config.yaml").read_text() == dump_config(asked)


def test_run_json_says_on_what_and_how_it_was_trained(run_folder, dataset_folder):
    facts = read_json(run_folder / "run.json")
    assert facts["status"] == "finished"
    assert facts["started"] <= facts["ended"]
    assert facts["dataset_folder"] == str(dataset_folder.resolve())
    assert facts["device"].startswith("cpu (")
    assert facts["versions"]["defectkit"] == defectkit.__version__
    assert set(facts["versions"]) == {"python", *PACKAGES}


def test_history_has_a_row_per_epoch(run_folder):
    rows = read_csv(run_folder / "history.csv")
    assert [(row["epoch"], row["steps"]) for row in rows] == [("1", "2"), ("2", "4")]
    for row in rows:
        weights = Config().loss
        weighted = (
            getattr(weights, name) * float(row[f"train_{name}"])
            for name in ("bce", "classes", "dice", "image")
        )
        assert float(row["train_loss"]) == pytest.approx(sum(weighted), abs=2e-5)
        assert 0 < float(row["train_seconds"]) <= float(row["seconds"])
        assert all(0 <= float(row[f"val_{name}"]) <= 1 for name in ("image_ap", "pixel_ap", "dice"))


def test_the_pictures_show_something(run_folder):
    with Image.open(run_folder / "progress.gif") as gif:
        assert gif.n_frames >= 2
    for name in ("curves.png", "augmentations.png"):
        assert np.asarray(Image.open(run_folder / name)).std() > 5


def test_the_model_knows_no_way_back_to_the_data(run_folder, dataset_folder, source_csv):
    text = (run_folder / "model" / "model.json").read_text()
    assert str(source_csv.parent) not in text
    assert dataset_folder.name + "_folder" not in text
    assert "part-" not in text


@pytest.mark.slow
@pytest.mark.check(22)
def test_the_same_seed_gives_the_same_model_with_any_loaders(
    run_folder, dataset_folder, tmp_path, tally
):
    weights = sha256_file(run_folder / "model" / "model.safetensors")
    for workers in (1, 0, 4)[: tally.number(short=1, full=3)]:
        run = tmp_path / f"{workers}"
        with tally.case(f"{workers} loaders"):
            train_tiny(dataset_folder, run, f"data.workers={workers}")
            assert sha256_file(run / "model" / "model.safetensors") == weights
    train_tiny(dataset_folder, tmp_path / "other", "seed=1", "train.epochs=1")
    assert sha256_file(tmp_path / "other" / "model" / "model.safetensors") != weights


def test_nothing_but_the_run_is_written_or_changed(source_csv, dataset_folder, tmp_path):
    before = hashes_of(source_csv.parent)
    summary = train_tiny(dataset_folder, tmp_path / "run", "train.epochs=1")
    assert summary.run == tmp_path / "run"
    assert (summary.epochs, summary.kept_epoch) == (1, 1)
    after = hashes_of(source_csv.parent)
    assert {name: after[name] for name in before} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_existing_run_is_refused_and_stays_as_it_is(dataset_folder, run_copy):
    before = hashes_of(run_copy)
    with pytest.raises(
        TrainingError, match="already has a run. Continue it with --resume, or choose"
    ):
        train_tiny(dataset_folder, run_copy)
    assert hashes_of(run_copy) == before


@pytest.mark.check(13)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(dataset_folder, tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="taken is a file, not a folder. Choose another"):
        train_tiny(dataset_folder, tmp_path / "taken")
    with pytest.raises(OutputError, match="taken is a file, not a folder. Choose another"):
        train_tiny(dataset_folder, tmp_path / "taken" / "run")


def test_no_dataset_and_no_images_are_said_plainly(tmp_path, dataset_copy):
    with pytest.raises(DatasetError, match=r"nowhere does not exist\. Check the path, or make a"):
        train_tiny(tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty is not a dataset \(it has no dataset.json\)"):
        train_tiny(tmp_path / "empty", tmp_path / "run")
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",val,", ",train,"))
    reseal_dataset(dataset_copy)
    with pytest.raises(DatasetError, match="has no image in the val split"):
        train_tiny(dataset_copy, tmp_path / "run")


def test_a_run_that_came_to_be_while_this_one_waited_is_not_trained_over(
    dataset_folder, run_folder, tmp_path, monkeypatch
):
    class LockAfterAnother(filelock.FileLock):
        def acquire(self, *arguments: object, **options: object) -> object:
            shutil.copytree(run_folder, Path(self.lock_file).parent, dirs_exist_ok=True)
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(filelock, "FileLock", LockAfterAnother)
    with pytest.raises(TrainingError, match="already has a run"):
        train_tiny(dataset_folder, tmp_path / "run")
    assert len(read_csv(tmp_path / "run" / "history.csv")) == 2


def test_a_finished_run_resumed_has_nothing_left_and_stays_the_same(run_copy, dataset_folder):
    before, console = hashes_of(run_copy), Console(file=io.StringIO(), width=200)
    summary = defectkit.train(data=dataset_folder, out=run_copy, resume=True, console=console)
    assert "run is finished after 2 epochs. To train longer" in console.file.getvalue()
    assert summary.epochs == 2
    changed = {name for name, value in hashes_of(run_copy).items() if before.get(name) != value}
    assert changed <= {"run.json", "progress.gif"}


def test_resume_refuses_other_data(run_copy, dataset_copy, quiet):
    for table in (dataset_copy / "masks.csv", dataset_copy / "defects.csv"):
        table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    reseal_dataset(dataset_copy)
    with pytest.raises(DatasetError, match="was trained on other data than .* has now"):
        defectkit.train(data=dataset_copy, out=run_copy, resume=True, console=quiet)


def test_resume_without_a_run_is_said_plainly(dataset_folder, tmp_path, monkeypatch, quiet):
    with pytest.raises(TrainingError, match="is not a run .*there is nothing to resume"):
        defectkit.train(data=dataset_folder, out=tmp_path, resume=True, console=quiet)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=r"there is no run runs/segment-<n> to resume"):
        defectkit.train(data=dataset_folder, resume=True, console=quiet)


@pytest.mark.parametrize("damage", ["missing", "half"])
def test_resume_of_a_run_without_a_whole_run_json_is_a_message(
    run_copy, dataset_folder, damage, quiet
):
    facts = run_copy / "run.json"
    facts.unlink() if damage == "missing" else facts.write_bytes(facts.read_bytes()[:50])
    with pytest.raises(TrainingError, match=r"run\.json .*(missing|damaged)"):
        defectkit.train(data=dataset_folder, out=run_copy, resume=True, console=quiet)


def test_a_resumed_run_knows_its_data_and_keeps_later_settings(run_copy, quiet):
    summary = defectkit.train(out=run_copy, resume=True, epochs=3, console=quiet)
    assert summary.epochs == 3
    assert [row["epoch"] for row in read_csv(run_copy / "history.csv")] == ["1", "2", "3"]
    assert load_config(run_copy / "config.yaml").train.epochs == 3
    assert len(read_json(run_copy / "run.json")["resumed"]) == 1


@pytest.mark.slow
def test_the_precision_is_told_and_that_it_is_another_on_a_resume(run_copy, monkeypatch):
    before = read_json(run_copy / "run.json")["precision"]
    now = {"float32": "bfloat16", "bfloat16": "float32"}[before]
    monkeypatch.setattr(devices, "_multiplies_bfloat16", lambda: now == "bfloat16")
    console = Console(file=io.StringIO(), width=2000)
    defectkit.train(out=run_copy, resume=True, epochs=3, console=console)
    told = console.file.getvalue()
    assert re.search(rf"on cpu \(\d+ threads?\), {now}, for 3 epochs, into", told)
    assert f"note: trained in {before} before and in {now} from here on" in told
    assert read_json(run_copy / "run.json")["precision"] == now
    console = Console(file=io.StringIO(), width=2000)
    defectkit.train(out=run_copy, resume=True, console=console)
    assert "note:" not in console.file.getvalue()


def test_a_model_that_a_kill_left_damaged_is_put_back(run_copy, quiet):
    whole = sha256_file(run_copy / "model" / "model.safetensors")
    (run_copy / "model" / "model.safetensors").write_bytes(b"half")
    defectkit.train(out=run_copy, resume=True, console=quiet)
    assert sha256_file(run_copy / "model" / "model.safetensors") == whole
    defectkit.load(run_copy, device="cpu")


@pytest.mark.slow
@pytest.mark.check(36)
def test_an_interrupted_run_says_so_keeps_its_pictures_and_goes_on(
    dataset_folder, tmp_path, run_folder, quiet, monkeypatch
):
    def interrupted(approach, learner, loader, state, *arguments, **options):
        if state.epoch == 1:  # the first epoch's checkpoint is written
            raise KeyboardInterrupt
        return train_one_epoch(approach, learner, loader, state, *arguments, **options)

    with monkeypatch.context() as one:
        one.setattr("defectkit.training.loop.train_one_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset_folder, tmp_path / "run")
    assert read_json(tmp_path / "run" / "run.json")["status"] == "interrupted"
    assert (tmp_path / "run" / "progress.gif").is_file()
    assert defectkit.load(tmp_path / "run", device="cpu").info["epoch"] == 1

    defectkit.train(out=tmp_path / "run", resume=True, console=quiet)
    assert read_json(tmp_path / "run" / "run.json")["status"] == "finished"
    weights = Path("model") / "model.safetensors"
    assert sha256_file(tmp_path / "run" / weights) == sha256_file(run_folder / weights)


def test_the_default_place_is_the_next_free_run(dataset_folder, tmp_path, monkeypatch, quiet):
    monkeypatch.chdir(tmp_path)
    summary = defectkit.train(
        data=dataset_folder, device="cpu", settings=[*TINY, "train.epochs=1"], console=quiet
    )
    assert summary.run == Path("runs/segment-1")
    assert (tmp_path / "runs" / "segment-1" / "model" / "model.json").is_file()


@pytest.mark.slow
def test_permuted_test_truth_changes_neither_weights_nor_thresholds(
    run_copy, dataset_copy, tmp_path, quiet
):
    rows = read_csv(dataset_copy / "images.csv")
    test_ids = [row["image_id"] for row in rows if row["split"] == "test"]
    moved_to = dict(zip(test_ids, test_ids[1:] + test_ids[:1], strict=True))
    for table in (dataset_copy / "masks.csv", dataset_copy / "defects.csv"):
        header, *lines = table.read_text().splitlines()
        cells = [line.partition(",") for line in lines]
        moved = [f"{moved_to.get(image_id, image_id)},{rest}" for image_id, _, rest in cells]
        assert moved != lines
        table.write_text("\n".join([header, *moved]) + "\n")
    reseal_dataset(dataset_copy)

    train_tiny(dataset_copy, tmp_path / "permuted")
    infos = []
    for run in (run_copy, tmp_path / "permuted"):
        defectkit.evaluate(run, max_escape_rate=0.4, device="cpu", console=quiet)
        infos.append(read_json(run / "model" / "model.json"))
    assert infos[0].pop("dataset") != infos[1].pop("dataset")
    for entry in ("run", "seal"):
        assert infos[0].pop(entry) != infos[1].pop(entry)
    assert infos[0] == infos[1]  # the hash of the weights is among it
    rates = [
        read_json(run / "evaluation" / "test" / "metrics.json")["pixel"]["dice"]
        for run in (run_copy, tmp_path / "permuted")
    ]
    assert rates[0] != rates[1]  # the truth really was another


@pytest.mark.slow
def test_max_time_ends_in_time(dataset_folder, tmp_path):
    start = time.monotonic()
    summary = train_tiny(dataset_folder, tmp_path / "run", max_time="4s")
    assert summary.epochs >= 1
    seconds = float(read_csv(tmp_path / "run" / "history.csv")[-1]["seconds"])
    assert seconds < 10
    assert time.monotonic() - start < 30  # building and drawing included, on a busy machine


@pytest.mark.slow
@pytest.mark.check(2)
@pytest.mark.check(7)
def test_a_run_killed_again_and_again_is_resumed_to_the_weights_of_an_unbroken_one(
    dataset_folder, tmp_path, tally
):
    settings = (*TINY, "train.epochs=6", "train.samples_per_epoch=16")
    killed = tmp_path / "killed"
    main = [sys.executable, "-m", "defectkit.cli", "train", "--out", str(killed)]
    arguments = [f"--set={setting}" for setting in settings]
    anew = [*main, "--data", str(dataset_folder), "--device", "cpu", *arguments]
    resumed = [*main, "--resume"]

    def epochs() -> int:
        return len(list((killed / "progress").glob("epoch-*.png")))

    for begun in range(4):
        process = subprocess.Popen(resumed if begun else anew, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while epochs() < begun or not (killed / "config.yaml").is_file():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1 * begun)  # into the next epoch
        process.kill()
        process.wait()
        with tally.case(f"killed in epoch {begun + 1}"):
            assert epochs() in (begun, begun + 1)
            assert read_json(killed / "run.json")["status"] == "running"
            assert len(list(killed.rglob(f"{TEMP_MARK}*"))) <= 1
    subprocess.run(resumed, check=True, stderr=subprocess.DEVNULL, timeout=300)
    train_tiny(dataset_folder, tmp_path / "whole", *settings)
    assert read_json(killed / "run.json")["status"] == "finished"
    assert len(read_csv(killed / "history.csv")) == 6
    assert not list(killed.rglob(f"{TEMP_MARK}*"))
    last = "checkpoints/epoch-0006.safetensors"
    ours, theirs = load_file(killed / last), load_file(tmp_path / "whole" / last)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


OPENED: list[str] | None = None


def _note_opened(event: str, arguments: tuple) -> None:
    if event == "open" and OPENED is not None:
        OPENED.append(os.path.realpath(str(arguments[0])))


sys.addaudithook(_note_opened)  # which Python never takes back: quiet while OPENED is None


@pytest.mark.check(3)
def test_training_does_not_read_the_test_images(dataset_copy, tmp_path, monkeypatch):
    records = Dataset.load(dataset_copy).records
    paths = {record.path.resolve().as_posix(): record.split for record in records}
    monkeypatch.setattr(sys.modules[__name__], "OPENED", [])
    train_tiny(dataset_copy, tmp_path / "run", "train.epochs=1")
    assert {paths[path] for path in OPENED if path in paths} == {"train", "val"}


@pytest.mark.slow
@pytest.mark.check(3)
def test_other_labels_of_the_test_images_change_nothing_in_the_model(dataset_copy, tmp_path):
    def model(name: str) -> tuple[str, dict]:
        run = train_tiny(dataset_copy, tmp_path / name).run
        facts = read_json(run / "model" / "model.json")
        del facts["run"], facts["seal"]
        return facts.pop("dataset"), {
            **facts, "weights": sha256_file(run / "model" / "model.safetensors")
        }  # fmt: skip

    data, before = model("before")
    ids = [record.image_id for record in Dataset.load(dataset_copy).split("test")]
    other = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
    for table in ("masks.csv", "defects.csv"):
        rows = read_csv(dataset_copy / table)
        cells = (
            [other.get(image_id, image_id), *rest] for image_id, *rest in map(dict.values, rows)
        )
        write_csv(dataset_copy / table, list(rows[0]), cells)
    labeled = {row["image_id"] for row in read_csv(dataset_copy / "masks.csv")}
    rows = read_csv(dataset_copy / "images.csv")
    cells = ({**row, "defective": int(row["image_id"] in labeled)}.values() for row in rows)
    write_csv(dataset_copy / "images.csv", list(rows[0]), cells)
    reseal_dataset(dataset_copy)
    other_data, after = model("after")
    assert other_data != data
    assert after == before
