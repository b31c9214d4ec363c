import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scorecard():
    """``benchmarks/scorecard.py``, which is no package."""
    folder = ROOT / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("scorecard", folder / "scorecard.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["scorecard"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("scorecard")
        sys.modules.pop("mutations")


def marked():
    """The numbers of all checks that a test is marked with."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {int(number) for text in texts for number in re.findall(r"mark\.check\((\d+)\)", text)}


def test_every_protection_to_remove_stands_in_the_code_once(scorecard):
    for mutation in scorecard.MUTATIONS:
        text = (ROOT / mutation.file).read_text(encoding="utf-8")
        assert text.count(mutation.old) == 1, mutation
        assert mutation.new not in (mutation.old, text)


def test_every_mutation_has_a_check_and_every_check_a_line(scorecard):
    assert {mutation.check for mutation in scorecard.MUTATIONS} <= marked()
    assert marked() <= scorecard.CHECKS.keys() == set(range(1, 39))


def test_what_failed_or_was_skipped_is_counted(scorecard, tmp_path):
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
    assert "| **failed** |" in scorecard.table({4: result})
