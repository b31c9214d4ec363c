"""Every module has its test file at the same path, and every test file its module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"

# What no module does alone.
ABOUT_THE_WHOLE = {
    "deployment/test_untrusted_models.py",
    "models/test_all_networks.py",
    "pipelines/test_every_network.py",
    "pipelines/test_hostile_names.py",
    "pipelines/test_label_formats.py",
    "pipelines/test_output_folders.py",
    "pipelines/test_prepare_sources.py",
    "test_architecture.py",
    "test_bench.py",
    "test_command_fuzz.py",
    "test_docs.py",
    "test_doctests.py",
    "test_earlier_formats.py",
    "test_forbidden_calls.py",
    "test_gpu.py",
    "test_mirrors.py",
    "test_notebooks.py",
    "test_novelty.py",
    "test_licenses.py",
    "test_packaging.py",
    "test_quality.py",
    "test_readme.py",
    "test_same_results.py",
    "test_site.py",
    "test_site_in_a_browser.py",
    "test_sizes.py",
    "test_ways_out.py",
    "test_wheelhouse.py",
    "test_whole_flow.py",
}


def does_something(path: Path) -> bool:
    """Whether a module has a function with more than a docstring: declarations need no test."""
    return any(
        not isinstance(one, ast.Pass)
        and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for one in node.body
    )


# By their path as the tests write it; symlinked folders are not entered.
MODULES = {
    path.relative_to(base).with_name(path.stem.strip("_")): path  # __init__.py is "init"
    for base, folder in ((ROOT / "defectkit", "."), (ROOT, "pipelines"), (ROOT, "configs"))
    for path in (base / folder).rglob("*.py")
}
TEST_FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))


def test_every_module_has_its_test_file():
    assert len(MODULES) > 100
    wanted = {
        module.with_name(f"test_{module.name}.py")
        for module, path in MODULES.items()
        if does_something(path)
    }
    assert sorted(wanted - set(TEST_FILES)) == []


@pytest.mark.parametrize("file", TEST_FILES, ids=Path.as_posix)
def test_every_test_file_has_its_module(file):
    """Several files may share a module: ``test_prepare_rows.py`` is one of ``prepare``."""
    if file.as_posix() in ABOUT_THE_WHOLE or file.parts[0] == "scorecard":
        return
    words = file.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    assert any(file.with_name(name) in MODULES for name in names)


def test_what_is_about_the_whole_is_there():
    assert {name for name in ABOUT_THE_WHOLE if not (TESTS / name).is_file()} == set()
