import errno
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tiny_training import TINY

import defectkit
from defectkit import cli as cli_module
from defectkit.command_line import STATUSES
from defectkit.config import load_config
from defectkit.errors import (
    BY_SIGNAL,
    FAULT,
    DefectkitError,
    DefectkitWarning,
    DiskFullError,
    MemoryShortageError,
    NotFiniteError,
    WorkerError,
)
from defectkit.files import read_csv, read_json

ARGUMENTS = {
    **dict.fromkeys(("prepare", "evaluate", "compare", "export", "synth"), "x"),
    "inspect": "xy",
}
"""Of the commands that need some."""
COMMANDS = ("prepare", "train", "evaluate", "inspect", "compare", "export", "synth", "configs")


def defectkit_process(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "defectkit.cli", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "1000"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_whole_job(cli, source_csv, tmp_path, monkeypatch):
    # Names with spaces, brackets (which rich could take for markup) and Chinese characters.
    place = tmp_path / "a [bold] 零件"
    place.mkdir()
    monkeypatch.chdir(place)
    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *where: asked.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: asked.append(where) or [])

    prepared = cli("prepare", source_csv, "--split", "0.5/0.25/0.25")
    assert prepared.code == 0, prepared.err
    assert "20 used" in prepared.err
    assert (place / "dataset" / "dataset.json").is_file()

    # With the pretrained weights of the installed package, which need no network.
    settings = [word for one in (*TINY, "model.weights=auto") for word in ("--set", one)]
    trained = cli("train", "--approach", "segment", "--device", "cpu", "--epochs", 1, *settings)
    assert trained.code == 0, trained.err
    assert "epoch 1 loss" in trained.err
    run = place / "runs" / "segment-1"
    assert load_config(run / "config.yaml").train.epochs == 1
    assert read_json(run / "run.json")["command"][1] == "train"

    judged = cli("evaluate", run, "--max-escape-rate", 0.4, "--device", "cpu")
    assert judged.code == 0, judged.err
    for words in ("image average precision", "pixel Dice", "region recall", "escapes", "overkills"):
        assert words in judged.err
    assert f"overlays in {run}/evaluation/test/overlays, report in" in judged.err

    looked = cli("inspect", run, source_csv.parent / "Train", "--device", "cpu")
    assert looked.code == 0, looked.err
    assert "0 not inspected; overlays of those to review and defective in inspection/" in looked.err
    looked = cli("inspect", run, source_csv.parent / "Train", "--overlays", "all")
    assert "0 not inspected; overlays in inspection/overlays, verdicts and masks in" in looked.err
    assert len(list((place / "inspection" / "overlays").iterdir())) == 20

    compared = cli("compare", run, "--device", "cpu")
    assert compared.code == 0, compared.err
    assert "page in comparison/comparison.html" in compared.err
    made = {"dataset", "runs", "inspection", "comparison"}
    assert {path.name for path in place.iterdir()} == made
    assert {path.name for path in tmp_path.iterdir()} == {place.name}
    assert asked == [], "the network was asked"


def test_unreadable_images_give_exit_status_1(cli, run_folder, source_csv, tmp_path):
    cut = tmp_path / "cut [red].png"
    cut.write_bytes((source_csv.parent / "Train" / "part-01.png").read_bytes()[:900])
    whole = source_csv.parent / "Train" / "part-00.png"
    looked = cli("inspect", run_folder, cut, whole, "--out", tmp_path / "o", "--device", "cpu")
    assert looked.code == 1
    assert f"not inspected: {cut}: the image is damaged or cut off" in looked.err
    assert [row["image_id"] for row in read_csv(tmp_path / "o" / "errors.csv")] == [cut.name]
    assert "Traceback" not in looked.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "gone.csv"], "gone.csv"),
        (["train", "--data", "gone"], "gone does not exist. Check the path, or make a dataset"),
        (["train", "--config", "gone.yaml"], "cannot read the configuration gone.yaml"),
        (["train", "--config", "gone"], "there is no configuration 'gone'. Shipped: "),
        (["train", "--resume"], "there is no run runs/segment-<n> to resume. Name one with --out."),
        (["train", "--resume", "--config", "unet"], "drop --config or --resume"),
        (["train", "--max-time", "soon"], "'soon' is not a time. Write for example 90s, 20m"),
        (["train", "--set", "train.lr"], "write it as KEY=VALUE, for example train.lr=3e-4"),
        (
            ["train", "--set", "train.epoch=1"],
            "train.epoch: no such key. Did you mean 'train.epochs'?",
        ),
        (["train", "--set", "lr=1"], "lr: no such key. Did you mean 'train.lr'?"),
        (["train", "--set", "train.lr=fast"], "train.lr: 'fast': input should be a valid number"),
        (["evaluate", "gone"], "gone does not exist"),
        (["inspect", "gone", "x.png"], "gone does not exist"),
        (["compare", "gone", "--out", "here"], "gone does not exist"),
        (
            ["synth", "here", "--images", "0"],
            "--images 0 is out of range. Choose between 1 and 100000.",
        ),
        (["synth", "here", "--difficulty", "nan"], "--difficulty nan is out of range. Choose"),
        (
            ["prepare", "x.csv", "--seed", "-1"],
            "--seed -1 is out of range. Choose between 0 and 42",
        ),
        (["prepare", "x.csv", "--workers", "62"], "--workers 62 is out of range. Choose between 0"),
        (["prepare", "x.csv", "--pixel-pitch", "inf"], "--pixel-pitch inf is not a length in mm"),
        (["train", "--seed", "-1"], "seed: -1: input should be greater than or equal to 0"),
        (["train", "--epochs", "0"], "train.epochs: 0: input should be greater than or equal to 1"),
        (["evaluate", "gone", "--cost-ratio", "nan"], "cost-ratio"),
        (["evaluate", "gone", "--max-escape-rate", "nan"], "max-escape-rate"),
        (["configs", "show", "gone"], "there is no configuration 'gone'. Shipped: "),
    ],
)
def test_mistakes_end_with_a_message_and_status_2(cli, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = cli(*arguments)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert message in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert ended.out == ""
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspekt"], "No such command"),
        (["train", "--device", "tpu"], "'tpu' is not one of"),
        (["prepare", "a.csv", "--rle-base", "2"], "'2' is not one of"),
        (["evaluate", "run", "--split", "any"], "'any' is not one of"),
        (["evaluate"], "Missing argument"),
        (["inspect", "run"], "Missing argument"),
        (["compare"], "Missing argument"),
    ],
)
def test_typing_mistakes_end_with_a_message_and_status_2(cli, arguments, message):
    ended = cli(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_all_mistakes_of_a_config_are_said_at_once(cli, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  epoch: 3\n  lr: no\nmodel:\n  architecture: vnet\n")
    ended = cli("train", "--config", path, "--set", "data.crop=7")
    assert ended.code == 2
    for part in ("mine.yaml", "train.epoch", "train.lr", "model.architecture", "data.crop"):
        assert part in ended.err


@pytest.mark.parametrize(
    "command",
    [(), *((name,) for name in COMMANDS), ("plan",), ("suspects",), ("labels", "convert")],
)
def test_every_command_has_help(cli, command):
    shown = cli(*command, "--help")
    assert shown.code == 0
    assert "Usage: defectkit" in shown.out
    if command and command != ("configs",):
        assert "defectkit " + " ".join(command) in shown.out.split("Example")[1]


def test_without_a_command_help_is_shown(cli):
    shown = cli()
    assert "Usage: defectkit" in shown.out
    assert all(name in shown.out for name in COMMANDS)


def test_version(cli):
    shown = cli("--version")
    assert (shown.code, shown.out) == (0, f"defectkit {defectkit.__version__}")


def test_python_runs_the_package_as_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "defectkit", "--version"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == f"defectkit {defectkit.__version__}"


def test_configs_are_listed_shown_and_copied(cli, tmp_path):
    listed = cli("configs", "ls")
    assert listed.code == 0
    assert "segnet SegNet as" in listed.out
    assert "unet The default" in listed.out
    shown = cli("configs", "show", "segnet")
    assert "architecture: segnet" in shown.out
    mine = tmp_path / "mine.yaml"
    copied = cli("configs", "copy", "segnet", mine)
    assert copied.code == 0
    assert f"Written to {mine}. Next: defectkit train --config {mine}" in copied.err
    assert load_config(mine).model.architecture == "segnet"
    again = cli("configs", "copy", "unet", mine)
    assert again.code == 2
    assert "mine.yaml exists already. Choose another name." in again.err
    assert load_config(mine).model.architecture == "segnet"


def test_synth_draws_what_was_asked_for(cli, tmp_path):
    drawn = cli(
        *["synth", tmp_path / "synth", "--images", 3, "--size", 128, "--textures", 2],
        *["--seed", 5, "--difficulty", 0.5],
    )
    assert drawn.code == 0, drawn.err
    table = tmp_path / "synth" / "train.csv"
    assert f"Written to {tmp_path / 'synth'}. Next: defectkit prepare {table}" in drawn.err
    assert len(list((tmp_path / "synth" / "Train").iterdir())) == 3
    assert {row["ImageId"] for row in read_csv(tmp_path / "synth" / "train.csv")} == {
        "0000.png", "0001.png", "0002.png",
    }  # fmt: skip


@pytest.mark.check(36)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_status_and_proposes_no_resume_of_nothing(number, code, cli, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("defectkit.pipelines.train.run", interrupted)
    ended = cli("train")
    assert ended.code == code
    assert ended.err == "interrupted; what was finished is on disk."


@pytest.mark.check(36)
@pytest.mark.check(62)
def test_ctrl_c_before_the_command_starts(cli, monkeypatch):
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_module, "app", interrupted)
    assert cli("prepare", "train.csv").code == 130
    monkeypatch.setattr(cli_module, "_guard_usage_errors", lambda: signal.raise_signal(2))
    assert cli("prepare", "\x1b[31m.csv").err == "interrupted; what was finished is on disk."


@pytest.mark.check(62)
@pytest.mark.parametrize(
    "command", [("inspect",), ("evaluate",), ("prepare",), ("compare", "--out")]
)
def test_a_path_that_the_system_refuses_is_named(command, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    ended = cli(*command, "circle", *["x"] * (command[0] in ("inspect", "compare")))
    assert (ended.code, "error: circle: Too many levels" in ended.err) == (2, True)
    ended = cli(*command, "a" * 300, *["x"] * (command[0] in ("inspect", "compare")))
    assert (ended.code, "File name too long. Give another path" in ended.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["circle"]


def test_exit_statuses_are_distinct_and_stand_in_the_help_and_on_their_page(cli):
    kinds = (DefectkitError, NotFiniteError, WorkerError, MemoryShortageError, DiskFullError)
    codes = [kind.exit_code for kind in kinds] + [FAULT, *BY_SIGNAL]
    assert codes == [2, 3, 4, 5, 6, 70, 129, 130, 143]
    shown = cli("train", "--help").out.replace("│", "").split("Exit status")[1]
    for command in (
        *COMMANDS[:-1],
        "plan",
        "suspects",
        "labels convert",
        "configs show",
        "configs copy",
    ):
        told = cli(*command.split(), "--help").out.replace("│", "").split("Exit status")[1]
        for code in {*codes} - {3, 4} | ({1} if command == "inspect" else set()):
            assert re.search(rf"\b{code} +\w", told)
    file = Path(__file__).parents[1] / "docs" / "reference" / "exit-statuses.md"
    page = file.read_text(encoding="utf-8")
    for code in codes:
        assert re.search(rf"\b{code} +\w", shown)
        assert f"\n| {code} | " in page
    for code, meaning in STATUSES.items():
        assert f"\n| {code} | {meaning.removesuffix('.')}" in page


def test_warnings_of_ours_are_shown_and_those_of_libraries_are_not(cli, monkeypatch, recwarn):
    def warn(*_: object, **__: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = cli_module._show_warning
            warnings.warn("no weights for [x]", DefectkitWarning, stacklevel=1)
            warnings.warn("deprecated thing", FutureWarning, stacklevel=1)

    monkeypatch.setattr("defectkit.pipelines.train.run", warn)
    ended = cli("train")
    assert "warning: no weights for [x]" in ended.err
    assert "deprecated thing" not in ended.err


@pytest.mark.check(54)
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError("of no use"), FAULT),
        (RuntimeError("odd"), FAULT),
        (EOFError(), FAULT),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), FAULT),
        (OSError(errno.EIO, "Input/output error", "x.png"), FAULT),
        (MemoryError(), 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), 5),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 6),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), 2),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "command", ["prepare", "train", "evaluate", "inspect", "compare", "export", "synth"]
)
def test_each_failure_has_its_status_and_no_traceback(
    command, error, status, cli, monkeypatch, tmp_path
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"defectkit.pipelines.{command}.run", fail)
    ended = cli(command, *ARGUMENTS.get(command, ()))
    assert ended.code == status
    assert "Traceback" not in ended.err
    reports = list(tmp_path.glob("defectkit-error-*.txt"))
    assert len(reports) == (status == FAULT)
    if reports:
        assert f"{type(error).__name__}: {error}. Please send in {reports[0].name}," in ended.err


@pytest.mark.check(54)
@pytest.mark.skipif(sys.platform == "win32", reason="a shell redirects them")
@pytest.mark.parametrize(
    "streams",
    [
        *("2>&-", "2>/dev/full"),
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("1>&- 2>&-", "2>&1 >/dev/full", "2> >(:)")
        ),
    ],
)
def test_nobody_needs_to_read_what_a_command_says(streams, run_folder, source_csv, tmp_path):
    images = [source_csv.parent / "Train" / f"part-0{number}.png" for number in range(3)]
    words = ["inspect", run_folder, *images, "--out", tmp_path / "out", "--device", "cpu"]
    command = shlex.join([sys.executable, "-m", "defectkit.cli", *map(str, words)])
    ended = subprocess.run(["bash", "-c", f"{command} {streams}"], cwd=tmp_path, check=False)
    assert ended.returncode == 0
    assert len({row["image_id"] for row in read_csv(tmp_path / "out" / "findings.csv")}) == 3
    assert read_csv(tmp_path / "out" / "errors.csv") == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.check(54)
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize(("streams", "status"), [(">/dev/full", 6), (">&-", 0), ("> >(:)", 0)])
def test_what_is_printed_arrives_or_is_told(streams, status, tmp_path):
    command = f"{shlex.quote(sys.executable)} -m defectkit.cli configs show segnet {streams}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status
    assert ("cannot write the standard output: No space left" in ended.stderr) == (status == 6)
    assert "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    command = f"'{sys.executable}' -m defectkit.cli configs show segnet | true; exit $PIPESTATUS"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_the_installed_command_really_ends_with_status_2(tmp_path):
    ended = defectkit_process("train", "--data", "gone", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: gone does not exist")
    assert "Traceback" not in ended.stderr


def test_results_go_to_standard_output_and_messages_to_standard_error(cli):
    assert cli("configs", "ls").err == ""
    assert cli("train", "--data", "gone").out == ""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("defectkit ", {"prepare", "train", "evaluate", "inspect", "compare", "export"}),
        ("defectkit prepare --rle-order ", {"auto", "column", "row"}),
    ],
)
def test_the_shell_completes_commands_and_choices(typed, offered, cli, monkeypatch):
    monkeypatch.setenv("_DEFECTKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert offered <= set(cli().out.split())


def test_the_command_line_starts_without_docstrings():
    command = [sys.executable, "-OO", "-m", "defectkit.cli", "prepare", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "--rle-base" in ended.stdout


@pytest.mark.check(60)
def test_a_command_without_docstrings_is_refused(tmp_path):
    command = [sys.executable, "-OO", "-m", "defectkit.cli", "synth", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Run python -O, or neither" in " ".join(ended.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_current_folder_that_was_removed_is_told(cli, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for arguments in (["synth", "d"], ["prepare", "train.csv"], ["inspect", "run", "a.png"]):
        outcome = cli(*arguments)
        assert outcome.code == 2
        assert "the current folder no longer exists. Change to another" in outcome.err
