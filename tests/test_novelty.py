"""``benchmarks/novelty.py`` from end to end, on tiny data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_sources import make_source

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_from_end_to_end(tmp_path):
    source = tmp_path / "source"
    make_source(source, 40)
    rows = "".join(f"part-{index:02d}.png,{index}\n" for index in range(40))
    (source / "images.csv").write_text(f"ImageId,group\n{rows}")
    settings = ("data.crop=64", "data.workers=0", "novelty.bank=100", "model.weights=none")
    ended = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "novelty.py", source, "--max-time", "30s"),
            *("--classes", "1", "--out", tmp_path / "runs"),
            *(word for setting in settings for word in ("--set", setting)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split(" | ")[:2] for line in ended.stdout.splitlines()[2:]] == [
        ["| all", "novelty"],
        ["| class 1, never labeled", "segment without 1"],
        ["| class 1, never labeled", "novelty"],
    ]
