"""Shared fixtures: one tiny dataset and one tiny run, made once by the real pipelines."""

import errno
import importlib
import importlib.util
import io
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from rich.console import Console
from small_sources import make_source
from tiny_training import train_tiny

import defectkit
from defectkit import cli as cli_module
from defectkit.process_settings import let_idle_threads_sleep

# Both before any test module imports torch. A process that is forked computes in one thread, and
# tests compare what it finds with what their own process does.
let_idle_threads_sleep()
os.environ["OMP_NUM_THREADS"] = "1"

# A shell lets what it starts in the background ignore Ctrl-C, and processes hand that down: tests
# of it would see nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
hypothesis.settings.register_profile("defectkit", deadline=None)
hypothesis.settings.load_profile("defectkit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the scorecard's full numbers of cases")
    parser.addoption(
        "--check", type=int, action="append", help="only tests of this line of the scorecard"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [("check", number) for number in checks_of(item)]
    wanted = config.getoption("--check")
    if wanted is None:
        return
    chosen = [item for item in items if set(wanted) & set(checks_of(item))]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_runtest_setup(item: pytest.Item) -> None:
    for package in (name for mark in item.iter_markers("needs") for name in mark.args):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'defectkit[dev-cluster]'")


def checks_of(item: pytest.Item) -> list[int]:
    """The lines of the scorecard that a test belongs to."""
    return [mark.args[0] for mark in item.iter_markers("check")]


@pytest.fixture(scope="module")
def benchmark_module() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of ``benchmarks`` by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield importlib.import_module


class Tally:
    """Counts the cases of a test of the scorecard; ``full`` where its full numbers are asked."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.tried = 0

    def number(self, short: int, full: int) -> int:
        """How many cases to try."""
        return full if self.full else short

    @contextmanager
    def case(self, name: object = "") -> Iterator[None]:
        """Count a case; should it fail, name it."""
        self.tried += 1
        try:
            yield
        except Exception as error:
            error.add_note(f"case {self.tried}: {name}")
            raise


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Count cases, for ``tests/scorecard/run.py`` to read from the report."""
    counted = Tally(request.config.getoption("--full"))
    yield counted
    request.node.user_properties.append(("cases", counted.tried))


@dataclass(frozen=True)
class Outcome:
    """What a command gave: its exit status and all it printed, on single spaces."""

    code: int
    out: str
    err: str


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Refuse to open paths, as the system does to users who may not read them; root may."""
    shut: set[str] = set()

    def check(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *arguments: Any, **options: Any) -> Any:
            if os.fspath(path) in shut:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return call(path, *arguments, **options)

        return checked

    monkeypatch.setattr(os, "scandir", check(os.scandir))
    monkeypatch.setattr(Path, "open", check(Path.open))
    return lambda *paths: shut.update(map(str, paths))


@pytest.fixture(scope="session")
def quiet() -> Console:
    """A console that prints nowhere."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def source_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train.csv`` of 20 gray images of 96x96, half of them defective, two classes."""
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def dataset_folder(source_csv: Path, quiet: Console) -> Path:
    """The source, prepared; half to train, a quarter each to validate and test. Do not change."""
    out = source_csv.parent / "dataset"
    defectkit.prepare(source_csv, out=out, split="0.5/0.25/0.25", console=quiet)
    return out


@pytest.fixture(scope="session")
def run_folder(dataset_folder: Path) -> Path:
    """A tiny U-Net trained for two epochs on the dataset. Do not change: use ``run_copy``."""
    return train_tiny(dataset_folder, dataset_folder.parent / "run").run


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, to change."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture
def dataset_copy(source_csv: Path, dataset_folder: Path, tmp_path: Path) -> Path:
    """A copy of the dataset with its images, to change."""
    shutil.copytree(source_csv.parent / "Train", tmp_path / "moved" / "Train")
    return Path(shutil.copytree(dataset_folder, tmp_path / "moved" / "dataset"))


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """Run the real ``main`` in this process, as ``defectkit ARGUMENTS`` would be run."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background

    def unheard(number: int, _: object) -> None:
        raise AssertionError(f"the command does not hear signal {number}")

    signal.signal(signal.SIGTERM, unheard)  # its default would end the tests
    monkeypatch.setattr(cli_module, "console", Console(stderr=True, width=1000))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["defectkit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli_module.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Outcome(
            code if isinstance(code, int) else int(bool(code)),
            " ".join(printed.out.split()),
            " ".join(printed.err.split()),
        )

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
