import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from defectkit.errors import MissingPackageError
from defectkit.optional_packages import (
    EXTRAS,
    missing_package,
    needed_package,
    without_package,
)

ROOT = Path(__file__).parents[1]


def test_one_that_is_missing_is_named_with_its_extra():
    message = r"this needs no_such_package, .* pip install 'defectkit\[train\]'$"
    needed = needed_package("no_such_package", extra="train", what="this")
    with pytest.raises(MissingPackageError, match=message), needed:
        import no_such_package  # noqa: F401


def test_what_an_installed_package_lacks_is_not_laid_on_it(tmp_path, monkeypatch):
    (tmp_path / "incomplete.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    needed = needed_package("incomplete", extra="train", what="this")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), needed:
        import incomplete  # noqa: F401


def test_a_hidden_package_is_back_afterwards(tmp_path, monkeypatch):
    (tmp_path / "reporter.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with without_package("reporter"), pytest.raises(ImportError):
        importlib.import_module("reporter")
    reporter = importlib.import_module("reporter")
    with without_package("reporter"):
        assert importlib.import_module("reporter") is reporter
    del sys.modules["reporter"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("pandas", "train"), ("ruamel.yaml", "train"), ("nncf", "export"), ("onnxruntime", "onnx")],
)
def test_a_package_of_an_extra_that_is_missing_is_told(name, wanted):
    told = str(missing_package(ModuleNotFoundError(f"No module named {name!r}", name=name)))
    top = name.partition(".")[0]
    assert told == (
        f"this needs {top}, which is not installed. Install it with: pip install "
        f"'defectkit[{wanted}]'"
    )


@pytest.mark.parametrize("error", [ModuleNotFoundError(name="defectkit.gone"), OSError("x")])
def test_another_failure_is_no_missing_package(error):
    assert missing_package(error) is None


def test_the_extras_are_those_of_the_project():
    """Each package by the name that it is imported by, as the installed distributions say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    imported = importlib.metadata.packages_distributions()
    for name, extra in EXTRAS.items():
        (distribution,) = set(imported.get(name, [name]))  # not every installation has all
        wanted = [re.split(r"[\[<>=]", one)[0] for one in project["optional-dependencies"][extra]]
        assert distribution.lower().replace("_", "-") in wanted, name
    listed = {
        re.split(r"[\[<>=]", one)[0]
        for extra in ("train", "export", "onnx", "ray", "cloud")
        for one in project["optional-dependencies"][extra]
        if not one.startswith("defectkit")
    }
    assert len(listed) == len(EXTRAS)


@pytest.mark.parametrize(
    "words", [("train",), ("prepare", "train.csv"), ("evaluate", "runs/a"), ("compare", "runs/a")]
)
def test_a_command_without_its_packages_says_so_in_one_line(words, tmp_path):
    (tmp_path / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.png,1,1 2\n")
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name.partition('.')[0] in {set(EXTRAS)}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        f"sys.argv = {['defectkit', *words]}\n"
        "from defectkit.cli import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "1000"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    told = " ".join(ended.stderr.split())
    assert re.fullmatch(
        r"error: .* needs \w+, which is not installed. Install it with: pip install "
        r"'defectkit\[train\]'",
        told,
    ), told
