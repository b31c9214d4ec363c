"""Training that takes a second or two."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

import defectkit

TINY = (
    "plan=false",
    "model.weights=none",
    "data.crop=64",
    "data.workers=0",
    "train.epochs=2",
    "train.samples_per_epoch=8",
    "train.batch_size=4",
)
"""Settings under which two epochs take a second or two."""


def train_tiny(data: Path, out: Path | None, *settings: str, **options: Any) -> Any:
    """Train as ``defectkit.train`` does, under the tiny settings, and print nowhere."""
    options = {"device": "cpu", "console": Console(file=io.StringIO(), width=200), **options}
    return defectkit.train(data=data, out=out, settings=[*TINY, *settings], **options)
