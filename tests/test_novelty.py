"""``benchmarks/novelty.py`` from end to end, on tiny data."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from small_sources import make_source

ROOT = Path(__file__).parents[1]


@pytest.fixture
def novelty(benchmark_module):
    return benchmark_module("novelty")


def test_a_row_counts_labeled_regions_whatever_else_is_found(novelty, capsys):
    images = pd.DataFrame(
        [("a", 1, 0.9), ("b", 1, 0.8), ("c", 0, 0.1), ("d", 0, 0.85)],
        columns=["image_id", "defective", "score"],
    )
    regions = pd.DataFrame(
        [
            *(("true", "1", True), ("true", "2", True), ("true", "1", False)),
            *(("found", "1", None), ("found", "2", None), ("false_alarm", "1", None)),
        ],
        columns=["kind", "class_id", "found"],
    )
    evaluation = SimpleNamespace(images=images.assign(group=images["image_id"]), regions=regions)
    defects = pd.DataFrame([("a", "1"), ("b", "2")], columns=["image_id", "class_id"])
    rows = []
    for class_id, known in ((None, False), ("1", False), ("1", True)):
        dataset = SimpleNamespace(defects=defects)
        novelty.report(dataset, evaluation, "novelty", class_id, known=known)
        rows.append([cell.strip() for cell in capsys.readouterr().out.split("|")[1:-1]])
    assert [re.sub(r" \(.*\)", "", cell) for cell in rows[0]] == [
        *("all", "novelty", "0.750", "0.833", "2 of 3")
    ]
    assert [re.sub(r" \(.*\)", "", cell) for cell in rows[1]] == [
        *("class 1, never labeled", "novelty", "1.000", "1.000", "1 of 2")
    ]
    assert [re.sub(r" \(.*\)", "", cell) for cell in rows[2]] == [
        *("all but class 1", "novelty", "0.500", "0.500", "1 of 1")
    ]
    assert all(re.search(r" \(0\.\d{3} to [01]\.\d{3}\)$", cell) for cell in rows[0][2:4])


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
        *(
            [f"| {defects}", name]
            for defects in ("class 1, never labeled", "all but class 1")
            for name in ("segment without 1", "fused with novelty", "novelty")
        ),
    ]
