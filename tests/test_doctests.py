"""Every example in a docstring is run."""

import doctest
import importlib
import pkgutil
import shutil

import pytest

import defectkit
from defectkit.data.images import read_image

MODULES = sorted(
    [
        "defectkit",
        *(module.name for module in pkgutil.walk_packages(defectkit.__path__, "defectkit.")),
    ]
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, source_csv, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    if not doctest.DocTestFinder(exclude_empty=True).find(module):
        return
    shutil.copy(source_csv, tmp_path)
    shutil.copytree(source_csv.parent / "Train", tmp_path / "Train")
    monkeypatch.chdir(tmp_path)
    image = read_image(tmp_path / "Train" / "part-00.png")
    result = doctest.testmod(module, extraglobs={"image": image})
    assert result.failed == 0


def test_the_main_examples_are_there():
    assert sum(len(test.examples) for test in doctest.DocTestFinder().find(defectkit)) >= 8
