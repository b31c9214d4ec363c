"""What a user gets who installs the wheel, away from the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exported_models import write_exported

from defectkit.data.images import write_png
from defectkit.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("defectkit", "pipelines", "configs", "pyproject.toml", "README.md", "LICENSE")


def test_every_folder_of_modules_is_a_package_that_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(ROOT).parts
        for top in ("defectkit", "pipelines", "configs")
        for path in (ROOT / top).rglob("__init__.py")
    }
    names = {".".join(p if p[0] == "defectkit" else ("defectkit", *p)) for p in folders}
    assert set(settings["packages"]) == names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy so that nothing is written into the repository."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    options = ["--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir", str(out), str(copy)]
    subprocess.run([*pip, *options], check=True, timeout=300)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` folder of a new environment that has the wheel, and borrows its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    python = Path(sysconfig.get_path("scripts", "venv", vars=paths)) / Path(sys.executable).name
    options = ["--no-deps", "--no-index", "--quiet", str(wheel)]
    subprocess.run([*pip, "--python", str(python), "install", *options], check=True)
    # Dependencies weigh gigabytes: those of this environment serve. A plain path line adds them
    # after the new environment's own packages and runs none of their .pth files, so that the
    # editable install of the repository is not seen.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def run(command: list[object], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"defectkit"}
    expected = {
        (path.relative_to(ROOT) if path.is_relative_to(ROOT / "defectkit")
         else Path("defectkit") / path.relative_to(ROOT)).as_posix()
        for top in ("defectkit", "pipelines", "configs")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    shipped = {name for name in names if ".dist-info/" not in name}
    assert shipped == expected
    assert "defectkit/py.typed" in names
    assert "defectkit/configs/segnet.yaml" in names
    assert "defectkit/pipelines/train.py" in names
    assert "defectkit/reporting/html/templates/report.html" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("LICENSE_DEJAVU") for name in names if ".dist-info/" in name)


@pytest.mark.slow
def test_the_installed_command_works_in_an_empty_folder(installed, tmp_path):
    shown = run([installed / "defectkit", "--help"], tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Usage: defectkit" in shown.stdout
    listed = run([installed / "defectkit", "configs", "ls"], tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "segnet" in listed.stdout
    missing = run([installed / "defectkit", "train", "--data", "gone"], tmp_path)
    assert missing.returncode == 2
    assert "gone does not exist" in missing.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_installed_package_is_the_wheels_and_every_module_imports(installed, tmp_path):
    # A folder of the user's own may have the bare names.
    for name in ("pipelines", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')")
    code = (
        "import importlib, pkgutil, defectkit, defectkit.pipelines.train\n"
        "names = [m.name for m in pkgutil.walk_packages(defectkit.__path__, 'defectkit.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(defectkit.__file__, len(names))\n"
    )
    ended = run([installed / "python", "-c", code], tmp_path)
    assert ended.returncode == 0, ended.stderr
    file, count = ended.stdout.split()
    assert Path(file).is_relative_to(installed.parent)
    assert int(count) > 50


@pytest.fixture(scope="module")
def at_the_line(wheel, tmp_path_factory) -> Path:
    """The ``bin`` folder of a new environment with the wheel and its own dependencies alone."""
    folder = tmp_path_factory.mktemp("line")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    python = Path(sysconfig.get_path("scripts", "venv", vars=paths)) / Path(sys.executable).name
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    ended = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    if "Temporary failure in name resolution" in ended.stderr or "offline" in ended.stderr:
        pytest.skip("no package index can be reached")
    assert ended.returncode == 0, ended.stderr
    return python.parent


INSPECT_AND_TELL = """
import sys
from defectkit.cli import main
try:
    main()
except SystemExit as ended:
    print(ended.code, *sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n")
"""


@pytest.mark.slow
def test_at_the_line_an_exported_model_inspects_without_torch(at_the_line, tmp_path):
    model = write_exported(tmp_path / "model", channels=1)
    image = np.zeros((64, 80), np.uint8)
    image[10:20, 30:50] = 230
    write_png(tmp_path / "part.png", image)
    (tmp_path / "work").mkdir()
    words = ["inspect", model, tmp_path / "part.png", "--out", tmp_path / "out"]
    ended = run([at_the_line / "python", "-c", INSPECT_AND_TELL, *words], tmp_path / "work")
    status, *modules = ended.stdout.splitlines()
    assert status == "0", ended.stderr
    assert "1 defective" in ended.stderr
    (row,) = read_csv(tmp_path / "out" / "findings.csv")
    assert row["verdict"] == "defective"
    assert (tmp_path / "out" / "overlays" / "part.png.png").is_file()
    heavy = {"torch", "pandas", "matplotlib", "scipy", "skimage", "sklearn", "openvino_telemetry"}
    assert heavy.isdisjoint(modules)
    assert "openvino" in modules
    there = run([at_the_line / "python", "-m", "pip", "list"], tmp_path / "work").stdout
    assert "openvino" in there
    assert "torch" not in there
    missing = run([at_the_line / "defectkit", "train", "--data", "gone"], tmp_path / "work")
    assert missing.returncode == 2
    assert "pip install 'defectkit[train]'" in " ".join(missing.stderr.split())
    assert "Traceback" not in missing.stderr
