"""``defectkit merge``: the shards of a command made one."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.terminal import SafeConsole, one_line

if TYPE_CHECKING:
    from defectkit.deployment.evaluate_images import Evaluation
    from defectkit.reporting.inspection_summary import InspectSummary


def run(folder: str | Path, *, console: Console | None = None) -> "InspectSummary | Evaluation":
    """Merge all shards of inspect or evaluate: byte for byte what a single process writes.

    Refused are shards that are missing, not finished or damaged, and those of other images, of
    another model, of other options or of another version of defectkit than the others. The shards
    are removed when the results are in their place. Speeds in an evaluation are those of the
    images of all shards.

    Examples:
        seq 4 | xargs -P 4 -I{} defectkit inspect runs/segment-1 photos/ --shard {}/4
        defectkit merge inspection
        seq 4 | xargs -P 4 -I{} defectkit evaluate runs/segment-1 --shard {}/4
        defectkit merge runs/segment-1/evaluation/test

    Exit status:
        1: of an inspection, something was not inspected; `errors.csv` lists it.

    Args:
        folder: The folder of the whole results, in which `shards/` lies: --out of inspect, or
            evaluation/SPLIT in the run.
        console: Where to report; by default the standard error stream.

    Returns:
        What the command returns that wrote the shards.

    Raises:
        ConfigError: A shard is missing, damaged, or does not belong to the others.
        OutputError: The folder cannot be written, or has other results.
        DefectkitError: The run or its dataset is missing, or was changed since.
    """
    from defectkit.shards import read_shards, remove_shards

    console, folder = console or SafeConsole(), Path(folder)
    written = read_shards(folder)
    summary: InspectSummary | Evaluation
    match written[0].command:
        case "inspect":
            from defectkit.reporting.merged_inspection import merge_inspection

            summary = merge_inspection(folder, written, console)
        case "evaluate":
            from defectkit.reporting.merged_evaluation import merge_evaluation

            summary = merge_evaluation(folder, written, console)
        case "prepare":
            raise ConfigError(
                f"{folder} has shards that prepare --shard wrote, and prepare --resume joins them. "
                "Run that with the same options."
            )
        case other:
            raise ConfigError(
                f"{folder} has shards of {other!r}, which cannot be merged. Merge them with the "
                "version of defectkit that wrote them."
            )
    if kept := remove_shards(written):
        told = f"files that are not of the shards stay, such as in {kept[0]}"
        console.print(one_line(told), soft_wrap=True, highlight=False)
    return summary
