"""How much faster a training is by several processes, each on a processor of its own.

    python benchmarks/several_processes.py --data dataset [--processes 2] [--batch-sizes 8 32]

Each turn measures images per second of an epoch, in this order:

- ``one``: ``defectkit train`` on one processor;
- ``apart``: as many such trainings side by side as there are processes, which share nothing; what
  they gain together is the most that these processors give, since they share caches and memory;
- ``shared``: one training by so many processes, with the same batches as ``one`` (``torchrun``).

The first epoch of each training does not count. Linux only.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from defectkit.config import load_config

EPOCHS = 2
"""Number of epochs of a training, of which the last one counts."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("dataset"), help="a prepared dataset")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--samples", type=int, default=128, help="samples per epoch")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    usable = sorted(os.sched_getaffinity(0))
    if not 2 <= options.processes <= len(usable):
        parser.error(f"--processes {options.processes}: this process may use {len(usable)}")
    processors = [[one] for one in usable[: options.processes]]
    print("| samples a step | one: images/s | apart | shared | shared beside apart |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for batch_size in options.batch_sizes:
        settings = [f"train.batch_size={batch_size}", f"train.samples_per_epoch={options.samples}"]
        turns = []
        for _ in range(options.turns):
            (one,) = train(options.data, settings, processors[:1])
            apart = sum(train(options.data, settings, processors))
            together = [processor for (processor,) in processors]
            (shared,) = train(options.data, settings, [together])
            turns.append((one, apart / one, shared / one, shared / apart))
        cells = (spread(values) for values in zip(*turns, strict=True))
        print(f"| {batch_size} | {' | '.join(cells)} |", flush=True)


def train(data: Path, settings: Sequence[str], processors: Sequence[Sequence[int]]) -> list[float]:
    """Return images per second of trainings side by side, one for each list of processors."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        outs = [Path(folder) / str(number) for number in range(len(processors))]
        logs = [out.with_suffix(".log") for out in outs]
        running = [
            subprocess.Popen(
                command(data, out, settings, own),
                stdout=opened.enter_context(log.open("w")),
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            )
            for out, log, own in zip(outs, logs, processors, strict=True)
        ]
        statuses = [one.wait() for one in running]
        for status, log in zip(statuses, logs, strict=True):
            if status:
                sys.exit(log.read_text(encoding="utf-8"))
        return [images_per_second(out) for out in outs]


def command(data: Path, out: Path, settings: Sequence[str], processors: Sequence[int]) -> list[str]:
    """Return the command of a training on these processors, one process on each."""
    start = [sys.executable, "-m"]
    if len(processors) > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node"]
        start += [str(len(processors)), "-m"]
    words = ["train", "--data", str(data), "--out", str(out), "--epochs", str(EPOCHS)]
    words += [word for setting in (*settings, "data.workers=0") for word in ("--set", setting)]
    pinned = ["taskset", "--cpu-list", ",".join(map(str, processors))]
    return [*pinned, *start, "defectkit", *words]


def images_per_second(run: Path) -> float:
    """Return that of the last epoch of a run, whose history and settings tell it."""
    with (run / "history.csv").open(newline="") as file:
        before, last = list(csv.DictReader(file))[-2:]
    steps = int(last["steps"]) - int(before["steps"])
    batch_size = load_config(run / "config.yaml").train.batch_size
    return steps * batch_size / float(last["train_seconds"])


def spread(values: Sequence[float]) -> str:
    """Return the median of values, and the lowest and the highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
