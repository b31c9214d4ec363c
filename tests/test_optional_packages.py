import importlib
import sys

import pytest

from defectkit.errors import MissingPackageError
from defectkit.optional_packages import import_package, without_package


def test_a_package_that_is_there_is_imported():
    assert import_package("json", extra="train", what="this") is sys.modules["json"]


def test_one_that_is_missing_is_named_with_its_extra():
    message = r"this needs no_such_package, .* pip install 'defectkit\[train\]'$"
    with pytest.raises(MissingPackageError, match=message):
        import_package("no_such_package", extra="train", what="this")


def test_what_an_installed_package_lacks_is_not_laid_on_it(tmp_path, monkeypatch):
    (tmp_path / "incomplete.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_package("incomplete", extra="train", what="this")


def test_a_hidden_package_is_back_afterwards(tmp_path, monkeypatch):
    (tmp_path / "reporter.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with without_package("reporter"), pytest.raises(ImportError):
        importlib.import_module("reporter")
    reporter = importlib.import_module("reporter")
    with without_package("reporter"):
        assert importlib.import_module("reporter") is reporter
    del sys.modules["reporter"]
