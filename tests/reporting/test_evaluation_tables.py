import io
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console

import defectkit
from defectkit.files import read_csv
from defectkit.reporting.evaluation_tables import GrowingTables

JUDGED = 3

KILLED = f"""
import os, signal
from defectkit import cli
from defectkit.reporting.evaluation_tables import GrowingTables
add, judged = GrowingTables.add, []
def add_and_die(tables, row, matches):
    add(tables, row, matches)
    judged.append(row)
    if len(judged) == {JUDGED}:
        os.kill(os.getpid(), signal.SIGKILL)
GrowingTables.add = add_and_die
cli.main()
"""


def rows_in(folder, name):
    """The rows of a table in a fixed order."""
    return sorted(read_csv(folder / name), key=lambda row: list(row.values()))


def check_part(folder, whole, *, judged):
    """The tables in ``folder`` have the rows of some of the images, as the whole ones do."""
    images = rows_in(folder, "images.csv")
    assert len(images) == judged
    assert all(row in rows_in(whole, "images.csv") for row in images)
    ids = {row["image_id"] for row in images}
    expected = [row for row in rows_in(whole, "regions.csv") if row["image_id"] in ids]
    assert rows_in(folder, "regions.csv") == expected


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_killed_evaluation_leaves_the_rows_that_it_had(run_copy, quiet):
    words = ["evaluate", str(run_copy), "--device", "cpu", "--all-regions"]
    command = [sys.executable, "-c", KILLED, *words]
    whole = defectkit.evaluate(run_copy, device="cpu", all_regions=True, console=quiet).folder
    ended = subprocess.run(command, capture_output=True, env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (whole / "metrics.json").is_file(), "earlier results stay"
    check_part(whole / "unfinished", whole, judged=JUDGED)


@pytest.mark.parametrize("earlier", [True, False])
def test_a_stopped_evaluation_says_where_its_rows_are(run_copy, monkeypatch, quiet, earlier):
    folder = run_copy / "evaluation" / "test"
    whole = defectkit.evaluate(run_copy, device="cpu", all_regions=True, console=quiet).folder
    if not earlier:
        whole = folder.rename(run_copy / "whole")
    add, judged = GrowingTables.add, []

    def add_and_stop(tables, row, matches):
        add(tables, row, matches)
        judged.append(row)
        if len(judged) == JUDGED:
            raise KeyboardInterrupt

    monkeypatch.setattr(GrowingTables, "add", add_and_stop)
    console = Console(file=io.StringIO(), width=1000)
    with pytest.raises(KeyboardInterrupt):
        defectkit.evaluate(run_copy, device="cpu", all_regions=True, console=console)
    part = folder / "unfinished" if earlier else folder
    check_part(part, whole, judged=JUDGED)
    assert not (part / "metrics.json").exists(), "what is not complete must not load"
    told = (
        f"stopped; the earlier results in {folder} are kept. The rows so far are in {part}, until "
        "the next evaluation removes them."
        if earlier
        else f"stopped; the rows so far are in {folder}"
    )
    assert told in console.file.getvalue()
