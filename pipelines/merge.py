"""``defectkit merge``: the shards of a command made one."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.terminal import SafeConsole, one_line

if TYPE_CHECKING:
    from defectkit.reporting.inspection_summary import InspectSummary


def run(folder: str | Path, *, console: Console | None = None) -> "InspectSummary":
    """Merge all shards of inspect: byte for byte what a single process writes.

    Refused are shards that are missing, not finished or damaged, and those of other images, of
    another model, of other options or of another version of defectkit than the others. The shards
    are removed when the results are in their place.

    Examples:
        seq 4 | xargs -P 4 -I{} defectkit inspect runs/segment-1 photos/ --shard {}/4
        defectkit merge inspection

    Exit status:
        1: something was not inspected; `errors.csv` lists it.

    Args:
        folder: The folder of the whole results, in which `shards/` lies: --out of inspect.
        console: Where to report; by default the standard error stream.

    Returns:
        What inspect returns.

    Raises:
        ConfigError: A shard is missing, damaged, or does not belong to the others.
        OutputError: The folder cannot be written, or has other results.
    """
    from defectkit.reporting.merged_inspection import merge_inspection
    from defectkit.shards import read_shards, remove_shards

    console, folder = console or SafeConsole(), Path(folder)
    written = read_shards(folder)
    if (command := written[0].command) != "inspect":
        raise ConfigError(
            f"{folder} has shards of {command!r}, and merge joins those of inspect alone. Merge "
            "them with the version of defectkit that wrote them."
        )
    summary = merge_inspection(folder, written, console)
    if kept := remove_shards(written):
        told = f"files that are not of the shards stay, such as in {kept[0]}"
        console.print(one_line(told), soft_wrap=True, highlight=False)
    return summary
