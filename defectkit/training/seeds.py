"""The same training with several seeds: how much of a result is chance."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from defectkit.errors import ConfigError, OutputError, TrainingError
from defectkit.tables import make_table

if TYPE_CHECKING:
    import pandas as pd

MAX_SEEDS = 100
"""Max. number of seeds in one command."""
SEEDS_TABLE = "seeds.csv"
"""The table of the runs in their common folder."""
METRICS = ("image_ap", "pixel_ap", "dice")
"""The metrics of validation whose mean and standard deviation are given."""


def check_seeds(count: int) -> None:
    """Check the number of seeds.

    Raises:
        ConfigError: it is out of range.
    """
    if not 1 <= count <= MAX_SEEDS:
        raise ConfigError(f"--seeds must be from 1 to {MAX_SEEDS} but is {count}.")


def check_table(folder: Path, *, resume: bool) -> None:
    """Check that the table of new runs replaces nothing in their common folder.

    Raises:
        OutputError: something of its name is there.
    """
    if not resume and os.path.lexists(folder / SEEDS_TABLE):
        raise OutputError(
            f"{folder / SEEDS_TABLE} stands where training writes. Move it away, or choose another "
            "folder with --out."
        )


def run_of_seed(folder: Path, seed: int) -> Path:
    """Return the run of a seed in the common folder."""
    return folder / f"seed-{seed}"


def first_run(folder: Path | None) -> Path:
    """Return the run with the lowest seed that was begun in a common folder.

    Raises:
        ConfigError: no folder is given.
        TrainingError: it has no such run.
    """
    if folder is None:
        raise ConfigError("--seeds with --resume needs the folder of the runs: give --out.")
    found = [path.parent for path in folder.glob("seed-*/config.yaml")]
    numbers = [int(run.name[5:]) for run in found if re.fullmatch(r"seed-\d{1,10}", run.name)]
    if not numbers:
        raise TrainingError(
            f"{folder} has no run of a seed to resume. Start without --resume, or name another "
            "folder with --out."
        )
    return run_of_seed(folder, min(numbers))


def tabulate_seeds(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return the table of the runs, with rows for the mean and the standard deviation at its end.

    The deviation is that of the runs, with one less in the divisor; there is none for a single run
    and where a run lacks the metric.

    Args:
        rows: a row per run with ``seed``, ``run``, and ``METRICS`` in [0, 1] or None.
    """
    table = [{**row, "seed": str(row["seed"])} for row in rows]
    for name, function, fewest in (("mean", mean, 1), ("deviation", stdev, 2)):
        columns = {metric: [row[metric] for row in rows] for metric in METRICS}
        known = {
            metric: function(values) if len(rows) >= fewest and None not in values else None
            for metric, values in columns.items()
        }
        table.append({**dict.fromkeys(rows[0]), "seed": name, **known})
    return make_table(table)
