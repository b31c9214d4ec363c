"""The scorecard of reliability: 38 checks, how many cases each tried, and whether it can fail.

    make scorecard

runs every test that bears ``@pytest.mark.check(N)`` with its full number of cases, then takes each
protection out of a copy of the code (``mutations.py``): the check must fail there. Writes
``scorecard.md``. ``--only N ...`` tries some lines and prints them, without writing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
COPIED = ("configs", "defectkit", "pipelines", "sample_data", "tests", "benchmarks")

CHECKS = {
    1: "60 malformed encodings: refused with reason, file and line; masks are only 0 or 1",
    2: "killed while saving: resumes, loses at most one epoch, leaves at most one stray file",
    3: "test labels permuted: threshold, checkpoint and model folder stay the same",
    4: "planted leaks between splits are found: copies, groups, re-encoded and shifted images",
    5: "hostile checkpoints (pickles, code named by text): nothing of them runs",
    6: "the ledger: rows of the table = used + merged + refused, each with its reason; ids survive",
    7: "stopped at random steps and resumed: the same weights, bit for bit",
    8: "metrics equal scikit-learn, pycocotools and the definitions to 1e-6, always within [0, 1]",
    9: "a wrong base or order in the table stops and names the flag",
    10: "a cut-off JPEG or PNG is never accepted in silence",
    11: "the source files are the same before and after every command",
    12: "the disk fills up while saving: non-zero exit, the earlier checkpoint loads",
    13: "an output folder that cannot be written: a clear error before training",
    14: "bit flips and truncations of a checkpoint are detected; the one before it is used",
    15: "the whole flow without a network: succeeds, and never tries to connect",
    16: "hostile file names: nothing is read or written outside the root",
    17: "one defect in 1,000 images and a wrong model: Dice 0, counts and conventions printed",
    18: "encoding and decoding random masks: exact, and equal to pycocotools",
    19: "the same truth in five conventions of CSV: identical masks",
    20: "trained on crops, scored at native size: equals scoring by hand",
    21: "an exported model answers as the trained one does",
    22: "the same seed twice, and with 0, 1 and 4 workers: the same weights",
    23: "augmentation over workers and epochs repeats no more than chance",
    24: "files are synced before they are renamed, and folders after it",
    25: "mutated image files in a worker: none ends the run",
    26: "an image that claims gigapixels is refused from its header",
    27: "16-bit, palette, EXIF, alpha, CMYK: the documented pixels",
    28: "hostile names in a report: no script, no request",
    29: "batch size and order of images do not change the metrics",
    30: "Chinese, spaced and long paths: the whole flow passes",
    31: "boxes equal pycocotools' of the same masks",
    32: "perfect, empty and shuffled predictions: 1, the documented value, chance",
    33: "a validation split without defects, or without good images: a warning, a sane threshold",
    34: "no pickle, exec or unsafe YAML in the code; torch >= 2.10",
    35: "an edited label of the same size and time is seen",
    36: "NaN, a dead worker, too little memory, SIGTERM: distinct exit codes, nothing lost",
    37: "installs offline from hashed wheels; a list of what is installed",
    38: "cells of a written CSV that a spreadsheet would compute are inert",
}

NOT_RUN = {
    21: "models cannot be exported yet",
}
"""Why a check has no test."""


@dataclass(slots=True)
class Result:
    """What the tests of one check came to."""

    tests: int = 0
    skipped: int = 0
    cases: int = 0
    failures: int = 0
    seconds: float = 0.0
    mutations: list[tuple[Mutation, bool]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it ran, nothing failed, and every mutation was caught."""
        ran = self.tests > self.skipped
        return ran and not self.failures and all(caught for _, caught in self.mutations)


def main() -> None:
    """Run the checks and the mutations; write the scorecard."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", choices=CHECKS, help="lines to try")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("scorecard.md"))
    options = parser.parse_args()
    wanted = options.only or list(CHECKS)
    results = run_checks(wanted)
    for mutation in MUTATIONS:
        if mutation.check in wanted:
            caught = is_caught(mutation)
            results[mutation.check].mutations.append((mutation, caught))
            verdict = "caught" if caught else "NOT CAUGHT"
            print(f"{mutation.check}: {mutation.removes}: {verdict}", flush=True)
    text = table(results)
    print(text)
    if not options.only:
        options.out.write_text(text, encoding="utf-8")
    if any(result.failures or not result.passed for result in results.values() if result.tests):
        sys.exit(1)


def run_checks(wanted: Sequence[int]) -> dict[int, Result]:
    """Run the tests of the ``wanted`` checks with all their cases."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest(ROOT, "-q", "--full", *_only(wanted), f"--junitxml={report}")
        return read_report(report, wanted)


def read_report(report: Path, wanted: Sequence[int]) -> dict[int, Result]:
    """Count what the tests of the ``wanted`` checks came to, from pytest's JUnit XML."""
    results = {number: Result() for number in wanted}
    for test in ET.parse(report).iter("testcase"):  # noqa: S314, of our own making
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


def is_caught(mutation: Mutation) -> bool:
    """Tell whether the check's tests, in short form, fail in a copy without the protection."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "defectkit"
        copy.mkdir()
        for folder in COPIED:
            shutil.copytree(ROOT / folder, copy / folder, symlinks=True)
        for file in ("pyproject.toml", "README.md", "Makefile"):
            shutil.copy(ROOT / file, copy)
        path = copy / mutation.file
        before = path.read_text(encoding="utf-8")
        assert before.count(mutation.old) == 1, mutation
        path.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
        selected = ["-k", mutation.test] if mutation.test else []
        ended = pytest(copy, "-x", "-q", *_only([mutation.check]), *selected, quiet=True)
    return ended == 1  # 1: tests failed; others are no verdict, such as "no test was there"


def _only(checks: Sequence[int]) -> list[str]:
    return [f"--check={number}" for number in checks]


def pytest(folder: Path, *arguments: str, quiet: bool = False) -> int:
    """Run pytest in ``folder`` with the code that lies there, and return its exit status."""
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=folder, env=environment, stdout=output).returncode


def table(results: dict[int, Result]) -> str:
    """Return the scorecard as Markdown."""
    lines = [
        "# Scorecard",
        "",
        "Written by `make scorecard`. A mutation takes a protection out of the code; the check",
        "must fail without it.",
        "",
        "| # | check | cases | failures | seconds | protections removed, and caught | |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for number, result in results.items():
        tried = "<br>".join(
            f"{mutation.removes}: {'caught' if caught else '**not caught**'}"
            for mutation, caught in result.mutations
        )
        verdict = "passed" if result.passed else "**failed**"
        if not result.tests:
            verdict = f"not run: {NOT_RUN.get(number, 'no test bears it')}"
        numbers = f"{result.cases} | {result.failures} | {result.seconds:.0f}"
        lines.append(f"| {number} | {CHECKS[number]} | {numbers} | {tried} | {verdict} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
