"""The scorecard of reliability: the checks, how many cases each tried, and whether it can fail.

    make scorecard

runs every test with a mark ``check(N)`` with its full number of cases, then removes each protection
of ``index.yaml`` from a copy of the code: the check must fail there. Writes ``scorecard.md``.
``--only N ...`` tries some checks and replaces their rows alone.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from checks import CHECKS
from protections import Protection, load_protections

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("benchmarks", "configs", "defectkit", "docs", "pipelines", "sample_data", "tests")
COPIED_FILES = ("pyproject.toml", "README.md", "Makefile")
JOBS = 2
"""Copies that are tried at the same time."""

PASSED, FAILED = 0, 1
"""pytest's exit statuses that are a verdict; others are none, such as 5: no test was selected."""


@dataclass(slots=True)
class Result:
    """The outcome of one check: its tests, and for each protection whether its loss was caught."""

    tests: int = 0
    skipped: int = 0
    cases: int = 0
    failures: int = 0
    seconds: float = 0.0
    protections: list[tuple[Protection, bool]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it ran, nothing failed, and the loss of every protection was caught."""
        ran = self.tests > self.skipped
        return ran and not self.failures and all(caught for _, caught in self.protections)


def main() -> None:
    """Run the checks, remove the protections, and write the scorecard."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", choices=CHECKS, help="checks to try")
    parser.add_argument("--jobs", type=int, default=JOBS, help="copies to try at the same time")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("scorecard.md"))
    options = parser.parse_args()
    wanted = options.only or list(CHECKS)
    results = run_checks(wanted)
    protections = [one for one in load_protections() if one.check in wanted]
    caught = dict(try_protections(protections, jobs=options.jobs))
    for protection in protections:
        results[protection.check].protections.append((protection, caught[protection]))
    known = read_rows(options.out) if options.only else {}
    text = table(known | rows(results))
    print(text)
    options.out.write_text(text, encoding="utf-8")
    if any(not result.passed for result in results.values() if result.tests):
        sys.exit(1)


def run_checks(wanted: Sequence[int]) -> dict[int, Result]:
    """Run the tests of the ``wanted`` checks with all their cases."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest(ROOT, "-q", "--full", *_only(wanted), f"--junitxml={report}")
        return read_report(report, wanted)


def read_report(report: Path, wanted: Sequence[int]) -> dict[int, Result]:
    """Count the tests and cases of the ``wanted`` checks in pytest's JUnit XML."""
    results = {number: Result() for number in wanted}
    for test in ET.parse(report).iter("testcase"):
        given = [(one.get("name"), one.get("value")) for one in test.iter("property")]
        cases = sum(int(value or 0) for name, value in given if name == "cases")
        ended = {one.tag for one in test}
        for number in {int(value or 0) for name, value in given if name == "check"}:
            if number in results:
                result = results[number]
                result.tests += 1
                result.skipped += "skipped" in ended
                result.cases += cases or 1
                result.failures += bool(ended & {"failure", "error"})
                result.seconds += float(test.get("time") or 0)
    return results


def try_protections(
    protections: Sequence[Protection], *, jobs: int
) -> Iterator[tuple[Protection, bool]]:
    """Yield each protection, and whether its check fails without it, as they are done."""
    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(is_caught, one): one for one in protections}
        for done, future in enumerate(as_completed(running), start=1):
            protection, caught = running[future], future.result()
            left = (time.monotonic() - start) / done * (len(protections) - done)
            print(
                f"[{done}/{len(protections)}] check {protection.check}, without "
                f"{protection.protects}: {'caught' if caught else 'NOT CAUGHT'} "
                f"(about {left / 60:.0f} min left)",
                flush=True,
            )
            yield protection, caught


def is_caught(protection: Protection) -> bool:
    """Return whether the check's tests, in short form, fail in a copy without the protection."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "defectkit"
        copy.mkdir()
        for folder in COPIED:
            shutil.copytree(ROOT / folder, copy / folder, symlinks=True)
        for file in COPIED_FILES:
            shutil.copy(ROOT / file, copy)
        apply_patch(protection.path, copy)
        selected = ["-k", protection.tests] if protection.tests else []
        ended = pytest(copy, "-x", "-q", *_only([protection.check]), *selected, quiet=True)
    if ended not in (PASSED, FAILED):
        print(f"{protection.patch}: pytest gave no verdict (exit status {ended})", flush=True)
    return ended == FAILED


def apply_patch(patch: Path, folder: Path, *, only_check: bool = False) -> None:
    """Apply a patch to the code in ``folder``: lines may have moved, but not changed.

    Raises:
        RuntimeError: it does not apply; regenerate it, keeping what it removes.
    """
    command = ["git", "apply", *(["--check"] if only_check else []), str(patch.resolve())]
    # Inside of another repository git would look for the files there.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{patch.name} does not apply to the code: {ended.stderr.strip()}")


def _only(checks: Sequence[int]) -> list[str]:
    return [f"--check={number}" for number in checks]


def pytest(folder: Path, *arguments: str, quiet: bool = False) -> int:
    """Run pytest in ``folder`` with the code in it, and return its exit status."""
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=folder, env=environment, stdout=output).returncode


def read_rows(scorecard: Path) -> dict[int, str]:
    """Return the rows of a scorecard that was written before, by the number of the check."""
    if not scorecard.exists():
        return {}
    lines = scorecard.read_text(encoding="utf-8").splitlines()
    found = ((re.match(r"\| (\d+) \|", line), line) for line in lines)
    return {int(match[1]): line for match, line in found if match and int(match[1]) in CHECKS}


def rows(results: dict[int, Result]) -> dict[int, str]:
    """Return the row of each check."""
    written = {}
    for number, result in results.items():
        tried = "<br>".join(
            f"{protection.protects}: {'caught' if caught else '**not caught**'}"
            for protection, caught in result.protections
        )
        verdict = "passed" if result.passed else "**failed**"
        if not result.tests:
            verdict = "not run: it has no test"
        numbers = f"{result.cases} | {result.failures} | {result.seconds:.0f}"
        written[number] = f"| {number} | {CHECKS[number]} | {numbers} | {tried} | {verdict} |"
    return written


def table(written: dict[int, str]) -> str:
    """Return the scorecard as Markdown."""
    head = [
        "# Scorecard",
        "",
        "Written by `make scorecard`. Each protection is removed from a copy of the code; its",
        "check must fail there. With `--only`, the rows of some checks are replaced alone.",
        "",
        "| # | check | cases | failures | seconds | protections removed, and caught | |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    return "\n".join([*head, *(written[number] for number in sorted(written)), ""])


if __name__ == "__main__":
    main()
