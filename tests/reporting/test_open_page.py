import io
import webbrowser

import pytest
from rich.console import Console

from defectkit.reporting.open_page import SCREENS, open_page


@pytest.fixture
def opened(monkeypatch):
    """The addresses that are opened, on a machine without a screen."""
    addresses = []
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(addresses.append(address)) or True)
    return addresses


def told(path):
    console = Console(file=io.StringIO(), width=500)
    open_page(path, console)
    return console.file.getvalue()


@pytest.mark.parametrize("name", SCREENS)
def test_a_page_is_opened_as_a_file_whatever_its_name(opened, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, ":0")
    path = tmp_path / "run #1 é" / "report.html"
    assert "is opened in the browser" in told(path)
    assert opened == [path.as_uri()]
    assert "#" not in opened[0]


def test_a_relative_path_is_made_absolute(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    told((tmp_path / "a").relative_to(tmp_path))
    assert opened == [(tmp_path / "a").as_uri()]


def test_without_a_screen_no_browser_takes_the_terminal(opened, tmp_path):
    assert f"no browser can be opened here: open {tmp_path} yourself" in told(tmp_path)
    assert opened == []


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_always_have_one(opened, tmp_path, monkeypatch, platform):
    monkeypatch.setattr("sys.platform", platform)
    assert "is opened" in told(tmp_path)


def test_a_browser_that_cannot_be_started_is_told(opened, tmp_path, monkeypatch):
    def fail(_):
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", fail)
    assert "no browser can be opened" in told(tmp_path)
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert "no browser can be opened" in told(tmp_path)
