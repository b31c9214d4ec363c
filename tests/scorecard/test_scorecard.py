"""The scorecard itself: every protection can still be removed, and nothing is counted wrongly."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scorecard():
    """``run.py``, which is run as a script from its own folder."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("run")
    finally:
        sys.path.remove(folder)
        for name in ("run", "checks", "protections"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def protections(scorecard):
    return scorecard.load_protections()


def marked_checks() -> set[int]:
    """The numbers of all checks that a test has as its mark."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {int(number) for text in texts for number in re.findall(r"mark\.check\((\d+)\)", text)}


def test_every_patch_still_applies(scorecard, protections):
    for protection in protections:
        scorecard.apply_patch(protection.path, ROOT, only_check=True)


def test_every_patch_is_in_the_index_once(protections):
    named = [protection.patch for protection in protections]
    assert len(named) == len(set(named))
    folder = Path(__file__).parent / "patches"
    assert sorted(named) == sorted(path.name for path in folder.iterdir())
    for protection in protections:
        assert protection.patch.startswith(f"{protection.check:02d}-")


def test_every_protection_has_a_check_and_every_check_a_line(scorecard, protections):
    assert {protection.check for protection in protections} <= marked_checks()
    assert marked_checks() <= scorecard.CHECKS.keys()
    assert set(range(1, 39)) <= scorecard.CHECKS.keys()


def test_a_patch_removes_a_protection_though_lines_have_moved(scorecard, protections, tmp_path):
    protection = protections[0]
    (name,) = re.findall(r"^\+\+\+ b/(.+)$", protection.path.read_text(), re.MULTILINE)
    target = tmp_path / name
    target.parent.mkdir(parents=True)
    before = "# a new line\n" * 7 + (ROOT / name).read_text(encoding="utf-8")
    target.write_text(before, encoding="utf-8")
    scorecard.apply_patch(protection.path, tmp_path)
    assert target.read_text(encoding="utf-8") != before


def test_a_patch_that_no_longer_applies_fails_loudly(scorecard, protections, tmp_path):
    protection = protections[0]
    with pytest.raises(RuntimeError, match=rf"{protection.patch} does not apply to the code: "):
        scorecard.apply_patch(protection.path, tmp_path)


@pytest.mark.slow
def test_every_protection_selects_a_test_of_its_check(scorecard, protections):
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
         *(f"--check={number}" for number in scorecard.CHECKS)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    collected = [line for line in ended.stdout.splitlines() if "::" in line]
    assert len(collected) > 300
    for protection in protections:
        if protection.tests:
            words = protection.tests.split(" and ")
            assert any(all(word in one for word in words) for one in collected), protection


def test_failures_and_skips_are_counted(scorecard, tmp_path):
    cases = '<property name="cases" value="7"/>'
    check = '<properties><property name="check" value="4"/>{}</properties>'
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        f"<testcase time='1.5'>{check.format(cases)}<failure message='no'>text</failure></testcase>"
        f"<testcase time='1'>{check.format('')}<error/></testcase>"
        f"<testcase time='0'>{check.format('')}<skipped/></testcase>"
        f"<testcase time='2'>{check.format(cases)}</testcase>"
        "</testsuite></testsuites>"
    )
    result = scorecard.read_report(report, [4, 5])[4]
    assert (result.tests, result.skipped, result.failures) == (4, 1, 2)
    assert (result.cases, result.seconds, result.passed) == (16, 4.5, False)
    assert "| **failed** |" in scorecard.table(scorecard.rows({4: result}))


def test_some_checks_replace_their_rows_alone(scorecard, tmp_path):
    done = scorecard.Result(tests=1, cases=7)
    path = tmp_path / "scorecard.md"
    path.write_text(scorecard.table(scorecard.rows({3: done, 4: done})), encoding="utf-8")
    known = scorecard.read_rows(path)
    again = scorecard.rows({4: scorecard.Result(tests=1, cases=9)})
    assert (known | again)[3] == known[3]
    assert "| 9 |" in scorecard.table(known | again)
    assert scorecard.read_rows(tmp_path / "none.md") == {}
