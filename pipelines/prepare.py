"""``defectkit prepare``: from a label table and its images to a dataset that can be trusted."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from defectkit.errors import DatasetError, LabelError
from defectkit.vocabulary import (
    SPLITS,
    LabelFormat,
    LabelFormatOption,
    LabelKind,
    RleBaseOption,
    RleOrderOption,
    UnlistedOption,
)

if TYPE_CHECKING:
    from defectkit.labels.ledger import LedgerRow
    from defectkit.labels.rle_convention import RleConvention
    from defectkit.preparation.image_facts import ImageFacts
    from defectkit.preparation.leaks.pairs import Leak
    from defectkit.preparation.matching import Matching
    from defectkit.preparation.prepared_image import PreparedImage
    from defectkit.preparation.worker_pool import WorkerPool

COUNTS = (
    *("images", "defective", "good", "regions", "splits", "leaks"),
    *("rows_used", "rows_merged", "rows_refused"),
)
SECONDS_PER_REFRESH = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSummary:
    """The dataset that ``prepare`` wrote.

    Attributes:
        out: its folder.
        classes: the defect classes.
        images: number of images.
        defective: number of images with a labeled defect.
        good: number of the others.
        regions: number of connected defect regions.
        rows_used: number of rows of the labels that are in the dataset.
        rows_merged: number of rows that were merged with an earlier one of their image and class.
        rows_refused: number of rows that were refused, with those of the same images.
        leaks: number of pairs of images that show the same thing.
        splits: number of images by split.
        warnings: what the user should know about the data.
    """

    out: Path
    classes: tuple[str, ...]
    images: int
    defective: int
    good: int
    regions: int
    rows_used: int
    rows_merged: int
    rows_refused: int
    leaks: int
    splits: dict[str, int]
    warnings: tuple[str, ...]


def run(
    source: str | Path,
    *,
    label_format: LabelFormatOption = "auto",
    images: str | Path | None = None,
    meta: str | Path | None = None,
    out: str | Path = "dataset",
    rle_base: RleBaseOption = "auto",
    rle_order: RleOrderOption = "auto",
    group_by: str | None = None,
    split: str = "0.7/0.15/0.15",
    pixel_pitch: float | None = None,
    unlisted: UnlistedOption = "ignore",
    skip_bad_rows: bool = False,
    allow_leaks: bool = False,
    seed: int = 0,
    workers: int | None = None,
    console: Console | None = None,
) -> PrepareSummary:
    r"""Turn a label file into a proven dataset: masks, boxes, splits, a ledger of every row.

    Nothing of the source is changed.

    Examples:
        defectkit prepare train.csv
        defectkit prepare train.csv --meta images.csv --out dataset
        defectkit prepare instances.json --images photos
        defectkit prepare masks --group-by '^(lot\d+)_'
        defectkit prepare labels.csv --images photos --rle-base 0 --group-by '^(lot\d+)_'

    Note:
        Where processes are started by spawning (Windows, macOS), a script that calls this needs
        the usual ``if __name__ == "__main__":``.

    Args:
        source: The label file, or the folder of label files or masks.
        label_format: The format of the labels; auto detects it.
        images: Image folder; by default found beside the labels.
        meta: CSV with a row per image: ImageId and any of group, split, lot. Images that the
            labels lack are good ones.
        out: The dataset folder to write; one that was prepared before is replaced.
        rle_base: Number of the first pixel; auto reads it from the data.
        rle_order: column: down, then right. row: right, then down.
        group_by: A column, or a regular expression on the id: groups are never divided.
        split: Fractions for training, validation and test.
        pixel_pitch: Millimeters per pixel, for areas in mm².
        unlisted: What images are that nothing names.
        skip_bad_rows: Refuse bad rows in the ledger and go on, without their images.
        allow_leaks: Keep a given split that divides copies of an image.
        seed: Decides the split.
        workers: Processes; by default one per processor, 0 for none beside this one.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images, regions and rows, and the warnings.

    Raises:
        LabelError: The labels cannot be read or have bad rows.
        DatasetError: Images, groups or splits do not fit.
        OutputError: ``out`` cannot be written or has other files.
    """
    from defectkit.preparation.prepared_image import split_images
    from defectkit.preparation.splits import parse_split
    from defectkit.preparation.worker_pool import open_worker_pool
    from defectkit.preparation.write_dataset import check_output_folder, sort_classes, write_tables
    from defectkit.reporting.dataset_summary import print_summary
    from defectkit.reporting.drawing import previews

    out, console = Path(out), console or Console(stderr=True)
    fractions = parse_split(split)
    _refuse_pixel_pitch(pixel_pitch)
    check_output_folder(out)

    source_format, matching = _match_images(source, label_format, images, meta, unlisted)
    convention = _decide_convention(source_format, matching, rle_base, rle_order)
    with open_worker_pool(workers, n_jobs=len(matching.images)) as pool:
        facts = _examine(matching, convention, pool, console)
        ledger = _write_ledger(matching, facts, out)
        _refuse_rows(matching, facts, ledger, convention, out, rle_base, skip_bad_rows)
        usable = [image for image in facts if not image.problem]
        if not usable:
            raise DatasetError(
                f"no image of {matching.table.path} can be used; see {out / 'ledger.csv'}."
            )
        classes = sort_classes(class_id for image in usable for class_id in image.rles)
        sheets = previews.class_sheets(out / "preview", usable, classes)
        drawing = pool.map(previews.write_sheet, sheets)  # While this process goes on.

        grouping = _group(matching, usable, group_by, pool)
        pair_sheets = previews.leak_sheets(out / "preview", usable, grouping.leaks)
        drawing = itertools.chain(drawing, pool.map(previews.write_sheet, pair_sheets))
        if not allow_leaks:
            _refuse_leaks(grouping, drawing, out)
        prepared, split_warnings = split_images(
            usable, grouping.joined, grouping.given, fractions=fractions, seed=seed
        )
        write_tables(out, prepared, classes, grouping.leaks)
        _finish(drawing)
    previews.remove_stale_sheets(out / "preview", [*sheets, *pair_sheets])

    warnings = [*_collect_warnings(matching, facts, usable, grouping, unlisted), *split_warnings]
    summary = _summarize(out, prepared, classes, ledger, grouping.leaks, warnings)
    options = {
        "pixel_pitch": pixel_pitch,
        "seed": seed,
        "group_by": group_by,
        "split": dict(zip(SPLITS, fractions, strict=True)),
    }
    _write_info(summary, source_format, matching, meta, convention, options)
    print_summary(console, prepared, classes, pixel_pitch=pixel_pitch)
    _print_end(console, summary, matching.table.kind)
    return summary


def _refuse_pixel_pitch(pixel_pitch: float | None) -> None:
    if pixel_pitch is not None and not 0 < pixel_pitch < float("inf"):
        raise DatasetError(f"--pixel-pitch {pixel_pitch:g} is not a length in mm above 0.")


def _match_images(
    source: str | Path,
    label_format: LabelFormatOption,
    images: str | Path | None,
    meta: str | Path | None,
    unlisted: UnlistedOption,
) -> "tuple[LabelFormat, Matching]":
    """Read the labels and ``--meta``, and find their images."""
    from defectkit.labels.formats.csv_table import read_meta
    from defectkit.preparation.matching import find_images
    from defectkit.preparation.read_labels import read_labels

    found_format, table = read_labels(Path(source), label_format)
    return found_format, find_images(
        found_format,
        table,
        read_meta(meta) if meta else {},
        Path(images) if images else None,
        use_unlisted=unlisted == "good",
    )


def _decide_convention(
    source_format: LabelFormat,
    matching: "Matching",
    rle_base: RleBaseOption,
    rle_order: RleOrderOption,
) -> "RleConvention":
    """Decide how the labels number the pixels."""
    from defectkit.labels.rle_convention import decide_convention
    from defectkit.preparation.matching import sample_rows

    table = matching.table
    if source_format != "csv" and (rle_base, rle_order) != ("auto", "auto"):
        raise LabelError(
            f"--rle-base and --rle-order are for CSV, but {table.path} is {source_format}."
        )
    samples = sample_rows(matching.images)
    return decide_convention(table.rows, samples, base=rle_base, order=rle_order)


def _examine(
    matching: "Matching", convention: "RleConvention", pool: "WorkerPool", console: Console
) -> "list[ImageFacts]":
    """Read every image and its rows."""
    from defectkit.preparation.examine import examine_image

    examine = partial(examine_image, convention=convention)
    return _track(pool.map(examine, matching.images), len(matching.images), console)


def _track(results: "Iterable[ImageFacts]", total: int, console: Console) -> "list[ImageFacts]":
    """Collect ``results`` under a progress bar with the time left."""
    columns = (
        TextColumn("Reading images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    facts = []
    # Without its own thread the bar costs the workers nothing, and forking stays safe.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        shown = time.monotonic()
        for image in results:
            facts.append(image)
            if time.monotonic() - shown > SECONDS_PER_REFRESH:
                progress.update(task, completed=len(facts), refresh=True)
                shown = time.monotonic()
    return facts


def _write_ledger(
    matching: "Matching", facts: "Sequence[ImageFacts]", out: Path
) -> "list[LedgerRow]":
    """Write the outcome of every row, also where the labels are then refused."""
    from defectkit.preparation.write_dataset import write_ledger

    rows = [*matching.ledger, *(row for image in facts for row in image.ledger)]
    ledger = sorted(rows, key=lambda row: row.line)
    write_ledger(out, ledger)
    return ledger


def _refuse_rows(
    matching: "Matching",
    facts: "Sequence[ImageFacts]",
    ledger: "Sequence[LedgerRow]",
    convention: "RleConvention",
    out: Path,
    rle_base: RleBaseOption,
    skip_bad_rows: bool,
) -> None:
    """Refuse rows that contradict the convention, and unless they are skipped, all bad rows."""
    from defectkit.labels.ledger import refuse_bad_rows
    from defectkit.labels.rle_convention import refuse_base_contradiction
    from defectkit.preparation.examine import undecoded_rows

    undecoded = undecoded_rows(matching.images, facts)
    refuse_base_contradiction(undecoded, convention, asked=rle_base)
    if not skip_bad_rows:
        refuse_bad_rows(ledger, source=matching.table.path, written=out / "ledger.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grouping:
    """The groups of the usable images before and after leaks joined them, by image id.

    ``given`` are the splits that the user gave, empty text where none; ``n_without_group`` is the
    number of images that name no group.
    """

    named: Mapping[str, str]
    n_without_group: int
    given: Mapping[str, str]
    leaks: "list[Leak]"
    joined: Mapping[str, str]


def _group(
    matching: "Matching",
    usable: "Sequence[ImageFacts]",
    group_by: str | None,
    pool: "WorkerPool",
) -> _Grouping:
    """Find the groups of the images, and join those of images that show the same thing."""
    from defectkit.preparation.image_groups import assign_groups
    from defectkit.preparation.leaks.find import find_leaks
    from defectkit.preparation.leaks.pairs import join_groups

    cells = {image.image_id: matching.cells[image.image_id] for image in usable}
    given = {image_id: own.get("split", "") for image_id, own in cells.items()}
    named, n_without_group = assign_groups(cells, group_by)
    joined, leaks = join_groups(named, find_leaks(usable, pool), given)
    return _Grouping(
        named=named, n_without_group=n_without_group, given=given, leaks=leaks, joined=joined
    )


def _refuse_leaks(grouping: _Grouping, drawing: "Iterable[None]", out: Path) -> None:
    """Refuse leaks across given splits, after what shows them is written."""
    from defectkit.preparation.leaks.pairs import refuse_leaks_across_splits
    from defectkit.preparation.write_dataset import write_leaks

    if not all(leak.joined for leak in grouping.leaks):
        _finish(drawing)
        write_leaks(out, grouping.leaks)
        refuse_leaks_across_splits(grouping.leaks, grouping.given, written=out)


def _finish(drawing: "Iterable[None]") -> None:
    """Wait for the sheets; without worker processes, draw them now."""
    for _ in drawing:
        pass


def _collect_warnings(
    matching: "Matching",
    facts: "Sequence[ImageFacts]",
    usable: "Sequence[ImageFacts]",
    grouping: _Grouping,
    unlisted: UnlistedOption,
) -> list[str]:
    from defectkit.preparation.data_warnings import (
        warn_about_boxes,
        warn_about_files,
        warn_about_leaks,
    )

    return [
        *warn_about_boxes(matching.table.kind),
        *warn_about_files(matching, facts, used_unlisted=unlisted == "good"),
        *warn_about_leaks(
            usable, grouping.named, grouping.leaks, n_without_group=grouping.n_without_group
        ),
    ]


def _summarize(
    out: Path,
    prepared: "Sequence[PreparedImage]",
    classes: Sequence[str],
    ledger: "Sequence[LedgerRow]",
    leaks: "Sequence[Leak]",
    warnings: Sequence[str],
) -> PrepareSummary:
    outcomes = Counter(row.outcome for row in ledger)
    splits = Counter(image.split for image in prepared)
    defective = sum(bool(image.facts.rles) for image in prepared)
    return PrepareSummary(
        out=out,
        classes=tuple(classes),
        images=len(prepared),
        defective=defective,
        good=len(prepared) - defective,
        regions=sum(len(image.facts.regions) for image in prepared),
        rows_used=outcomes["used"],
        rows_merged=outcomes["merged"],
        rows_refused=outcomes["refused"],
        leaks=len(leaks),
        splits={split: splits[split] for split in SPLITS},
        warnings=tuple(warnings),
    )


def _write_info(
    summary: PrepareSummary,
    source_format: LabelFormat,
    matching: "Matching",
    meta: str | Path | None,
    convention: "RleConvention",
    options: Mapping[str, Any],
) -> None:
    """Write ``dataset.json``."""
    from defectkit.preparation.write_dataset import describe_source, relative_path, write_info

    out, table = summary.out, matching.table
    info = {
        "source": describe_source(table.path, table.files, out),
        "format": source_format,
        "form": table.form,
        "truth": table.kind,
        "meta": describe_source(Path(meta), [Path(meta)], out) if meta else None,
        "images": relative_path(matching.folder.root, out),
        "rle": asdict(convention) if source_format == "csv" else None,
        "classes": list(summary.classes),
        "counts": {key: getattr(summary, key) for key in COUNTS},
        **options,
        "warnings": list(summary.warnings),
    }
    write_info(out, info)


def _print_end(console: Console, summary: PrepareSummary, kind: LabelKind) -> None:
    """Print the outcome of the rows, the warnings, and the next command."""
    approach = "segment" if kind == "masks" else "box"
    refused = f"{summary.rows_refused} refused"
    console.print(
        f"Rows: {summary.rows_used} used, {summary.rows_merged} merged, {refused} (ledger.csv)"
    )
    for warning in summary.warnings:
        console.print(f"Warning: {warning}.", style="yellow", markup=False)
    console.print(
        f"Written to {summary.out}. Look at {summary.out / 'preview'}, then:\n"
        f"  defectkit train --approach {approach} --data {summary.out}",
        markup=False,
        soft_wrap=True,
    )
