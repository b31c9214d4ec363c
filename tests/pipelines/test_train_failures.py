"""What may happen to a training, done to the real command: nothing finished is ever lost."""

import errno
import itertools
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tiny_training import TINY, train_tiny
from torch import nn

from defectkit import config as config_module
from defectkit.approaches.build import build_approach
from defectkit.approaches.segment import Segment
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config
from defectkit.deployment.best_model import SECOND_COPY, identify_model, repair_model
from defectkit.deployment.bundle import save_model
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import TEMP_MARK, read_csv, read_json
from defectkit.models.model_folder import read_model
from defectkit.pipelines import train as pipeline
from defectkit.reporting.drawing import training_progress
from defectkit.synthesis import generator
from defectkit.training import loop, run_info, trial
from defectkit.training.checkpoint import load_checkpoint, save_checkpoint
from defectkit.training.history import read_history, write_history
from defectkit.training.runs import lock_run

posix = pytest.mark.skipif(os.name == "nt", reason="forks and kills")
LAST = Path("checkpoints") / "epoch-0002.safetensors"


@pytest.fixture(scope="module")
def small() -> list[str]:
    """Options under which training two epochs of two steps takes a second."""
    settings = (*TINY, "model.architecture=pixel_net", "data.crop=32")
    return ["--device", "cpu", *(word for one in settings for word in ("--set", one))]


@pytest.fixture(scope="module")
def unbroken(dataset_folder) -> dict[str, np.ndarray]:
    """The state after two epochs that nothing disturbed."""
    run = dataset_folder.parent / "unbroken"
    train_tiny(dataset_folder, run, "model.architecture=pixel_net", "data.crop=32")
    return load_file(run / LAST)


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def strays(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMP_MARK}*"))


# --- killed while it saves ------------------------------------------------------------------------


class Writer:
    """Writes what a run writes after each epoch, as fast as it can; all weights are the epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = nn.Conv2d(1, 8, 3)
        self.optimizer = torch.optim.AdamW(self.network.parameters())
        self.approach = build_approach(load_config(None, []), classes=("1",), channels=1)

    def write(self, epoch: int) -> None:
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.fill_(epoch)
        write_history(self.folder / "history.csv", [{"epoch": n} for n in range(1, epoch + 1)])
        for model in (self.folder / SECOND_COPY, self.folder / "model"):
            save_model(
                model, approach=self.approach, network=self.network, tuning=Tuning(),
                thresholds=Thresholds(low=0.5, high=0.5, rule="f1"),
                facts={"epoch": epoch, "dataset": "1"},
            )  # fmt: skip
        save_checkpoint(
            self.folder / "checkpoints", epoch=epoch, modules={"network": self.network},
            optimizer=self.optimizer, numbers={},
        )  # fmt: skip

    def load(self) -> int:
        """Return the epoch of the newest whole state, whose weights must be of the same."""
        modules = {"network": self.network}
        state = load_checkpoint(
            self.folder / "checkpoints", modules=modules, optimizer=self.optimizer
        )
        weights = torch.cat([p.detach().flatten() for p in self.network.parameters()])
        assert weights.unique().tolist() == [state["epoch"]]
        return state["epoch"]


def die_at(operation: int) -> None:
    """Have this process killed at its n-th operation on files: half-way through it, or before."""
    turns = itertools.count()
    write, sync, replace, unlink = Path.write_bytes, os.fsync, os.replace, os.unlink

    def come_up() -> None:
        if next(turns) == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        come_up()
        return write(path, content)

    def before(real: Callable) -> Callable:
        return lambda *arguments, **options: (come_up(), real(*arguments, **options))[1]

    Path.write_bytes = write_half
    os.fsync, os.replace, os.unlink = before(sync), before(replace), before(unlink)


def write_until_killed(folder: Path, done, ready, operation: int | None) -> None:
    writer = Writer(folder)
    for epoch in itertools.count(1):
        if epoch == 3:
            ready.set()
            if operation is not None:
                die_at(operation)
        writer.write(epoch)
        done.value = epoch


@pytest.mark.slow
@posix
@pytest.mark.check(2)
@pytest.mark.parametrize("when", ["at any moment", "in each operation"])
def test_a_run_killed_while_it_saves_loses_no_finished_epoch(when, tmp_path, tally):
    fork = multiprocessing.get_context("fork")
    rng = np.random.default_rng(2)
    for number in range(tally.number(short=4, full=100)):
        run = tmp_path / str(number)
        done = fork.Value("i", 0, lock=False)  # a lock could die with the process that holds it
        ready = fork.Event()
        operation = number if when == "in each operation" else None
        process = fork.Process(target=write_until_killed, args=(run, done, ready, operation))
        process.start()
        assert ready.wait(60)
        if operation is None:
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        with tally.case(f"killed after epoch {done.value}"):
            assert len(strays(run)) <= 1
            with lock_run(run, resume=True):  # as the next start does
                assert strays(run) == []
            writer = Writer(run)
            epoch = writer.load()
            assert epoch in (done.value, done.value + 1)
            kept = [row["epoch"] for row in read_history(run / "history.csv")]
            assert kept in (list(range(1, epoch + 1)), list(range(1, epoch + 2)))
            repair_model(run, identity=identify_model(read_json(run / SECOND_COPY / "model.json")))
            read_model(run / "model")
            writer.write(epoch + 1)
            states = {path.stem for path in (run / "checkpoints").glob("epoch-*")}
            assert states == {f"epoch-{epoch:04d}", f"epoch-{epoch + 1:04d}"}


@pytest.mark.slow
@pytest.mark.check(2)
@pytest.mark.parametrize("written", ["nothing", "run.json", "config.yaml", "half an epoch"])
def test_a_run_killed_before_its_first_epoch_was_finished_can_be_had_in_its_folder(
    written, cli, dataset_folder, tmp_path, small, unbroken, monkeypatch
):
    run = tmp_path / "run"
    train = ["train", "--data", dataset_folder, "--out", run, *small]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        places = {
            "nothing": (run_info, "record_status"),
            "run.json": (config_module, "save_config"),
            "config.yaml": (pipeline, "train_epochs"),
            "half an epoch": (loop, "set_learning_rate"),
        }
        once.setattr(*places[written], killed)
        ended = cli(*train)
    assert ended.code == 130
    assert ("--resume" in ended.err) == (written not in ("nothing", "run.json"))
    if written in ("nothing", "run.json"):
        again = cli(*train)
    else:
        refused = cli(*train)
        assert refused.code == 2
        assert f"{run} already has a run. Continue it with --resume, or choose" in refused.err
        again = cli("train", "--resume", "--out", run)
        assert "no epoch was finished: starting from epoch 1" in again.err
    assert again.code == 0, again.err
    assert equal(load_file(run / LAST), unbroken)


# --- what ends a training -------------------------------------------------------------------------


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    """From now on each write fails half-way."""
    write = Path.write_bytes

    def fail_now() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        fail_now()

    open_file = Path.open

    def open_full(path: Path, mode: str = "r", **options: object) -> object:
        file = open_file(path, mode, **options)
        if mode == "w":  # as tables are written, row by row
            patch.setattr(file, "write", lambda _: fail_now(), raising=False)
        return file

    patch.setattr(Path, "write_bytes", fail)
    patch.setattr(Path, "open", open_full)


def raises(error: Exception) -> Callable:
    def strike(_: object) -> None:
        raise error

    return strike


def sends(number: int) -> Callable:
    return lambda _: os.kill(os.getpid(), number)


def become_nan(patch: pytest.MonkeyPatch, *, in_training: bool = True) -> None:
    real = nn.Module.__call__

    def call(module: nn.Module, *arguments: object) -> object:
        outputs = real(module, *arguments)
        spared = module.training and not in_training
        return outputs * np.nan if isinstance(outputs, torch.Tensor) and not spared else outputs

    patch.setattr(nn.Module, "__call__", call)


def become_nan_in_validation(patch: pytest.MonkeyPatch) -> None:
    become_nan(patch, in_training=False)


def kill_a_loader(_: object) -> None:
    multiprocessing.active_children()[0].kill()


CUDA = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
STRIKES = {
    "NaN": (3, "not finite (classes nan, bce nan", become_nan),
    "NaN in validation": (3, ".png: the network's scores are not finite", become_nan_in_validation),
    "a dead worker": (4, "a loader process died (DataLoader worker", kill_a_loader),
    "no memory": (5, "out of memory (MemoryError). Start", raises(MemoryError())),
    "no memory on the GPU": (5, "out of memory (CUDA out of memory.", raises(CUDA)),
    "really no memory": (5, "can't allocate memory", lambda _: torch.empty(10**15)),
    "a full disk": (6, "history.csv: No space left on device. Free some", fill_the_disk),
    "SIGINT": (130, "continue with: defectkit train --resume --out", sends(signal.SIGINT)),
    "SIGTERM": (143, "interrupted; what", sends(signal.SIGTERM)),
}


FULL = pytest.param("a full disk", marks=pytest.mark.check(12))


VALIDATION = pytest.param("NaN in validation", marks=pytest.mark.check(56))


@pytest.mark.slow
@posix
@pytest.mark.check(36)
@pytest.mark.parametrize(
    "strike",
    [
        FULL,
        VALIDATION,
        *(name for name in STRIKES if name not in ("a full disk", "NaN in validation")),
    ],
)
def test_whatever_ends_a_training_has_its_exit_status_and_leaves_the_last_checkpoint(
    strike, cli, dataset_folder, tmp_path, small, unbroken, monkeypatch, tally
):
    code, words, happen = STRIKES[strike]
    run, struck = tmp_path / "run", []
    steps, real = itertools.count(1), Segment.loss

    def loss(*arguments: object) -> object:
        if next(steps) == 4:  # after the trial, the first of the second epoch
            struck.append(time.monotonic())
            happen(once)
        return real(*arguments)

    workers = "data.workers=1" if strike == "a dead worker" else "data.workers=0"
    with monkeypatch.context() as once:
        once.setattr(Segment, "loss", loss)
        once.setattr(trial, "WORTH_REPEATING", 0.0)  # one step, however fast the machine is
        ended = cli("train", "--data", dataset_folder, "--out", run, *small, "--set", workers)
    assert struck, ended.err
    assert time.monotonic() - struck[0] < 10
    assert ended.code == code, ended.err
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert strays(run) == []
    status = {130: "interrupted", 143: "interrupted", 6: "running"}.get(code, "failed")
    assert read_json(run / "run.json")["status"] == status

    if strike == "SIGTERM" or tally.full:
        assert cli("evaluate", run, "--device", "cpu").code == 0
    resumed = cli("train", "--resume", "--out", run, "--set", "data.workers=0")
    assert resumed.code == 0, resumed.err
    assert equal(load_file(run / LAST), unbroken)


def test_an_image_that_vanishes_is_no_traceback_out_of_a_loader_process(
    cli, dataset_copy, tmp_path, small
):
    for image in (dataset_copy.parent / "Train").iterdir():
        image.write_bytes(b"")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as once:
        once.setattr(training_progress, "draw_augmentations", lambda *_: None)
        ended = cli(
            "train", "--data", dataset_copy, "--out", run, *small, "--set", "data.workers=1"
        )
    assert ended.code == 2
    assert re.search(r"error: \S+part-\d\d\.png: the file is empty", ended.err)
    assert "Traceback" not in ended.err


@pytest.mark.slow
@pytest.mark.check(56)
@pytest.mark.parametrize("shared", ["size=64k", "ro,size=64k"])
@pytest.mark.parametrize("command", ["prepare", "train"])
def test_little_or_no_shared_memory_costs_time_alone(
    command, shared, source_csv, dataset_folder, tmp_path, small
):
    words = {
        "prepare": ["prepare", source_csv, "--workers", 2],
        "train": ["train", "--data", dataset_folder, *small, "--set", "data.workers=2"],
    }[command]
    run = shlex.join(
        [sys.executable, "-m", "defectkit.cli", *map(str, [*words, "--out", tmp_path / "out"])]
    )
    script = f"mount -t tmpfs -o {shared} tmpfs /dev/shm || exit 99; {run}"
    try:
        ended = subprocess.run(
            ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if ended.returncode in (1, 99):
        pytest.skip(f"nothing can be mounted here: {ended.stderr}")
    assert ended.returncode == 0, ended.stderr
    if (command, shared) != ("prepare", "size=64k"):
        assert "warning: shared memory (/dev/shm" in ended.stderr


# --- no room, no right to write -------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path) -> Iterator[Path]:
    """A small disk of its own; skips where it may not be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    try:
        refused = subprocess.run(mount, capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        refused = "there is no mount"
    if refused:
        pytest.skip(f"a disk cannot be mounted here: {refused.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.check(12)
def test_a_disk_that_fills_up_costs_nothing_that_was_finished(
    cli, dataset_folder, mounted, small, tally
):
    # Of the room that one state needs, ever more is there: each time another file is cut short.
    parts = np.linspace(0, 0.95, tally.number(short=1, full=12))
    for part in parts:
        run, ballast = mounted / "run", mounted / "ballast"
        first = cli("train", "--data", dataset_folder, "--out", run, *small, "--epochs", 1)
        assert first.code == 0, first.err
        state = sum(path.stat().st_size for path in (run / "checkpoints").glob("epoch-0001.*"))
        free = os.statvfs(mounted)
        room = free.f_bavail * free.f_frsize - int(part * state) // free.f_frsize * free.f_frsize
        ballast.write_bytes(bytes(room))
        with tally.case(f"room for {part:.2f} of a state"):
            full = cli("train", "--resume", "--out", run, "--epochs", 2)
            assert full.code == 6, full.err
            assert "No space left on device. Free some space or choose another" in full.err
            assert strays(run) == []
            assert not (run / LAST).with_suffix(".json").exists()
            ballast.unlink()
            resumed = cli("train", "--resume", "--out", run, "--epochs", 2)
            assert resumed.code == 0, resumed.err
            assert read_csv(run / "history.csv")[-1]["epoch"] == "2"
        shutil.rmtree(run)


def make_immutable(folder: Path) -> Callable[[], object]:
    """Take the right to write from ``folder``, from root too; return what gives it back."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        ended = subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no chattr")
    if ended.returncode:
        pytest.skip("chattr is not permitted here")
    return lambda: subprocess.run(["chattr", "-i", str(folder)], check=True)


COMMANDS = {
    "prepare": ["prepare", "{csv}", "--out"],
    "train": ["train", "--data", "{dataset}", "--out"],
    "inspect": ["inspect", "{run}", "{images}", "--out"],
    "compare": ["compare", "{run}", "--out"],
    "synth": ["synth"],
}


@posix
@pytest.mark.check(13)
@pytest.mark.parametrize("place", ["a file", "below a file", "/proc", "read-only", "immutable"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    command, place, cli, source_csv, dataset_folder, run_folder, tmp_path, request, monkeypatch
):
    given = {"csv": source_csv, "images": source_csv.parent / "Train"}
    given |= {"dataset": dataset_folder, "run": run_folder}
    (tmp_path / "file").write_text("mine")
    out = {"a file": tmp_path / "file", "/proc": Path("/proc/out")}.get(place, tmp_path / "no")
    if place == "below a file":
        out = tmp_path / "file" / "run"
    elif place == "read-only":
        disk = request.getfixturevalue("mounted")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        out = disk / "run"
    elif place == "immutable":
        request.addfinalizer(make_immutable(out))
    begun: list[object] = []
    monkeypatch.setattr(Image, "open", lambda file, **_: begun.append(file))
    monkeypatch.setattr(generator, "synthesize", lambda index, **_: begun.append(index))
    ended = cli(*(word.format(**given) for word in COMMANDS[command]), out)
    assert begun == []
    assert ended.code == 2
    assert re.search(r"error: (cannot write \S+: [A-Z]|\S+ is a file, not a folder)", ended.err)
    assert re.search(r"[Cc]hoose (another|a folder that you may write to)", ended.err)
    assert "Traceback" not in ended.err
    assert (tmp_path / "file").read_text() == "mine"


@posix
@pytest.mark.check(13)
@pytest.mark.parametrize("folder", [".", "checkpoints", "checkpoints/best", "model", "progress"])
def test_a_part_of_a_run_that_cannot_be_written_is_told_before_it_goes_on(
    folder, cli, run_copy, request, monkeypatch
):
    monkeypatch.setattr(pipeline, "train_epochs", lambda *_, **__: pytest.fail("it trains"))
    request.addfinalizer(make_immutable(run_copy / folder))
    ended = cli("train", "--resume", "--out", run_copy, "--epochs", 3)
    assert ended.code == 2
    assert re.search(r"error: cannot write \S+: Operation not permitted", ended.err)


@pytest.mark.check(13)
def test_it_is_told_before_the_seconds_that_importing_torch_takes(tmp_path):
    (tmp_path / "file").write_text("mine")
    code = (
        "import sys, defectkit\n"
        "try: defectkit.train(out=sys.argv[1])\n"
        "except defectkit.errors.OutputError: sys.exit('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)
    assert ended.returncode == 0


# --- the real command -----------------------------------------------------------------------------


@posix
@pytest.mark.slow
@pytest.mark.check(36)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_real_command_and_its_loaders_within_ten_seconds(
    number, dataset_folder, tmp_path, small
):
    run = tmp_path / "run"
    options = [*small, "--set", "data.workers=2", "--epochs", "1000"]
    main = [sys.executable, "-m", "defectkit.cli", "train", "--data", str(dataset_folder)]
    process = subprocess.Popen(
        [*main, "--out", str(run), *options],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 240
    while not (run / "checkpoints" / "epoch-0001.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    loaders = [Path("/proc") / child for child in tasks.read_text().split()]
    assert len(loaders) >= 2
    process.send_signal(number)
    start = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - start < 10
    assert process.returncode == 128 + number
    assert b"interrupted; what was finished is on disk" in told
    assert b"Traceback" not in told
    assert not any(loader.exists() for loader in loaders)
    assert read_json(run / "run.json")["status"] == "interrupted"
    assert strays(run) == []
