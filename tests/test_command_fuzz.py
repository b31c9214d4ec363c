"""Random calls of the whole command line: nothing is lost, nothing lies, all ends in words."""

import multiprocessing
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, pipes and signals")

if sys.platform != "win32":
    from command_fuzz import CommandFuzz
    from forked_command import Kill, Outcome, call_forked
    from fuzz_calls import Call, command_arguments
    from fuzz_oracle import State, judge_files, judge_results
    from fuzz_place import HALVES, snapshot


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> "CommandFuzz":
    """The place, made once."""
    return CommandFuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.check(62)
def test_random_calls_keep_what_is_promised(fuzz, tally):
    wanted = tally.number(short=40, full=2000)
    number = 0
    while fuzz.ended.total() < wanted:
        calls = fuzz.ended.total()
        fuzz.try_case(number)
        number += 1
        tally.tried += fuzz.ended.total() - calls
    statuses = {status for _, status in fuzz.ended}
    assert {0, 2} <= statuses


FOUND_FAULTS = (
    ("inspect", {"model": "runs/a", "images": ["photos"], "out": "new"}),
    ("inspect", {"model": "runs/b", "images": ["photos", "photos/sub"], "out": "mine"}),
    ("prepare", {"source": "other/train.csv", "out": "photos"}),
    ("evaluate", {"run": "\x1b[31mred"}),
    ("prepare", {"source": ".", "images": "photos"}),
    ("prepare", {"source": "source/train.csv", "label_format": "masks", "skip_bad_rows": True}),
    ("inspect", {"model": "runs/c", "images": ["source", "lot/../source/Train"], "out": "two"}),
    ("prepare", {"source": "source/train.csv", "out": "a" * 300}),
    ("synth", {"out": "mine", "images": "2", "size": "128", "force": True}),
    ("export", {"run": "runs/a", "out": "out"}, 426),
)
"""Calls in which the fuzz once found a fault, its own too: files of the user, loops, two names.

The last number, if there is one, is of the bytes that a file may have: a full disk.
"""


@pytest.mark.check(62)
def test_calls_that_once_found_a_fault(fuzz, case, tally):
    for command, values, *size in FOUND_FAULTS:
        with tally.case(values):
            call = Call(command, values, command_arguments(command, values, Random(0)))
            call = replace(call, max_file_bytes=size[0] if size else None)
            _, problems, _ = fuzz.judge(call, State(dict(fuzz.place.owners)))
            assert problems == []


@pytest.mark.slow
@pytest.mark.check(62)
def test_a_real_process_ends_as_a_fork_does(fuzz):
    fuzz.place.renew()
    case, command = fuzz.place.case, [sys.executable, "-m", "defectkit.cli"]
    arguments = ["inspect", "runs/a", "lot", "--out", "new"]
    real = subprocess.run([*command, *arguments], cwd=case, capture_output=True, check=False)
    written = (case / "new" / "findings.csv").read_bytes()
    shutil.rmtree(case / "new")
    forked = fuzz.run(Call("inspect", {}, tuple(arguments)))
    assert (forked.status, (case / "new" / "findings.csv").read_bytes()) == (0, written)
    assert (real.returncode, real.stderr.decode()) == (0, forked.text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_kill_comes_when_signals_are_answered(fuzz, case, number):
    call = Call("inspect", {}, ("inspect", "runs/a", "lot"), kill=Kill(number, 0.0))
    assert fuzz.run(call).status == 128 + number


def test_a_fork_starts_workers_as_a_real_process_does(fuzz):
    used = call_forked(fuzz.context, eval, "__import__('multiprocessing').get_start_method()")
    assert used == multiprocessing.get_start_method()


# The oracle sees what it is there for.

INSPECT = {"model": "runs/a", "images": ["lot"], "out": "inspection"}


@pytest.fixture
def case(fuzz) -> Iterator[Path]:
    fuzz.place.renew()
    return fuzz.place.case


def told(fuzz, call, status=0, text="", change=lambda: None) -> str:
    """What the oracle says after a call that printed ``text`` and made a change."""
    place = fuzz.place
    state, before = State(dict(place.owners)), snapshot(place.case)
    change()
    after = snapshot(place.case)
    outcome = Outcome(status, text, 1.0)
    files = judge_files(call, outcome, state, before, after, place.case)
    changed = [name for name in after if before.get(name) != after[name]]
    results = call_forked(fuzz.context, judge_results, call, status, state, changed, place)
    return "; ".join([*files, *results])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_oracle_accepts_what_is_true(fuzz, case):
    assert told(fuzz, Call("inspect", INSPECT, ())) == ""
    assert told(fuzz, Call("prepare", {"source": "source/train.csv"}, ())) == ""
    assert told(fuzz, Call("compare", {"runs": ["runs/a", "runs/b"]}, ())) == ""
    assert told(fuzz, Call("evaluate", {"run": "runs/a"}, ())) == ""
    assert told(fuzz, Call("export", {"run": "runs/a"}, ())) == ""


@pytest.mark.parametrize(
    ("status", "text", "wrong"),
    [
        (70, "", "exit status 70"),
        (1, "", "status 1 with 0 errors"),
        (2, "Traceback (most recent call last)", "a traceback"),
        (2, "error: \x1b[31m", "a control character"),
    ],
)
def test_the_oracle_hears(fuzz, case, status, text, wrong):
    assert wrong in told(fuzz, Call("inspect", INSPECT, ()), status, text)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda case: (case / "lot/part-00.png").unlink(), "lot/part-00.png of the user is lost"),
        (
            lambda case: (case / "mine/ledger.csv").touch(),
            "mine/ledger.csv of the user was changed",
        ),
        (lambda case: (case / "dataset/images.csv").unlink(), "images.csv of prepare is lost"),
        (lambda case: (case / "photos/new.png").touch(), "photos/new.png was made"),
        (lambda case: (case / "inspection/.defectkit-tmp-1-x").touch(), "-x is left"),
        (lambda case: (case / "inspection/x.csv").write_text("a,b\n1\n"), "x.csv is incomplete"),
    ],
)
def test_the_oracle_sees_what_happens_to_files(fuzz, case, change, wrong):
    assert wrong in told(fuzz, Call("inspect", INSPECT, ()), change=lambda: change(case))


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (",defective,", ",good,", ": good 0."),
        ("part-00.png,", "part-77.png,", "'lot/part-00.png' of an inspected folder is nowhere"),
    ],
)
def test_the_oracle_knows_the_verdicts(fuzz, case, old, new, wrong):
    findings = case / "inspection" / "findings.csv"
    assert wrong in told(
        fuzz, Call("inspect", INSPECT, ()), change=lambda: edit(findings, old, new)
    )


def test_the_oracle_knows_what_shards_are_together(fuzz, case):
    def merge(*, old: str, new: str) -> None:
        for name in ("findings.csv", "errors.csv"):
            shutil.copy(case / "inspection" / name, case / HALVES / name)
        edit(case / HALVES / "findings.csv", old, new)

    call = Call("merge", {"folder": HALVES}, ())
    same = told(fuzz, call, change=lambda: merge(old="image_id", new="image_id"))
    other = told(fuzz, call, change=lambda: merge(old=",defective,", new=",good,"))
    assert same == ""
    assert "halves/findings.csv is not what one process writes" in other


def test_the_oracle_knows_masks_and_scores(fuzz, case):
    prepare = Call("prepare", {"source": "source/train.csv"}, ())
    state = State({}, plain={"dataset"})
    place = replace(fuzz.place, truth={sha: {"9": "1 1"} for sha in fuzz.place.truth})
    wrong = call_forked(fuzz.context, judge_results, prepare, 0, state, [], place)
    assert "has the masks" in wrong[0]
    for run, other in (("runs/a", "runs/b"), ("runs/b", "runs/a")):
        shutil.copytree(
            fuzz.place.base / other / "evaluation", case / run / "evaluation", dirs_exist_ok=True
        )
    assert "other scores" in told(fuzz, Call("evaluate", {"run": "runs/a"}, ()))
