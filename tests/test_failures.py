import sys
import tempfile

import pytest

from defectkit import __version__
from defectkit.errors import ImageError
from defectkit.failures import known_failure, write_report


def failure() -> Exception:
    try:
        pixels = "7" * 5000
        raise ZeroDivisionError(f"no mean of {pixels}")
    except ZeroDivisionError as error:
        return error


def test_an_error_of_ours_is_known_as_it_is():
    error = ImageError("x")
    assert known_failure(error) is error
    assert known_failure(ZeroDivisionError()) is None


@pytest.mark.check(54)
def test_a_report_says_what_happened_and_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["defectkit", "train", "a b"])
    path = write_report(failure())
    assert path.name in {one.name for one in tmp_path.iterdir()}
    text = path.read_text()
    assert f"defectkit {__version__}" in text
    assert "command: defectkit train 'a b'" in text
    assert "test_failures.py" in text
    assert "\ntorch " in text
    assert max(map(len, text.splitlines())) == 1000


@pytest.mark.check(54)
def test_where_the_current_folder_cannot_be_written_the_report_is_a_temporary_file(
    tmp_path, monkeypatch
):
    gone, temporary = tmp_path / "gone", tmp_path / "temporary"
    gone.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert write_report(failure()).parent == temporary
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert write_report(failure()) is None
