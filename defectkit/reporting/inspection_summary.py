"""What an inspection says at its end: verdicts, what was not inspected, and where the files are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays

MAX_NAMES = 10
"""Max. number of files that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSummary:
    """The folder of the results, and the number of images with each verdict.

    ``unreadable`` is the number of rows of ``errors.csv``: what was not inspected, images and all
    else; ``skipped`` that of other files in the folders, which are no images. Of a shard the images
    are its own, ``skipped`` is that of all folders.
    """

    out: Path
    good: int
    review: int
    defective: int
    unreadable: int
    skipped: int


def summarize_inspection(
    console: Console,
    out: Path,
    *,
    verdicts: Counter[str],
    n_errors: int,
    notes: Mapping[str, Sequence[str]],
    drawn: Overlays,
    skipped: int,
    told_skipped: str,
) -> InspectSummary:
    """Print the end of an inspection, and return its summary.

    Args:
        console: where to print.
        out: the folder of the results.
        verdicts: number of images with each verdict.
        n_errors: number of images that were not inspected.
        notes: what is to be said of how images were read, with their ids.
        drawn: which images have an overlay.
        skipped: number of files that are no images.
        told_skipped: these by kind, or "".
    """
    for note, ids in notes.items():
        console.print(f"[yellow]note:[/] {one_line(_some(ids))}: {note}", highlight=False)
    listed = f" ({out / 'errors.csv'})" if n_errors else ""
    told = (
        f"{verdicts['defective']} defective, {verdicts['review']} to review, "
        f"{verdicts['good']} good, {n_errors} not inspected{listed}; "
        f"{_where_overlays_are(drawn, out)}verdicts and masks in {out / 'findings.csv'}"
        + (f"; {told_skipped}" if told_skipped else "")
    )
    console.print(one_line(told))
    return InspectSummary(
        out=out,
        good=verdicts["good"],
        review=verdicts["review"],
        defective=verdicts["defective"],
        unreadable=n_errors,
        skipped=skipped,
    )


def _where_overlays_are(drawn: Overlays, out: Path) -> str:
    match drawn:
        case "none":
            return ""
        case "flagged":
            return f"overlays of those to review and defective in {out / 'overlays'}, "
        case "all":
            return f"overlays in {out / 'overlays'}, "


def _some(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
