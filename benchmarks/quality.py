"""How good defectkit is beside the scripts that an expert would write, at the same clock.

    python benchmarks/quality.py ../shared/data/magnetic_tile --processors 2
    python benchmarks/quality.py sample_data --competitors segment segment@c83d1f2 script
    python benchmarks/quality.py --table benchmarks/quality.md --picture quality.png
    python benchmarks/quality.py --smoke

A source is a folder with ``train.csv``, ``Train/`` and, if it has one, ``images.csv``. Each seed
makes a grouped split (unless ``images.csv`` gives one; ``--new-splits`` ignores it) and is the seed
of the trainings.

Competitors: ``script``, ``script_crops`` and ``mask_rcnn`` (``benchmarks/competitors/``); an
approach or a configuration of defectkit; of these ``NAME@REVISION`` or ``NAME@FOLDER``, with the
code of another commit or checkout; and ``NAME:SETTING=VALUE``, the same weights with a setting that
needs no training, as ``segment:infer.flip=true``. Each is pinned to its own processors, so with
``--processors 1`` several run at the same time. All predict the same test images, and one code
scores them (``quality_scores.py``).

What is finished stays in ``--out``: started again, the benchmark does the rest. To score a
competitor again, remove its ``results/NAME-SEED.json``; to train it again, ``jobs/NAME-SEED/`` too.
The table has all results that are there. Linux only.
"""

import argparse
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from queue import Queue
from typing import Any

import pandas as pd
from quality_picture import draw
from quality_scores import Scores
from quality_table import EXPLANATION, BySeed, section

import defectkit
from defectkit.config.options import parse_seconds
from defectkit.files import read_json, write_json, write_text
from defectkit.pipelines import synth

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
PEERS = ("script", "script_crops", "mask_rcnn")
COMPETITORS = ("segment", "patch", "box", *PEERS)


@dataclass(frozen=True)
class Job:
    """A competitor that is trained and scored on the dataset of a seed."""

    competitor: str
    seed: int
    folder: Path
    max_time: str
    processors: int

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / f"dataset-{self.seed}"

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.competitor.replace('/', '_')}-{self.seed}"

    @property
    def trained(self) -> "Job":
        """The job that trains the weights of this one: itself, but for another setting."""
        named, at, code = self.competitor.partition("@")
        return replace(self, competitor=named.partition(":")[0] + at + code)

    @property
    def setting(self) -> str:
        """The setting that differs from that job, or ""."""
        return self.competitor.partition("@")[0].partition(":")[2]

    @property
    def work(self) -> Path:
        """The folder for what the competitor writes."""
        return self.folder / "jobs" / self.name

    @property
    def result(self) -> Path:
        """The file that the scorer and this script write."""
        return self.folder / "results" / f"{self.name}.json"


def main() -> None:
    """Run what is missing, and write the table."""
    options = read_options()
    with tempfile.TemporaryDirectory() as temporary:
        if options.smoke:
            options.out, options.source = Path(temporary), [Path(temporary) / "small"]
            synth.run(options.source[0], images=40, size=128)
        failed = 0
        for source in options.source:
            processors = options.processors
            folder = options.out / f"{source.resolve().name}-{options.max_time}-{processors}"
            jobs = [
                Job(name, seed, folder, options.max_time, processors)
                for seed in options.seed
                for name in options.competitors
            ]
            for seed in options.seed:
                prepare(source, folder / f"dataset-{seed}", seed, new_split=options.new_splits)
            missing = [job for job in jobs if not job.result.exists()]
            failed += run_jobs([job for job in missing if not job.setting])
            failed += run_jobs([job for job in missing if job.setting])
        text = make_table(options.out)
        print(text)
        if options.table:
            write_text(options.table, text)
        if options.picture:
            draw(read_sections(options.out), options.picture)
    sys.exit(bool(failed))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, nargs="*", help="folder with train.csv and Train/")
    parser.add_argument("--competitors", nargs="+", metavar="NAME", default=COMPETITORS)
    parser.add_argument("--max-time", default="25m", help="training time of each competitor")
    parser.add_argument("--processors", type=int, default=1, help="processors of each competitor")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--new-splits", action="store_true", help="ignore the split of images.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--table", type=Path, help="a Markdown file to write")
    parser.add_argument("--picture", type=Path, help="a PNG to write: Dice beside speed")
    parser.add_argument(
        "--smoke", action="store_true", help="a few seconds on 40 small images, nothing is kept"
    )
    options = parser.parse_args()
    if options.smoke:
        options.max_time, options.seed = "20s", [0]
    usable = len(os.sched_getaffinity(0))
    if not 1 <= options.processors <= usable:
        parser.error(f"--processors {options.processors}: this process may use {usable}")
    parse_seconds(options.max_time)
    for name in options.competitors:
        peer, at, code = name.partition("@")
        if at and peer in PEERS:
            parser.error(f"--competitors {name}: a script is that of this checkout: name it {peer}")
        trained, has_setting, _ = peer.partition(":")
        if has_setting and trained + at + code not in options.competitors:
            parser.error(f"--competitors {name}: name {trained + at + code} too, which is trained")
    return options


def prepare(source: Path, out: Path, seed: int, *, new_split: bool) -> None:
    """Write the dataset of a seed, if it is not there; ``new_split`` ignores a given split."""
    if out.exists():
        return
    given = source / "images.csv"
    with tempfile.TemporaryDirectory() as folder:
        meta = Path(folder) / "images.csv" if new_split else given
        if new_split and given.exists():
            table = pd.read_csv(given, dtype=str)
            table.drop(columns="split", errors="ignore").to_csv(meta, index=False)
        defectkit.prepare(
            source / "train.csv", meta=meta if meta.exists() else None, out=out, seed=seed
        )


def run_jobs(jobs: Sequence[Job]) -> int:
    """Run jobs, each on processors of its own, and return how many failed."""
    usable = sorted(os.sched_getaffinity(0))
    size = jobs[0].processors if jobs else 1
    free: Queue[list[int]] = Queue()
    for start in range(0, len(usable) - size + 1, size):
        free.put(usable[start : start + size])
    codes = {job: checkout(job) for job in jobs}

    def run(job: Job) -> bool:
        pinned = free.get()
        try:
            return run_job(job, codes[job], pinned)
        finally:
            free.put(pinned)

    with ThreadPoolExecutor(max_workers=free.qsize()) as pool:
        return list(pool.map(run, jobs)).count(False)


def checkout(job: Job) -> Path:
    """Return the folder of the code of a competitor; a revision is unpacked."""
    _, _, code = job.competitor.partition("@")
    if not code or (Path(code) / "defectkit").is_dir():
        return Path(code).resolve() if code else ROOT
    folder = job.folder.parent / "code" / code.replace("/", "_")
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", code))) as archive:
            archive.extractall(unfinished, filter="data")
        unfinished.rename(folder)
    return folder.resolve()


def run_job(job: Job, code: Path, pinned: Sequence[int]) -> bool:
    """Train a competitor on its processors and score it; return whether that went well."""
    predictions, about = job.work / "predictions", job.work / "about.json"
    print(f"{job.competitor}, seed {job.seed}: started on {list(pinned)}", flush=True)
    if not about.exists():
        facts = describe(job, code)
        shutil.rmtree(job.work, ignore_errors=True)
        arguments = [str(job.data), str(predictions)]
        arguments += ["--seconds", f"{parse_seconds(job.max_time)}", "--seed", str(job.seed)]
        script = job.competitor
        if job.competitor not in PEERS:
            script, name = "ours", job.trained.competitor.partition("@")[0]
            arguments += ["--name", name, "--run", str(job.work / "run")]
            if job.setting:
                arguments += ["--setting", job.setting, "--weights", str(job.trained.work / "run")]
        if not run_python(f"competitors/{script}.py", arguments, job, code, pinned):
            return False
        write_json(about, facts)
    scored = job.work / "scored.json"
    scoring = [str(predictions), str(job.data), str(scored)]
    if not run_python("quality_scores.py", scoring, job, ROOT, pinned):
        return False
    write_text(job.result, json.dumps({**read_json(about), **read_json(scored)}))
    scored.unlink()
    print(f"{job.competitor}, seed {job.seed}: {job.result}", flush=True)
    return True


def run_python(
    script: str, arguments: Sequence[str], job: Job, code: Path, pinned: Sequence[int]
) -> bool:
    """Run a script of this folder on some processors, with the code of a checkout."""
    job.work.mkdir(parents=True, exist_ok=True)
    threads = str(len(pinned))
    environment = {
        **os.environ,
        "PYTHONPATH": str(code),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # As defectkit's command line has it.
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    log = job.work / f"{Path(script).stem}.log"
    command = ["taskset", "--cpu-list", ",".join(map(str, pinned))]
    command += [sys.executable, str(BENCHMARKS / script), *arguments]
    with log.open("w", encoding="utf-8") as file:
        ended = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
        print(f"{job.competitor}, seed {job.seed}: failed, see {log}:\n{tail}", flush=True)
    return ended.returncode == 0


def describe(job: Job, code: Path) -> dict[str, Any]:
    """Return what the table tells of a training."""
    return {
        "competitor": job.competitor,
        "seed": job.seed,
        "max_time": job.max_time,
        "processors": job.processors,
        "machine": describe_machine(),
        "commit": describe_commit(job, code),
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
    }


def describe_machine() -> str:
    """Return the number and the kind of the processors."""
    kinds = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    kind = kinds[0] if kinds else platform.machine()
    return f"{len(os.sched_getaffinity(0))} processors ({kind})"


def describe_commit(job: Job, code: Path) -> str:
    """Return the commit of the code of a competitor."""
    revision = job.competitor.partition("@")[2]
    if revision and not Path(revision).is_dir():
        return git("rev-parse", "--short", f"{revision}^{{commit}}").decode().strip()
    changed = git("status", "--porcelain", "--untracked-files=no", at=code)
    return git("rev-parse", "--short", "HEAD", at=code).decode().strip() + (
        " with changes" if changed else ""
    )


def git(*arguments: str, at: Path = ROOT) -> bytes:
    """Return what git prints."""
    command = [shutil.which("git") or "git", "-C", str(at), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def make_table(out: Path) -> str:
    """Return the tables of all results that are in ``out``."""
    sections = read_sections(out)
    parts, commands = [], dict[str, None]()
    for title, results in sections.items():
        peers = [one for one in results if one in PEERS or "@" in one]
        parts.append(section(title, results, peers))
        for by_seed in results.values():
            commands |= dict.fromkeys(scores.content["command"] for scores in by_seed.values())
    lines = "\n".join(f"    {command}" for command in commands)
    return f"# Quality\n\nWritten by:\n\n{lines}\n\n{EXPLANATION}\n" + "\n".join(parts)


def read_sections(out: Path) -> dict[str, dict[str, BySeed]]:
    """Return the results in ``out`` by title and competitor, those that are compared with last."""
    sections = {}
    for folder in sorted(path for path in out.iterdir() if (path / "results").is_dir()):
        results: dict[str, dict[int, Scores]] = {}
        for path in sorted((folder / "results").glob("*.json")):
            content = read_json(path)
            results.setdefault(content["competitor"], {})[content["seed"]] = Scores(content)
        name, max_time, processors = folder.name.rsplit("-", 2)
        ordered = sorted(results, key=lambda one: one in PEERS or "@" in one)
        title = f"{name}: {max_time}, processors: {processors}"
        sections[title] = {one: results[one] for one in ordered}
    return sections


if __name__ == "__main__":
    main()
