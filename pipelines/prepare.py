"""``defectkit prepare``: from a label table and its images to a checked dataset."""

# Long: a third of it declares and explains the options of the command, in one place.

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import MAX_SEED, DatasetError, check_range
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import (
    SPLITS,
    LabelFormatOption,
    PagesOption,
    PolygonOption,
    RleBaseOption,
    RleOrderOption,
    UnlistedOption,
)

if TYPE_CHECKING:
    from defectkit.data.pixel_format import PixelFormat
    from defectkit.labels.ledger import LedgerRow
    from defectkit.labels.rle_convention import RleConvention
    from defectkit.preparation.facts_table import Facts, StoredFacts
    from defectkit.preparation.kept_facts import KeptFacts
    from defectkit.preparation.leaks.pairs import Leak
    from defectkit.preparation.matching import Matching
    from defectkit.preparation.pixel_window import Levels, PixelOptions
    from defectkit.preparation.prepared_image import PreparedImage
    from defectkit.preparation.worker_pool import WorkerPool

COUNTS = (
    *("images", "defective", "good", "regions", "splits", "leaks"),
    *("rows_used", "rows_merged", "rows_refused"),
)


MAX_CLASSES_NAMED = 20


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
    polygons: PolygonOption = "auto",
    group_by: str | None = None,
    split: str = "0.7/0.15/0.15",
    pixel_pitch: float | None = None,
    unlisted: UnlistedOption = "ignore",
    follow_links: bool = False,
    roi: str | Path | None = None,
    ignore_class: str | None = None,
    mask_threshold: int | None = None,
    invert: bool = False,
    clip: bool = False,
    boxes: bool = False,
    window: str | None = None,
    percentile: str | None = None,
    pages: PagesOption = "first",
    show_channels: str | None = None,
    relabel: str | Path | None = None,
    skip_bad_rows: bool = False,
    allow_leaks: bool = False,
    seed: int = 0,
    resume: bool = False,
    shard: str | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> PrepareSummary:
    r"""Turn a label file into a checked dataset: masks, boxes, splits, a ledger of every row.

    Nothing of the source is changed.

    Several processes or machines share the reading of images with --shard; the same command with
    --resume and without --shard makes of all parts what one process writes.

    Examples:
        defectkit prepare train.csv
        defectkit prepare train.csv --meta images.csv --out dataset
        defectkit prepare instances.json --images photos
        defectkit prepare masks --group-by '^(lot\d+)_'
        defectkit prepare labels.csv --images photos --rle-base 0 --group-by '^(lot\d+)_'
        seq 4 | xargs -P 4 -I{} defectkit prepare train.csv --shard {}/4
        defectkit prepare train.csv --resume

    Note:
        Where processes are started by spawning (Windows, macOS), a script that calls this needs
        the usual ``if __name__ == "__main__":``.

    Exit status:
        4: a worker process died, or could not be started.

    Args:
        source: The label file, or the folder of label files or masks.
        label_format: The format of the labels; auto detects it.
        images: The image folder, also of an object store (s3://BUCKET/FOLDER, gs:// or az://, with
            the credentials that its own tools use); by default found beside the labels.
        meta: A CSV with a row per image: ImageId and any of group, split, lot. Images in it
            without labels are good.
        out: The dataset folder to write; one that was prepared before is replaced.
        rle_base: Number of the first pixel in a CSV; auto reads it from the data.
        rle_order: Order of pixels in a CSV: column (down, then right) or row (right, then down).
        polygons: What the corners of polygons are: points, or pixels that belong to the mask with
            the border between them, as OpenCV's findContours gives them; auto reads it from the
            data.
        group_by: A column, or a regular expression on the image id, that names the group; images of
            one group stay in one split.
        split: Fractions for training, validation and test.
        pixel_pitch: Millimeters per pixel, for areas in mm².
        unlisted: What to do with images that neither labels nor META name: ignore them, or
            count them as good.
        follow_links: Read images also through links that lead out of the image folder.
        roi: The region to inspect; nothing outside of it is learned, scored or found. X,Y,W,H in
            pixels, a mask image (0 is outside), or a folder with a mask for each image; META may
            have a column roi of X,Y,W,H instead.
        ignore_class: A class to ignore: its pixels are neither learned nor counted.
        mask_threshold: Mask images: values from this one on are defects, of one class; for masks
            with soft edges and those that were JPEG.
        invert: Mask images: 0 is defect, all else is not.
        clip: Cut outlines that reach beyond the image at its border, rather than refuse them.
        boxes: Read every label as its bounding box.
        window: Images of more than 8 bits: LOW,HIGH, the values that become black and white. By
            default 0 and the largest value of 8, 10, 12, 14 or 16 bits, whichever the images need.
        percentile: Images of more than 8 bits: take the window from these percentiles of all pixels
            of the training images, as 0.1,99.9.
        pages: TIFF of several pages: take the first, or all as the channels of one image.
        show_channels: Images of 2 or more than 3 channels: the three, from 0, that pictures show
            as red, green and blue; by default 0,1,2, or 0,1,1 of two.
        relabel: A CSV of corrections to the labels, as the page of suspects saves it: image_id,
            action, and for labels class_id,x,y,width,height. Actions: drop-label, set-class (to
            new_class), ignore, mark-good, leave-out, keep. The source stays as it is.
        skip_bad_rows: Leave out images with bad rows, with the reason in ledger.csv, and go on.
        allow_leaks: Let images that show the same thing be in different splits, as for different
            workpieces under a fixed camera: a given split is kept whatever it separates, and only
            equal files are joined.
        seed: Seed of the split.
        resume: Do not read again the images that a prepare to the same folder had read before it
            was stopped, unless they, their labels or how these are read have changed since. Other
            options, such as those of groups and splits, may differ. Shards of it are joined.
        shard: Read only a part of the images, and write no dataset yet: 2/4 is the second of four
            parts.
        workers: Number of worker processes; by default one per processor.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images, regions and rows, and the warnings. Of a shard only its folder and the
        number of its images.

    Raises:
        LabelError: The labels cannot be read or have bad rows.
        DatasetError: Images, groups or splits do not fit.
        ConfigError: ``shard`` is none; or shards to join are missing, damaged, or of other images.
        OutputError: ``out`` cannot be written or has other files.
        WorkerError: A worker process died.
    """
    # Long: the command's parameters are declared here alone, and imports that would slow down its
    # help stand here; the steps themselves are short.
    from defectkit.continued_results import bring_back, keep_alone
    from defectkit.labels.corrections import (
        describe_corrections,
        read_corrections,
        refuse_corrections,
    )
    from defectkit.labels.read_options import ReadOptions
    from defectkit.object_stores import locate
    from defectkit.preparation.convention import decide_polygons, decide_rle_convention
    from defectkit.preparation.corrections import assign_corrections
    from defectkit.preparation.data_warnings import collect_warnings
    from defectkit.preparation.grouping import group_images, mark_joined
    from defectkit.preparation.image_groups import assign_groups
    from defectkit.preparation.kept_facts import FACTS, KeptFacts
    from defectkit.preparation.leaks.pairs import refuse_leaks_across_splits
    from defectkit.preparation.matching import find_images
    from defectkit.preparation.pixel_window import (
        parse_pixel_options,
        pixel_warnings,
        settle_window,
    )
    from defectkit.preparation.prepared_image import measure_dataset, split_images
    from defectkit.preparation.rois import choose_rois
    from defectkit.preparation.splits import parse_split
    from defectkit.preparation.worker_pool import check_workers, open_worker_pool
    from defectkit.preparation.write_dataset import (
        check_output_folder,
        describe_source,
        describe_sources,
        sort_classes,
        write_dataset_folder,
        write_info,
        write_leaks,
        write_tables,
    )
    from defectkit.reporting.dataset_shards import WAY_ON, find_shards, has_shards, prepare_shard
    from defectkit.reporting.dataset_summary import print_outcome, print_summary
    from defectkit.reporting.drawing import previews
    from defectkit.reporting.stopped import tell_if_stopped
    from defectkit.shards import Shard, remove_shards

    console = console or SafeConsole()
    out = check_output_folder(out)
    fractions = parse_split(split)
    _refuse_pixel_pitch(pixel_pitch)
    asked = parse_pixel_options(
        window=window, percentile=percentile, pages=pages, show_channels=show_channels
    )
    check_workers(workers)
    part = None if shard is None else Shard.parse(shard)
    check_range("--seed", seed, 0, MAX_SEED)

    options = ReadOptions(
        mask_threshold=mask_threshold,
        invert=invert,
        clip=clip,
        boxes=boxes,
        ignore_class=ignore_class,
    )
    matching = find_images(
        Path(source),
        label_format,
        images=locate(images) if images else None,
        meta=Path(meta) if meta else None,
        use_unlisted=unlisted == "good",
        follow_links=follow_links,
        options=options,
    )
    choose_rois(matching, str(roi) if roi else None)
    corrections = read_corrections(Path(relabel)) if relabel else []
    if relabel:
        assign_corrections(matching, corrections, Path(relabel))
    _refuse_ignore_class(matching, ignore_class)
    convention = decide_rle_convention(matching, base=rle_base, order=rle_order)
    decide_polygons(matching, asked=polygons)
    # A regular expression that is wrong is refused before anything is written.
    assign_groups({one.image_id: matching.cells[one.image_id] for one in matching.images}, group_by)
    kept = KeptFacts(convention=convention, options=options)
    if part:
        number = prepare_shard(
            *(out, part, matching, kept, asked.format),
            workers=workers,
            resume=resume,
            console=console,
        )
        return _summary_of_shard(part.folder(out), number)
    joined = find_shards(out, matching, kept, asked.format) if resume else ()
    if not resume and has_shards(out):
        console.print("[yellow]note:[/] --resume would take what shards have read")
    with (
        write_dataset_folder(out, matching.table.files, keep=resume) as results,
        open_worker_pool(workers, n_jobs=len(matching.images)) as pool,
    ):
        if resume and bring_back(results, FACTS):
            keep_alone(results, FACTS)
        with (
            kept.keep_in(results.folder / FACTS, [one.folder / FACTS for one in joined]),
            tell_if_stopped(console, results, FACTS, way_on=WAY_ON),
        ):
            facts, pixels, levels = _examine(matching, kept, asked, pool, console)
        if resume:
            _tell_taken(kept.taken, console)
        written = results.if_failed("ledger.csv")
        ledger = _write_ledger(matching, facts, results.folder)
        _refuse_rows(matching, facts, ledger, convention, rle_base, skip_bad_rows, written)
        if relabel:
            refuse_corrections(Path(relabel), [bad for image in facts for bad in image.unfit])
        usable = [image for image in facts if not image.problem]
        classes = sort_classes(class_id for image in usable for class_id in image.rles)
        preview = results.folder / "preview"
        sheets = previews.class_sheets(preview, usable, classes)
        drawing = pool.map(previews.write_sheet, sheets)  # While this process continues.

        grouping = group_images(
            usable,
            matching.cells,
            group_by,
            pool,
            allow_leaks=allow_leaks,
            folder=results.folder,
        )
        write_leaks(results.folder, grouping.leaks)  # Also for what is refused because of them.
        pair_sheets = previews.leak_sheets(preview, usable, grouping.leaks, classes)
        for _ in itertools.chain(drawing, pool.map(previews.write_sheet, pair_sheets)):
            pass  # Wait for the sheets; without worker processes, draw them now.
        written = results.if_failed("")
        if not allow_leaks:
            refuse_leaks_across_splits(grouping.leaks, grouping.given, written=written)
        prepared, split_warnings = split_images(
            usable, grouping, fractions=fractions, seed=seed, written=written
        )
        grouping = mark_joined(grouping, {one.facts.image_id: one.split for one in prepared})
        pixels = settle_window(prepared, pixels, asked, pool)
        write_tables(results.folder, prepared, classes, grouping.leaks, out=out)
        warnings = collect_warnings(matching, facts, grouping, use_unlisted=unlisted == "good")
        warnings += [*pixel_warnings(facts, pixels, asked, levels), *split_warnings]
        summary = _summarize(out, prepared, classes, ledger, grouping.leaks, warnings)
        measured = measure_dataset(prepared)
        info = {
            **describe_sources(matching, convention, Path(meta) if meta else None, out),
            "relabel": describe_source(Path(relabel), out) if relabel else None,
            "pixels": pixels.to_dict(),
            "classes": classes,
            "counts": {key: getattr(summary, key) for key in COUNTS},
            "pixel_pitch": pixel_pitch,
            "roi": str(roi) if roi else None,
            "ignore_class": ignore_class,
            "seed": seed,
            "group_by": group_by,
            "split": dict(zip(SPLITS, fractions, strict=True)),
            "warnings": warnings,
            "facts": measured.to_dict() if measured else None,
        }
        write_info(results.folder, info)
        (results.folder / FACTS).unlink()
    remove_shards(joined)
    if relabel:
        told = f"Relabeled by {relabel}: {describe_corrections(corrections)}."
        console.print(one_line(told), highlight=False, soft_wrap=True)
    print_summary(console, prepared, classes, pixel_pitch=pixel_pitch)
    print_outcome(console, out, ledger, warnings, matching.table.kind, classes)
    return summary


def _summary_of_shard(folder: Path, images: int) -> PrepareSummary:
    return PrepareSummary(
        out=folder,
        classes=(),
        images=images,
        splits={},
        warnings=(),
        **dict.fromkeys(("defective", "good", "regions", "leaks"), 0),
        **dict.fromkeys(("rows_used", "rows_merged", "rows_refused"), 0),
    )


def _refuse_ignore_class(matching: "Matching", ignore_class: str | None) -> None:
    classes = sorted({row.class_id for row in matching.table.rows if row.class_id})
    if ignore_class is not None and ignore_class not in classes:
        named = ", ".join(classes[:MAX_CLASSES_NAMED]) or "none"
        raise DatasetError(
            f"--ignore-class {ignore_class!r} is no class of the labels. Their classes: {named}."
        )


def _refuse_pixel_pitch(pixel_pitch: float | None) -> None:
    if pixel_pitch is not None and not 0 < pixel_pitch < float("inf"):
        raise DatasetError(f"--pixel-pitch {pixel_pitch:g} is not a length in mm above 0.")


def _examine(
    matching: "Matching",
    kept: "KeptFacts",
    asked: "PixelOptions",
    pool: "WorkerPool",
    console: Console,
) -> "tuple[list[StoredFacts], PixelFormat, Levels]":
    """Read every image and its rows; return also how they were read, and their gray values.

    Images of more than 8 bits are read twice: their window depends on all of them.
    """
    from defectkit.preparation.facts_table import FactsTable
    from defectkit.preparation.pixel_window import Levels, check_pixels
    from defectkit.reporting.progress import track

    images, levels = matching.images, Levels()
    table = FactsTable(images, asked.format)
    found = levels.take(kept.examine(images, table.pixels, pool))
    for number, one in track(
        found, "Reading images", console=console, total=len(images), thread=False
    ):
        table.put(number, one)
    if levels.images:
        table.pixels = replace(table.pixels, window=levels.window(asked.percentile))
        deep = [number for number, one in enumerate(table.facts()) if one.deep]
        found = kept.examine([images[number] for number in deep], table.pixels, pool)
        what = "Reading images of more than 8 bits"
        for place, one in track(found, what, console=console, total=len(deep), thread=False):
            table.put(deep[place], one)
    facts = table.facts()
    check_pixels(facts, asked)
    return facts, table.pixels, levels


def _tell_taken(taken: int, console: Console) -> None:
    told = f"{taken} images were read before" if taken else "no image was read before: reads all"
    console.print(f"[yellow]note:[/] {told}")


def _write_ledger(
    matching: "Matching", facts: "Sequence[Facts]", folder: Path
) -> "Sequence[LedgerRow]":
    """Write the outcome of every row, also where the labels are then refused."""
    from defectkit.preparation.examine import collect_ledger
    from defectkit.preparation.write_dataset import write_ledger

    ledger = collect_ledger(matching, facts)
    write_ledger(folder, ledger)
    return ledger


def _refuse_rows(
    matching: "Matching",
    facts: "Sequence[Facts]",
    ledger: "Sequence[LedgerRow]",
    convention: "RleConvention",
    rle_base: RleBaseOption,
    skip_bad_rows: bool,
    written: Path,
) -> None:
    """Refuse the labels for rows that contradict the convention or are bad, or if none is left.

    ``written`` is where the ledger lies then.
    """
    from defectkit.labels.ledger import refuse_bad_rows
    from defectkit.preparation.convention import refuse_contradicted_base
    from defectkit.preparation.data_warnings import warn_about_withheld

    source = matching.table.path
    refuse_contradicted_base(matching, facts, convention, asked_base=rle_base)
    if not skip_bad_rows:
        remarks = [f"{text}." for text in warn_about_withheld(matching)]
        refuse_bad_rows(ledger, source=source, written=written, remarks=remarks)
    if not facts:
        raise DatasetError(
            f"{source} names no image. Check that it is the one that you mean, and complete."
        )
    if all(image.problem for image in facts):
        raise DatasetError(
            f"no image of {source} can be used. Fix what {written} has as the reason of each row."
        )


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
