"""All measurements of speed, one after the other, into ``benchmarks/results.md`` (``make bench``).

    python benchmarks/bench.py [--only inspection ...] [--table benchmarks/results.md]

Prepares ``sample_data/``, trains a run of ``segment`` on it, exports it in each precision that
keeps its verdicts, and as a cascade twice: with a first model of its own, and with one of a run of
``--config fast``. All inspect a lot of images that no run has seen, one in 20 of them defective.
Runs each benchmark as the table tells, with the peers in the same process or in turn with it.
Results of benchmarks that are not run again stay in the table.
"""

import argparse
import csv
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import get_args

from defectkit.files import write_text
from defectkit.versions import installed_versions
from defectkit.vocabulary import Precision

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent

LOT, EACH = 120, 20
"""Number of images of a lot as at a line, of which one in ``EACH`` is defective."""
OTHER_SEED = 1
"""That of the lot: no run has seen its images, of which it would pass more than of others."""

COMMANDS = {
    "rle": ("Decoding of run-length encodings", "benchmarks/rle.py"),
    "prepare": ("`prepare` beside bare decoding", "benchmarks/prepare.py --images 2000"),
    "training": ("Training", "benchmarks/training_speed.py --data {work}/dataset"),
    "precision": ("Training in reduced precision", "benchmarks/reduced_precision.py"),
    "inspection": (
        "`inspect`",
        "benchmarks/inspection.py {work}/run {work}/lot --exported {exported} "
        f"--images {LOT}",
    ),
    "patch": ("Dense scoring of tiles", "benchmarks/dense_patch.py"),
}
"""Title and command of each benchmark, by its name."""


def main() -> None:
    """Run the benchmarks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--table", type=Path, default=BENCHMARKS / "results.md")
    parser.add_argument("--run", type=Path, help="a run of segment on sample_data/, to train none")
    parser.add_argument("--fast", type=Path, help="one of --config fast on it, to train none")
    options = parser.parse_args()
    sections = read_sections(options.table)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        exported, refused = [], ""
        if {"training", "inspection"} & set(options.only):
            make_runs(work, {"run": options.run, "fast": options.fast})
        if "inspection" in options.only:
            exported, refused = export_run(work)
            make_lot(work / "lot")
        for key in options.only:
            title, command = COMMANDS[key]
            start, load = time.monotonic(), os.getloadavg()[0]
            print(f"{title} ...", flush=True)
            told = run(command.format(work=work, exported=" ".join(map(str, exported)))).strip("\n")
            if "| ---" not in told:
                told = f"```\n{told}\n```"
            shown = command.format(work="WORK", exported=" ".join(one.name for one in exported))
            sections[title] = (
                f"`python {shown}`, {date.today()}, {time.monotonic() - start:.0f} s, "
                f"beside a load of {load:.1f}, on {machine()}\n\n"
                f"{told}\n" + (f"\n{refused}" if key == "inspection" else "")
            )
            write_text(options.table, format_table(sections))
    print(options.table)


def make_runs(work: Path, given: dict[str, Path | None]) -> None:
    """Prepare the sample data, and train on it for five minutes each run that is not given."""
    run(f"-m defectkit.cli prepare sample_data/train.csv --out {work / 'dataset'}")
    for name, folder in given.items():
        if folder:
            shutil.copytree(folder, work / name)
        else:
            config = " --config fast" if name == "fast" else ""
            options = f"--data {work / 'dataset'} --out {work / name} --max-time 5m{config}"
            run(f"-m defectkit.cli train {options}")


def export_run(work: Path) -> tuple[list[Path], str]:
    """Export the run in each precision, and as cascades in the last that keeps its verdicts.

    Return the folders, and what is refused.
    """
    exported: list[Path] = []
    refused = ""

    def export(name: str, options: str) -> str:
        print(f"exporting {name} ...", flush=True)
        options = f"{options} --data {work / 'dataset'} --out {work / name}"
        try:
            run(f"-m defectkit.cli export {work / 'run'} {options}")
        except SystemExit as error:
            reason = " ".join(str(error).split()).partition("error: ")[2]
            return f"- {name} is refused: {reason}\n"
        exported.append(work / name)
        return ""

    for name in get_args(Precision):
        refused += export(name, f"--precision {name}")
    last = exported[-1].name
    for name, first in (("cascade", "run"), ("cascade-fast", "fast")):
        refused += export(f"{name}-{last}", f"--precision {last} --first {work / first}")
    return exported, refused


def make_lot(folder: Path) -> None:
    """Draw images as those of ``sample_data/``, but others: as of a line, nearly all good."""
    drawn = folder.with_name("drawn")
    run(f"-m defectkit.cli synth {drawn} --images {3 * LOT} --seed {OTHER_SEED}")
    defective: dict[str, bool] = {}
    with (drawn / "train.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            defective[row["ImageId"]] = bool(row["EncodedPixels"])
    bad, good = (
        [name for name, is_bad in defective.items() if is_bad == wanted] for wanted in (True, False)
    )
    folder.mkdir()
    for number in range(LOT):
        name = (bad if number % EACH == EACH // 2 else good).pop(0)
        shutil.copyfile(drawn / "Train" / name, folder / f"{number:03}-{name}")


def run(arguments: str) -> str:
    """Run Python in the repository's root and return what it prints."""
    command = [sys.executable, *shlex.split(arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"python {arguments} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def format_table(sections: dict[str, str]) -> str:
    """Return the text of the table."""
    used = {**installed_versions(), "openvino": importlib.metadata.version("openvino")}
    versions = ", ".join(f"{name} {version}" for name, version in used.items())
    head = (
        "# Speed\n\nWritten by `make bench`. Ratios are measured side by side; the figures of one "
        f"machine say little of another.\n\nVersions, of what was measured last: {versions}.\n"
    )
    titles = [title for title, _ in COMMANDS.values()]
    return "\n".join(
        [head, *(f"## {title}\n\n{sections[title]}" for title in titles if title in sections)]
    )


def read_sections(table: Path) -> dict[str, str]:
    """Return the sections of a table that was written before, by title."""
    if not table.exists():
        return {}
    parts = re.split(r"^## (.*)\n\n", table.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        title: text.rstrip("\n") + "\n" for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def machine() -> str:
    """Return the processors of this machine."""
    from quality import describe_machine

    return f"{describe_machine()}, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
