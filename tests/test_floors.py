"""The architecture, held by reading the source: who may import whom, and what nobody may call."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

# From the ground up; modules of one floor may import each other.
FLOORS = (
    {
        "arrays",
        "vocabulary",
        "errors",
        "files",
        "regions",
        "findings",
        "config",
        "configs",
        "devices",
    },
    {"labels"},
    {"data"},
    {"synthesis"},
    {"preparation"},
    {"models"},
    {"approaches"},
    {"evaluation"},
    {"training"},
    {"deployment"},
    {"reporting"},
    {"pipelines"},
    {"api", "cli", "__init__"},
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}

SOURCES = sorted(
    path
    for folder in ("defectkit", "pipelines", "configs")
    for path in (ROOT / folder).rglob("*.py")  # symlinked folders are not entered
    if not {"pipelines", "configs"} & set(path.relative_to(ROOT).parts[1:-1])
)

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts if parts[0] == "defectkit" else ("defectkit", *parts)
    return ".".join(package)


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, module or module.name) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(module: str, tree: ast.AST) -> list[str]:
    own = LEVEL[module.split(".")[1] if "." in module else "__init__"]
    found = []
    for line, name in imports_of(tree):
        top, *rest = name.split(".")
        if top in ("pipelines", "configs", "tests"):
            found.append(f"{module}:{line} imports {name}: say defectkit.{name}")
        if top != "defectkit" or name == "defectkit.__version__":
            continue
        level = LEVEL.get(rest[0], LEVEL["__init__"]) if rest else LEVEL["__init__"]
        if level > own:
            found.append(f"{module}:{line} imports {name}, which lies above it")
    return found


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return f"{dotted(node.value)}.{node.attr}"
        case _:
            return "?"


PICKLES = {
    *("pickle", "cPickle", "_pickle", "pickletools", "dill", "cloudpickle", "joblib"),
    *("marshal", "shelve", "dbm", "imp", "code", "codeop", "runpy"),
}
"""Modules that turn bytes into objects or code."""
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"),
    *("importlib.import_module", "importlib.util.spec_from_file_location"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("cv2.imread", "cv2.imreadmulti", "pandas.read_pickle", "numpy.core.multiarray.frompickle"),
    *("torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"),
}
"""What nobody may call, by its full name."""


def dangers(module: str, tree: ast.AST) -> list[str]:
    found = []
    for line, name in imports_of(tree):
        if name.split(".")[0] in PICKLES:
            found.append(f"{module}:{line} imports {name}")
        if name in FORBIDDEN | {"torch.load", "yaml.load"}:
            found.append(f"{module}:{line} imports {name} by its bare name")
    loaders, full = safe_loaders(tree), aliases(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        place = f"{module}:{node.lineno}"
        first, dot, rest = dotted(node.func).partition(".")
        name = full.get(first, first) + dot + rest
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in FORBIDDEN:
            found.append(f"{place} calls {name}")
        if name == "torch.load":
            safe = given.get("weights_only")
            if not (isinstance(safe, ast.Constant) and safe.value is True):
                found.append(f"{place} calls torch.load without weights_only=True")
        if name == "yaml.load":
            loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
            if loader is None or dotted(loader) not in loaders:
                found.append(f"{place} calls yaml.load without a SafeLoader")
        if "allow_pickle" in given:
            found.append(f"{place} allows pickle")
        if "shell" in given:
            found.append(f"{place} gives shell=")
        if "trust_remote_code" in given:
            found.append(f"{place} trusts remote code")
    return found


def aliases(tree: ast.AST) -> dict[str, str]:
    """The full names of modules that are imported under other ones: ``np`` is ``numpy``."""
    return {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }


def safe_loaders(tree: ast.AST) -> set[str]:
    """``yaml.SafeLoader`` and the module's own direct subclasses of it."""
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    own = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and {dotted(base) for base in node.bases} <= safe
    }
    return safe | own


def test_every_module_has_a_floor():
    assert len(SOURCES) > 40
    modules = [module_of(path) for path in SOURCES]
    assert "defectkit.pipelines.train" in modules
    assert len(set(modules)) == len(modules)
    tops = {module.split(".")[1] for module in modules if "." in module}
    assert tops <= set(LEVEL), f"no floor is named for {tops - set(LEVEL)}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_only_go_down(path):
    assert violations(module_of(path), ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.check(34)
@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=module_of)
def test_nothing_dangerous_is_called(path):
    assert dangers(module_of(path), ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("defectkit.data.tiles", "from defectkit.models import losses"),
        ("defectkit.data.tiles", "import defectkit.training.loop"),
        ("defectkit.labels.rle", "def f():\n    from defectkit.data.images import read_image"),
        ("defectkit.errors", "from defectkit import labels"),
        ("defectkit.training.loop", "from defectkit.deployment.bundle import save_model"),
        ("defectkit.evaluation.pixel_metrics", "from defectkit import train"),
        ("defectkit.pipelines.train", "import defectkit"),
        ("defectkit.cli", "from pipelines import train"),
    ],
)
def test_the_floor_check_sees(module, line):
    assert len(violations(module, ast.parse(line))) == 1


@pytest.mark.check(34)
@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import shelve",
        "import marshal",
        "import dill as d",
        "def f():\n    from pickle import loads",
        "import joblib",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "from torch import load",
        "from cv2 import imread",
        "cv2.imread('x')",
        "eval('1')",
        "exec(code)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class Mine(yaml.Loader): pass\nyaml.load(text, Loader=Mine)",
        "np.load(path, allow_pickle=True)",
        "import torch as t\nt.load(path)",
        "import yaml as y\ny.load(text)",
        "import pandas as pd\npd.read_pickle(path)",
        "torch.jit.load(path)",
        "torch.hub.load(repository, name)",
        "importlib.import_module(name)",
        "from importlib import import_module",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "build(name, trust_remote_code=True)",
    ],
)
def test_the_danger_check_sees(line):
    assert len(dangers("m", ast.parse(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "network.eval()",
        "torch.load(path, weights_only=True)",
        "class Mine(yaml.SafeLoader): pass\nyaml.load(text, Loader=Mine)",
        "re.compile('x')",
        "np.load(path)",
        "from safetensors.torch import load",
    ],
)
def test_the_danger_check_lets_pass(line):
    assert dangers("m", ast.parse(line)) == []


@pytest.mark.check(34)
def test_the_packages_are_those_without_the_known_holes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [Requirement(text) for text in project["dependencies"]]
    asked += [
        Requirement(text) for texts in project["optional-dependencies"].values() for text in texts
    ]
    # torch 2.10: CVE-2026-24747 and before it CVE-2025-32434 get round weights_only. onnx 1.21:
    # CVE-2026-34445, external data outside the model's folder.
    for name, last_bad in {"torch": "2.9.99", "onnx": "1.20.99"}.items():
        specifiers = [one.specifier for one in asked if one.name == name]
        assert all(specifiers), f"{name} has no lower bound"
        assert not any(each.contains(last_bad) for each in specifiers)
    names = {one.name for one in asked}
    assert "torch" in names
    # Both were shipped with a thief inside, in 2024 and in 2026.
    assert not names & {"ultralytics", "lightning", "pytorch-lightning"}


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
    ids=["import cli", "import api", "--help", "train --help"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    heavy = ["torch", "torchvision", "pandas", "cv2", "timm", "matplotlib", "scipy", "skimage"]
    check = f"\nimport sys; sys.exit(', '.join(n for n in {heavy} if n in sys.modules) or None)"
    ended = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
