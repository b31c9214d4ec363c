"""The architecture: who may import whom, and what is loaded before it is needed."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import draw_architecture
import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(folder: Path) -> str:
    """What import-linter, under ``pyproject.toml``, says of the package that lies in ``folder``."""
    program = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == ("0 broken" not in ended.stdout), ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def copy_of_the_code(tmp_path_factory):
    """The package alone, its symlinks included, to plant imports in."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("defectkit", "pipelines", "configs"):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.html", "*.yaml"),
        )  # fmt: skip
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_imports_only_go_down_and_never_in_a_circle():
    assert "3 kept, 0 broken" in lint_imports(ROOT)


DOWN, ALONE, CIRCLES = "Imports go down only", "Pipelines never import pipelines", "No circles"


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("defectkit/data/tiles.py", "from defectkit.models import losses", DOWN),
        ("defectkit/data/tiles.py", "import defectkit.training.loop", DOWN),
        (
            "defectkit/labels/rle.py",
            "def f():\n    from defectkit.data.images import read_image",
            DOWN,
        ),
        ("defectkit/errors.py", "from defectkit import labels", DOWN),
        (
            "defectkit/training/schedule.py",
            "from defectkit.deployment.bundle import save_model",
            DOWN,
        ),
        ("defectkit/reporting/glossary.py", "from defectkit.pipelines import train", DOWN),
        ("pipelines/train.py", "import defectkit.cli", DOWN),
        ("pipelines/synth.py", "def f():\n    import defectkit.pipelines.prepare", ALONE),
        ("defectkit/files.py", "from defectkit.config import Config", CIRCLES),
        ("defectkit/data/images.py", "from defectkit.data import dataset", CIRCLES),
        ("defectkit/hall.py", "", "defectkit.hall"),
    ],
)
def test_an_import_that_is_planted_is_seen(copy_of_the_code, file, line, broken):
    path = copy_of_the_code / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n\n{line}\n", encoding="utf-8")
    try:
        said = lint_imports(copy_of_the_code)
        assert " 0 broken" not in said
        assert f"{broken} BROKEN" in " ".join(said.split()) or f"- {broken}" in said
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")


def test_only_users_import_what_the_package_hands_out():
    graph = grimp.build_graph("defectkit", cache_dir=None)
    lines = {
        details["line_contents"]
        for module in graph.find_modules_that_directly_import("defectkit")
        for details in graph.get_import_details(importer=module, imported="defectkit")
    }
    assert lines == {"from defectkit import __version__"}


def test_modules_are_imported_by_their_full_names():
    """``pipelines`` and ``configs`` are folders of the checkout; installed, others may be there."""
    files = [
        path
        for name in ("defectkit", "pipelines", "configs")
        for path in (ROOT / name).rglob("*.py")
    ]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
                names = [node.module]
            else:
                continue
            tops = {name.partition(".")[0] for name in names}
            assert not tops & {"pipelines", "configs", "tests"}, f"{path}:{node.lineno}"


PAGE = ROOT / "docs" / "architecture.md"


def test_the_picture_of_the_architecture_is_current():
    assert draw_architecture.draw() in PAGE.read_text(encoding="utf-8"), (
        "the imports have changed: run python docs/draw_architecture.py"
    )


@pytest.mark.parametrize("page", [PAGE, ROOT / "docs" / "how-to" / "extend.md"], ids=str)
def test_what_the_pages_about_the_code_name_is_there(page):
    text = page.read_text(encoding="utf-8").replace(draw_architecture.draw(), "")
    sources = [path for folder in ("defectkit", "pipelines", "tests", "docs")
               for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    names = {path.name for path in sources}
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for name in re.findall(r"`([\w/]+\.(?:py|yaml|toml))`", text):
        found = (ROOT / name).is_file() or (ROOT / "defectkit" / name).is_file() or name in names
        assert found, f"{name} is not there"
    for name in re.findall(r"`([\w/]+)/`", text):
        assert (ROOT / name).is_dir() or (ROOT / "defectkit" / name).is_dir(), name
    for name in re.findall(r"`([A-Z]\w+|_?[a-z]+_[a-z_]+)`", text):
        assert re.search(rf"\b{name}\b", code), f"nothing is called {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import defectkit.cli",
        "from defectkit import prepare, train, evaluate, inspect, load",
        "import sys; sys.argv = ['defectkit', '--help']; import defectkit.cli as c\n"
        "try: c.main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['defectkit', 'train', '--help']; import defectkit.cli as c\n"
        "try: c.main()\nexcept SystemExit: pass",
    ],
    ids=["import cli", "import the functions", "--help", "train --help"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    heavy = ["torch", "torchvision", "pandas", "cv2", "timm", "matplotlib", "scipy", "skimage"]
    heavy += ["numpy", "filelock", "defectkit.config"]
    check = f"\nimport sys; sys.exit(', '.join(n for n in {heavy} if n in sys.modules) or None)"
    ended = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
