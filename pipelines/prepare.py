"""``defectkit prepare``: from a label table and its images to a dataset that can be trusted."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

import collections
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from defectkit.errors import DatasetError, LabelError
from defectkit.files import sha256_bytes, sha256_file
from defectkit.vocabulary import (
    SPLITS,
    LabelFormatOption,
    LabelKind,
    RleBaseOption,
    RleOrderOption,
    UnlistedOption,
)

if TYPE_CHECKING:
    from defectkit.labels.ledger import LedgerRow
    from defectkit.labels.table import LabelRow
    from defectkit.preparation.image_facts import ImageFacts
    from defectkit.preparation.leaks.pairs import Leak
    from defectkit.preparation.matching import Plan
    from defectkit.preparation.splits import Fractions
    from defectkit.preparation.write_dataset import PreparedImage

COUNTS = (
    *("images", "defective", "good", "regions", "splits", "duplicates"),
    *("rows_used", "rows_merged", "rows_refused"),
)
SECONDS_PER_REFRESH = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSummary:
    """What ``prepare`` made: counts of images, rows of the source, and images by split."""

    out: Path
    classes: tuple[str, ...]
    images: int
    defective: int
    good: int
    regions: int
    rows_used: int
    rows_merged: int
    rows_refused: int
    duplicates: int
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
    from defectkit.labels.formats.csv_table import read_meta
    from defectkit.labels.ledger import refuse_bad_rows
    from defectkit.labels.rle_convention import decide_convention, refuse_contradiction
    from defectkit.preparation.examine import examine
    from defectkit.preparation.image_folder import open_image_folder
    from defectkit.preparation.image_groups import name_groups
    from defectkit.preparation.leaks.find import find_leaks
    from defectkit.preparation.leaks.pairs import join_groups, refuse_leaks_across_splits
    from defectkit.preparation.matching import name_by_file, plan_images, sample_rows
    from defectkit.preparation.read_labels import folders_near_labels, read_labels
    from defectkit.preparation.splits import parse_fractions
    from defectkit.preparation.worker_pool import open_workers
    from defectkit.preparation.write_dataset import (
        claim_folder,
        relative_path,
        sort_classes,
        write_info,
        write_leaks,
        write_ledger,
        write_tables,
    )
    from defectkit.reporting.dataset_summary import print_summary
    from defectkit.reporting.drawing.previews import (
        plan_leaks,
        plan_sheets,
        remove_stale,
        write_sheet,
    )

    out, console = Path(out), console or Console(stderr=True)
    fractions = parse_fractions(split)
    if pixel_pitch is not None and not 0 < pixel_pitch < float("inf"):
        raise DatasetError(f"--pixel-pitch {pixel_pitch:g} is not a length in mm above 0.")
    claim_folder(out)

    kind, table = read_labels(Path(source), label_format)
    if kind != "csv" and (rle_base, rle_order) != ("auto", "auto"):
        raise LabelError(f"--rle-base and --rle-order are for CSV, but {table.path} is {kind}.")
    listed: dict[str, dict[str, str]] = read_meta(meta) if meta else {}
    ids = list(dict.fromkeys([row.image_id for row in table.rows] or [*table.unlabeled, *listed]))
    parents = folders_near_labels(kind, table.path)
    folder = open_image_folder(table.path, Path(images) if images else None, ids, parents)
    if kind != "csv":
        table = name_by_file(table, folder)
        listed = {image_id: {} for image_id in table.unlabeled} | listed
    plan = plan_images(table, listed, folder, use_unlisted=unlisted == "good")
    convention = decide_convention(
        table.rows, sample_rows(plan.jobs), base=rle_base, order=rle_order
    )

    with open_workers(workers, n_jobs=len(plan.jobs)) as pool:
        look = partial(examine, convention=convention)
        facts = _track(pool.map(look, plan.jobs), len(plan.jobs), console)
        ledger = sorted(
            [*plan.ledger, *(row for image in facts for row in image.ledger)],
            key=lambda row: row.line,
        )
        write_ledger(out, ledger)
        refuse_contradiction(_undecoded(plan, facts), convention, asked=rle_base)
        if not skip_bad_rows:
            refuse_bad_rows(ledger, source=table.path, written=out / "ledger.csv")
        usable = [image for image in facts if not image.problem]
        if not usable:
            raise DatasetError(f"no image of {table.path} can be used; see {out / 'ledger.csv'}.")
        classes = sort_classes(class_id for image in usable for class_id in image.rles)
        sheets = plan_sheets(out / "preview", usable, classes)
        drawn = pool.map(write_sheet, sheets)  # while this process goes on
        given = {image.image_id: plan.columns[image.image_id].get("split", "") for image in usable}
        named, alone = name_groups(
            {image_id: plan.columns[image_id] for image_id in given}, group_by
        )
        groups, leaks = join_groups(named, find_leaks(usable, pool), given)
        pictures = plan_leaks(out / "preview", usable, leaks)
        drawn = itertools.chain(drawn, pool.map(write_sheet, pictures))
        if not allow_leaks and not all(leak.joined for leak in leaks):
            collections.deque(drawn, maxlen=0)
            write_leaks(out, leaks)
            refuse_leaks_across_splits(leaks, given, written=out)
        prepared, warnings = _split(usable, groups, given, fractions, seed)
        warnings = [
            *_warn_of_boxes(table.kind),
            *_warn_of_files(plan, facts, used_unlisted=unlisted == "good"),
            *_warn_of_groups(usable, named, alone, leaks),
            *warnings,
        ]
        write_tables(out, prepared, classes, leaks)
        collections.deque(drawn, maxlen=0)
    remove_stale(out / "preview", [*sheets, *pictures])
    summary = _summarize(out, prepared, classes, ledger, leaks, warnings)
    info = {
        "source": _source(table.path, table.files, out),
        "format": kind,
        "form": table.form,
        "truth": table.kind,
        "meta": _source(Path(meta), [Path(meta)], out) if meta else None,
        "images": relative_path(folder.root, out),
        "rle": asdict(convention) if kind == "csv" else None,
        "classes": classes,
        "counts": {key: getattr(summary, key) for key in COUNTS},
        "pixel_pitch": pixel_pitch,
        "seed": seed,
        "group_by": group_by,
        "split": dict(zip(SPLITS, fractions, strict=True)),
        "warnings": warnings,
    }
    write_info(out, info)
    print_summary(console, prepared, classes, pixel_pitch=pixel_pitch)
    _print_end(console, summary, table.kind)
    return summary


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


def _undecoded(plan: "Plan", facts: "Sequence[ImageFacts]") -> "Iterator[tuple[LabelRow, int]]":
    """Yield the rows whose encodings were refused, with their images' numbers of pixels."""
    for job, image in zip(plan.jobs, facts, strict=True):
        if image.height and image.problem:
            bad = {row.line for row in image.ledger if not row.refused_with_image}
            yield from ((row, image.height * image.width) for row in job.rows if row.line in bad)


def _split(
    usable: "Sequence[ImageFacts]",
    groups: Mapping[str, str],
    given: Mapping[str, str],
    fractions: "Fractions",
    seed: int,
) -> "tuple[list[PreparedImage], list[str]]":
    """Split the images; return them and what to warn of."""
    from defectkit.preparation.splits import assign_splits
    from defectkit.preparation.write_dataset import PreparedImage

    result = assign_splits(
        groups=[groups[image.image_id] for image in usable],
        classes=[image.rles.keys() for image in usable],
        fractions=fractions,
        seed=seed,
        given=[given[image.image_id] for image in usable],
    )
    prepared = [
        PreparedImage(image, groups[image.image_id], split)
        for image, split in zip(usable, result.splits, strict=True)
    ]
    states = {bool(image.rles) for image in usable}
    if len(states) == 1:
        state = "good" if True in states else "defective"
        return prepared, [f"the data hold no {state} image", *result.warnings]
    return prepared, [*result.warnings]


def _warn_of_groups(
    usable: "Sequence[ImageFacts]", named: Mapping[str, str], alone: int, leaks: "Sequence[Leak]"
) -> list[str]:
    """Return what to warn of: pairs that stand in one group by the user's own word are no news."""
    from defectkit.preparation.leaks.pairs import equal_files_with_different_labels

    warnings = [f"{alone} images name no group and stand alone"] if alone else []
    kinds = collections.Counter(
        leak.kind for leak in leaks if named[leak.image_id_a] != named[leak.image_id_b]
    )
    counts = (
        (kinds["exact"], "images are copies of another"),
        (kinds["near"], "pairs of images show the same thing in different files"),
        (kinds["overlap"], "pairs of images show the same thing in part"),
    )
    warnings += [f"{count} {text}; leaks.csv names them" for count, text in counts if count]
    if divided := sum(not leak.joined for leak in leaks):
        warnings.append(f"{divided} of these pairs are in different splits, as given")
    if differing := equal_files_with_different_labels(
        leaks, {image.image_id: image.rles for image in usable}
    ):
        pairs = [f"{leak.image_id_a} and {leak.image_id_b}" for leak in differing]
        warnings.append(f"{len(differing)} pairs of copies have different masks: {_name(pairs)}")
    return warnings


def _warn_of_boxes(truth: LabelKind) -> list[str]:
    if truth == "masks":
        return []
    return [
        "the labels are boxes: they serve --approach box alone, masks are filled rectangles, and "
        "boxes of one class that touch count as one"
    ]


def _warn_of_files(
    plan: "Plan", facts: "Sequence[ImageFacts]", *, used_unlisted: bool
) -> list[str]:
    warnings = []
    if plan.unlisted:
        names = _name([path.name for path in plan.unlisted])
        fate = (
            "and count as good (--unlisted good)"
            if used_unlisted
            else "and are not used. If they are good, list them in --meta or give --unlisted good"
        )
        warnings.append(
            f"{len(plan.unlisted)} images in the folder are not listed ({names}) {fate}"
        )
    if plan.missing:
        names = _name(list(plan.missing))
        warnings.append(f"{len(plan.missing)} images that are listed as good have no file: {names}")
    unread = [image.problem for image in facts if image.problem and not image.ledger]
    if unread:
        warnings.append(f"{len(unread)} images without rows cannot be read: {_name(unread)}")
    return warnings


def _name(texts: Sequence[str], count: int = 3) -> str:
    return ", ".join([*texts[:count], *(["…"] if len(texts) > count else [])])


def _summarize(
    out: Path,
    prepared: "Sequence[PreparedImage]",
    classes: Sequence[str],
    ledger: "Sequence[LedgerRow]",
    leaks: "Sequence[Leak]",
    warnings: Sequence[str],
) -> PrepareSummary:
    outcomes = collections.Counter(row.outcome for row in ledger)
    splits = collections.Counter(image.split for image in prepared)
    defective = sum(bool(image.facts.rles) for image in prepared)
    return PrepareSummary(
        out=out,
        classes=tuple(classes),
        images=len(prepared),
        defective=defective,
        good=len(prepared) - defective,
        regions=sum(len(image.facts.defects) for image in prepared),
        rows_used=outcomes["used"],
        rows_merged=outcomes["merged"],
        rows_refused=outcomes["refused"],
        duplicates=len(leaks),
        splits={split: splits[split] for split in SPLITS},
        warnings=tuple(warnings),
    )


def _source(path: Path, files: Sequence[Path], out: Path) -> dict[str, str]:
    """Return where it is and the SHA-256, for a folder that of the list of its files' hashes."""
    from defectkit.preparation.write_dataset import relative_path

    if [path] == list(files):
        digest = sha256_file(path)
    else:
        lines = (f"{sha256_file(file)} {relative_path(file, path)}\n" for file in files)
        digest = sha256_bytes("".join(lines).encode())
    return {"path": relative_path(path.resolve(), out), "sha256": digest}


def _print_end(console: Console, summary: PrepareSummary, truth: LabelKind) -> None:
    """Print what became of the rows, the warnings, and where to go on."""
    approach = "segment" if truth == "masks" else "box"
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
