"""``torchrun -m defectkit train``: one writer, resumed by others, killed and started again."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from torchrun import finished, torchrun, train_words

from defectkit.training.history import read_history

pytestmark = [
    pytest.mark.check(64),
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]


def columns(run, *names):
    return [[row[name] for name in names] for row in read_history(run / "history.csv")]


def status(run):
    return json.loads((run / "run.json").read_text())["status"]


def wait_for_epoch(run, epoch, process):
    deadline = time.monotonic() + 120
    checkpoint = run / "checkpoints" / f"epoch-{epoch:04d}.json"
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(process):
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in listed.read_text().split()]


def is_running(number):
    """Whether a process is there, and not only its exit status that nobody has asked for."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def test_two_processes_write_one_run_as_one_does_and_each_resumes_the_other(
    dataset_folder, tmp_path
):
    told = ("epoch", "steps", "train_loss", "val_image_ap", "val_pixel_ap", "validated_images")
    runs = [tmp_path / name for name in ("one", "two")]
    for count, run in enumerate(runs, start=1):
        printed = finished(torchrun(count, *train_words(dataset_folder, run, "train.epochs=2")))
        assert printed.count("epoch   1") == 1
        assert printed.count("next: defectkit evaluate") == 1
        assert status(run) == "finished"
    one, two = (sorted(p.relative_to(run).as_posix() for p in run.rglob("*")) for run in runs)
    assert one == two
    assert "processes" in (runs[1] / "run.json").read_text()
    for count, run in zip((2, 1), runs, strict=True):
        words = train_words(dataset_folder, run)[:7]  # without its settings, which are kept
        finished(torchrun(count, *words, "--resume", "--epochs", "3"))
    first, second = (np.array(columns(run, *told), float) for run in runs)
    assert len(first) == 3
    assert first == pytest.approx(second, rel=1e-5)


def test_a_mistake_is_told_once(dataset_folder, tmp_path):
    words = train_words(dataset_folder, tmp_path / "run", "train.batch_size=1")
    process = torchrun(2, *words)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode
    assert printed.count("error: train.batch_size=1") == 1
    assert not (tmp_path / "run").exists()


def test_other_commands_refuse_several_processes(run_folder):
    process = torchrun(2, "-m", "defectkit", "evaluate", run_folder)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode
    assert "train alone shares its work among them" in " ".join(printed.split())


@pytest.mark.parametrize("rank", [0, 1])
def test_after_a_killed_process_torchrun_continues_with_the_last_epoch(
    rank, dataset_folder, tmp_path
):
    run = tmp_path / "run"
    words = train_words(dataset_folder, run, "train.epochs=8")
    process = torchrun(2, *words, restarts=1)
    wait_for_epoch(run, 2, process)
    os.kill(children(process)[rank], signal.SIGKILL)
    printed = finished(process)
    assert status(run) == "finished"
    assert [epoch for (epoch,) in columns(run, "epoch")] == list(range(1, 9))
    # It has gone on and not begun again: no epoch was finished, and told, twice.
    assert all(printed.count(f"epoch {epoch:3d}  ") == 1 for epoch in (1, 2, 8))


def test_torchrun_started_again_leaves_an_earlier_run_alone(dataset_folder, tmp_path):
    run = tmp_path / "run"
    finished(torchrun(1, *train_words(dataset_folder, run, "train.epochs=1")))
    before = (run / "run.json").read_bytes()
    process = torchrun(2, *train_words(dataset_folder, run, "train.epochs=2"), restarts=1)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode
    assert "already has a run" in " ".join(printed.split())
    assert (run / "run.json").read_bytes() == before


@pytest.mark.parametrize("to_all", [True, False])
def test_a_signal_to_one_process_or_all_ends_them_in_order(to_all, dataset_folder, tmp_path):
    run = tmp_path / "run"
    process = torchrun(2, *train_words(dataset_folder, run, "train.epochs=100000"))
    wait_for_epoch(run, 1, process)
    os.kill(process.pid if to_all else children(process)[1], signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert status(run) == "interrupted"
    assert printed.count("interrupted; what was finished is on disk") == 1
    assert "another process" not in printed


def test_a_killed_launcher_leaves_no_process_and_the_run_is_resumed(dataset_folder, tmp_path):
    run = tmp_path / "run"
    process = torchrun(2, *train_words(dataset_folder, run, "train.epochs=100000"))
    wait_for_epoch(run, 1, process)
    started = children(process)
    process.kill()
    try:
        process.communicate(timeout=60)  # until the last of them has closed the output
        assert not any(map(is_running, started))
    finally:
        for number in filter(is_running, started):
            os.kill(number, signal.SIGKILL)
    assert status(run) == "interrupted"
    epochs = len(read_history(run / "history.csv")) + 1
    words = train_words(dataset_folder, run)[:7]
    finished(torchrun(2, *words, "--resume", "--epochs", epochs))
    assert len(read_history(run / "history.csv")) == epochs
