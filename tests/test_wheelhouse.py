"""An offline installation: only the wheels that were listed, each by its hash."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from defectkit.files import sha256_file

ROOT = Path(__file__).parents[1]


def make_wheel(folder: Path, name: str, *needs: str, text: str = "") -> Path:
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name.replace('_', '-')}", "Version: 1.0"]
    metadata += ["License-Expression: MIT", *(f"Requires-Dist: {one}" for one in needs), ""]
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(f"{info}/METADATA", "\n".join(metadata))
        wheel = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return path


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip


def install(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return run(
        *(sys.executable, "-m", "pip", "install", "--no-index", "--find-links", folder, "--quiet"),
        *("--require-hashes", "--target", out, "-r", folder / "requirements.txt"),
    )


@pytest.fixture
def wheelhouse(tmp_path) -> Path:
    folder = tmp_path / "wheelhouse"
    make_wheel(folder, "surface_finder", "helper-of-it>=1")
    make_wheel(folder, "helper_of_it")
    ended = run(sys.executable, ROOT / "benchmarks" / "wheelhouse.py", folder)
    assert (ended.returncode, ended.stdout[:9]) == (0, "2 wheels:"), ended.stderr
    return folder


@pytest.mark.check(37)
def test_listed_wheels_install_without_an_index(wheelhouse, tmp_path):
    ended = install(wheelhouse, tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "helper_of_it.py").is_file()
    sbom = json.loads((wheelhouse / "sbom.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    listed = {one["name"]: one for one in sbom["components"]}
    assert listed.keys() == {"surface-finder", "helper-of-it"}
    finder = listed["surface-finder"]
    assert finder["purl"] == "pkg:pypi/surface-finder@1.0"
    assert finder["licenses"] == [{"license": {"name": "MIT"}}]
    (wheel,) = wheelhouse.glob("surface*.whl")
    assert finder["hashes"] == [{"alg": "SHA-256", "content": sha256_file(wheel)}]


@pytest.mark.check(37)
def test_a_changed_wheel_and_one_that_is_not_listed_are_refused(wheelhouse, tmp_path):
    make_wheel(wheelhouse, "helper_of_it", text="import os")
    ended = install(wheelhouse, tmp_path / "changed")
    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    make_wheel(wheelhouse, "surface_finder", "helper-of-it>=1")
    run(sys.executable, ROOT / "benchmarks" / "wheelhouse.py", wheelhouse)
    lines = (wheelhouse / "requirements.txt").read_text().splitlines(keepends=True)
    (wheelhouse / "requirements.txt").write_text("".join(x for x in lines if "helper" not in x))
    ended = install(wheelhouse, tmp_path / "unlisted")
    assert ended.returncode != 0
    assert "all requirements must have their versions pinned" in " ".join(ended.stderr.split())
    assert not (tmp_path / "unlisted").exists()


@pytest.mark.check(37)
def test_a_folder_without_wheels_is_said(tmp_path):
    ended = run(sys.executable, ROOT / "benchmarks" / "wheelhouse.py", tmp_path)
    assert ended.returncode == 2
    assert "there are no wheels in" in ended.stderr
