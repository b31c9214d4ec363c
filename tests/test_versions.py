import importlib.metadata
import platform
import warnings

import pytest

import defectkit
from defectkit import versions
from defectkit.errors import DefectkitWarning
from defectkit.versions import describe_software, installed_versions, warn_of_other_versions


def test_the_installed_versions_are_those_of_the_packages(monkeypatch):
    found = installed_versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert {"defectkit", "python", "torch", "pillow"} <= set(found)

    def version(name: str) -> str:
        if name == "opencv-python-headless":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "opencv-python-headless" not in installed_versions()


@pytest.mark.check(55)
def test_processes_that_share_work_tell_their_versions(monkeypatch):
    before = describe_software()
    assert before["the version of defectkit"] == defectkit.__version__
    assert f"python {platform.python_version()}, " in before["packages"]
    monkeypatch.setattr(versions, "PACKAGES", ("numpy",))
    assert describe_software()["packages"].count(",") == 1


def test_other_versions_than_the_recorded_ones_are_warned_of():
    now = installed_versions()
    older = {**now, "torch": "2.1.0", "numpy": "1.20.1"}
    message = (
        rf"run/model was trained with torch 2\.1\.0 \(now {now['torch'].partition('+')[0]}.*\), "
        rf"numpy 1\.20\.1 \(now {now['numpy']}\): scores may differ"
    )
    with pytest.warns(DefectkitWarning, match=message):
        warn_of_other_versions(older, what="run/model")


def test_patch_releases_and_what_was_not_recorded_are_not_warned_of():
    now = installed_versions()
    patched = {**now, "torch": ".".join(now["torch"].split(".")[:2]) + ".99", "python": "3.1.0"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_versions(now, what="run/model")
        warn_of_other_versions(patched, what="run/model")
        warn_of_other_versions({}, what="run/model")
