"""Commands that torchrun starts as several processes on this machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).parent
TINY = (
    *("plan=false", "model.weights=none", "model.architecture=pixel_net", "data.crop=32"),
    *("data.workers=0", "train.samples_per_epoch=8", "train.batch_size=4", "train.amp=off"),
)
"""Settings of a training whose epoch takes a part of a second."""


def torchrun(count: int, *words: object, **options: Any) -> "subprocess.Popen[str]":
    """Start ``count`` processes of a script or module, ``words``; one is started as it is."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    if restarts := options.pop("restarts", 0):
        launcher += ["--max-restarts", restarts]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HELPERS.parents[1]), str(HELPERS), *sys.path]),
    }
    return subprocess.Popen(
        [str(word) for word in (sys.executable, *(launcher if count > 1 else ()), *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )


def finished(process: "subprocess.Popen[str]") -> str:
    """Return what a command has printed, which must end well."""
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    return printed


def train_words(data: Path, out: Path, *settings: str) -> list[str]:
    """The words of a tiny training by the command line."""
    words = ["-m", "defectkit", "train", "--data", str(data), "--out", str(out), "--device", "cpu"]
    return words + [word for one in (*TINY, *settings) for word in ("--set", one)]
