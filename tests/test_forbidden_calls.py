"""What nobody may call: nothing that turns bytes into objects or code, no shell, no unsafe YAML."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

SOURCES = sorted(
    path
    for folder in ("defectkit", "pipelines", "configs", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")  # symlinked folders are not entered
    if not {"pipelines", "configs"} & set(path.relative_to(ROOT).parts[1:-1])
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, module or module.name) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


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
YAML_MODULES = {"yaml", "oyaml", "strictyaml"}
"""YAML is read by ruamel.yaml alone, whose safe constructor makes plain values."""
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"),
    *("importlib.import_module", "importlib.util.spec_from_file_location"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("cv2.imread", "cv2.imreadmulti", "pandas.read_pickle", "numpy.core.multiarray.frompickle"),
    *("torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("ruamel.yaml.constructor.Constructor", "ruamel.yaml.Constructor"),
}
"""What nobody may call, by its full name."""


def dangers(module: str, tree: ast.AST) -> list[str]:
    found = []
    for line, name in imports_of(tree):
        if name.split(".")[0] in PICKLES:
            found.append(f"{module}:{line} imports {name}")
        if name.split(".")[0] in YAML_MODULES:
            found.append(f"{module}:{line} imports {name} for YAML")
        if name in FORBIDDEN | {"torch.load"}:
            found.append(f"{module}:{line} imports {name} by its bare name")
    full = aliases(tree)
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
        if name.split(".")[-1] == "YAML":
            kind = given.get("typ")
            if not (isinstance(kind, ast.Constant) and kind.value == "safe"):
                found.append(f"{place} calls {name} without typ='safe'")
        if "allow_pickle" in given:
            found.append(f"{place} allows pickle")
        if "shell" in given:
            found.append(f"{place} gives shell=")
        if "trust_remote_code" in given:
            found.append(f"{place} trusts remote code")
    return found


READERS = {
    "defectkit/files.py",
    "defectkit/results_marker.py",
    "defectkit/growing_csv.py",
    "defectkit/memory.py",
    "defectkit/streams.py",
    "defectkit/models/weight_shapes.py",
}
"""The modules of the package that open files themselves."""
OPENING = {
    *("open", "os.open", "io.open", "json.load", "tomllib.load", "zipfile.ZipFile", "ET.parse"),
    *("np.load", "np.fromfile", "np.memmap", "numpy.load", "pd.read_csv", "pandas.read_csv"),
    *("safetensors.torch.load_file", "load_file", "safe_open", "cv2.imread"),
}
"""What opens a file by its name, whatever that is: a device without an end, a pipe that waits."""


def openings(tree: ast.AST) -> list[str]:
    """Calls that open a file to read it; those of Pillow get bytes and files that are open.

    A browser is no reader of ours.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            reads = name.split(".")[-1] in ("read_text", "read_bytes") and "." in name
            others = ("Pillow.open", "Image.open", "webbrowser.open")
            opens = name.split(".")[-1] == "open" and name not in others
            if reads or opens or name in OPENING:
                found.append(f"line {node.lineno} calls {name}")
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


def test_every_file_of_the_code_is_read():
    assert len(SOURCES) > 100
    names = {name_of(path) for path in SOURCES}
    assert {"pipelines/train.py", "defectkit/models/encoders.py", "configs/__init__.py"} <= names
    assert len(names) == len(SOURCES)


@pytest.mark.check(34)
@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_dangerous_is_called(path):
    assert dangers(name_of(path), ast.parse(path.read_text(encoding="utf-8"))) == []


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
        "import yaml",
        "YAML().load(text)",
        "YAML(typ='unsafe').load(text)",
        "YAML('safe').load(text)",
        "ruamel.yaml.YAML(typ=kind)",
        "from ruamel.yaml.constructor import Constructor",
        "np.load(path, allow_pickle=True)",
        "import torch as t\nt.load(path)",
        "import yaml as y",
        "from yaml import safe_load",
        "import ruamel.yaml as y\ny.YAML(typ='unsafe')",
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
        "YAML(typ='safe', pure=True).load(text)",
        "from ruamel.yaml.constructor import SafeConstructor",
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


@pytest.mark.check(58)
@pytest.mark.parametrize(
    "path", [one for one in SOURCES if "benchmarks" not in one.parts], ids=name_of
)
def test_files_are_opened_by_open_limited_alone(path):
    found = openings(ast.parse(path.read_text(encoding="utf-8")))
    assert bool(found) == (name_of(path) in READERS), found


@pytest.mark.check(58)
@pytest.mark.parametrize(
    "line",
    ["open(path)", "path.open('rb')", "path.read_text()", "Path(x).read_bytes()", "ET.parse(path)",
     "np.load(path)", "load_file(path)", "safe_open(path)", "os.open(path, 0)",
     "folder.joinpath('x').open()"],
)  # fmt: skip
def test_the_check_of_openings_sees(line):
    assert len(openings(ast.parse(line))) == 1
    assert openings(ast.parse("read_text(path); Pillow.open(handle); webbrowser_opened(1)")) == []
