"""``defectkit inspect``: a trained model on new images."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from defectkit.devices import let_idle_threads_sleep
from defectkit.errors import ImageError, LabelError
from defectkit.files import ensure_writable, write_csv
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import Device

if TYPE_CHECKING:
    from defectkit.arrays import Image, ImageSize
    from defectkit.data.image_search import ImageFile, ImageSearch
    from defectkit.data.pixel_format import PixelFormat
    from defectkit.data.roi_source import RoiSource
    from defectkit.data.stored_image import StoredImage
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.verdicts import Judgment
    from defectkit.findings import Finding
    from defectkit.labels.scope import Scope

FINDING_COLUMNS = ("image_id", "verdict", "score", "class_id", "rle")
MAX_NAMES = 10
"""Max. number of files that a note names."""
MUCH_CLIPPED = 0.01
"""Shares of pixel values outside of the window that are told to the user, above this one."""
REGION_COLUMNS = ("image_id", "class_id", "x", "y", "width", "height", "area", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSummary:
    """The folder of the results, and the number of images with each verdict or unreadable.

    ``skipped`` is the number of other files in the folders, which are no images by their names.
    """

    out: Path
    good: int
    review: int
    defective: int
    unreadable: int
    skipped: int


def run(
    model: str | Path,
    *images: str | Path,
    out: str | Path = "inspection",
    roi: str | Path | None = None,
    device: Device = "auto",
    follow_links: bool = False,
    console: Console | None = None,
) -> InspectSummary:
    """Inspect new images of any size: verdicts, masks and overlays.

    Files that cannot be read are listed in errors.csv; the other files are inspected and the exit
    status is 1. A link that leads out of its folder counts as such a file and is not opened. Files
    of other kinds are skipped and counted; hidden files are not.

    Examples:
        defectkit inspect runs/segment-1 photos/
        defectkit inspect runs/segment-1/model part-17.png --out inspected

    Args:
        model: A run or its model/ folder.
        images: Image files, or folders of them.
        out: The folder to write.
        roi: The region to inspect: X,Y,W,H in pixels, a mask image (0 is outside), or a folder with
            a mask for each image; by default the one that the model was trained with.
        device: Where to compute; auto takes a GPU if there is one.
        follow_links: Follow links that lead out of the given folders.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images with each verdict, and of files that cannot be read.

    Raises:
        ModelError: The model cannot be loaded.
        ImageError: There is no image at all.
        OutputError: ``out`` cannot be written.
    """
    let_idle_threads_sleep()
    from defectkit.data.image_search import search_images
    from defectkit.deployment.bundle import TrainedModel

    console = console or SafeConsole()
    out = Path(out)
    trained = TrainedModel.load(model, device=device)
    given = [Path(image) for image in images]
    source = _open_roi(roi, trained, console)
    search = search_images(given, results=out, follow_links=follow_links)
    files = [file for file in search.files if not source or not source.has_mask(file.path)]
    source = source.among(Path(file.image_id) for file in files) if source else None
    _prepare_folder(out)
    tables = _Tables()
    try:
        for file in track(files, "inspecting", console=console, disable=not console.is_terminal):
            _inspect_image(file, trained, source, tables, out, console)
    finally:
        tables.write(out)  # Also when an inspection is interrupted.
    return _summarize(tables, search, out, console)


@dataclass
class _Tables:
    """The rows of ``findings.csv``, ``regions.csv`` and ``errors.csv``, and counts of verdicts.

    ``notes`` are those about how images were read, with the ids of these.
    """

    findings: list[tuple[object, ...]] = field(default_factory=list)
    regions: list[tuple[object, ...]] = field(default_factory=list)
    errors: list[tuple[object, ...]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self, image_id: str, judgment: "Judgment", finding: "Finding", classes: Sequence[str]
    ) -> None:
        """Add an image: a row per class found, or one with both last cells empty."""
        import numpy as np

        from defectkit.labels import rle

        self.counts[judgment.verdict] += 1
        head = (image_id, judgment.verdict, f"{finding.score:.9g}")
        mask = finding.mask
        best = finding.score_map[:, mask].argmax(axis=0)  # the class of each found pixel
        rows: list[tuple[object, ...]] = []
        for index in np.unique(best).tolist():
            of_class = np.zeros_like(mask)
            of_class[mask] = best == index
            rows.append((*head, classes[index], rle.encode(of_class)))
        self.findings += rows or [(*head, None, None)]
        self.regions += [
            (image_id, region.class_id, *region.box_xywh, region.area, f"{region.score:.6f}")
            for region in finding.regions
        ]

    def write(self, out: Path) -> None:
        """Write the three files."""
        write_csv(out / "findings.csv", FINDING_COLUMNS, self.findings)
        write_csv(out / "regions.csv", REGION_COLUMNS, self.regions)
        write_csv(out / "errors.csv", ("image_id", "error"), self.errors)


def _read(path: Path, model: "TrainedModel") -> "tuple[Image, list[str]]":
    """Read an image as the model's training images were read; and what is to be said of it.

    Raises:
        ImageError: it cannot be read, or the model was trained on others.
    """
    from defectkit.data.image_pages import decode_stored
    from defectkit.data.images import describe_shapes, read_image_bytes, takes_shape

    pixels, name = model.pixels, str(path)
    stored = decode_stored(read_image_bytes(path), name=name, pages=pixels.pages)
    image = pixels.to_8_bits(stored.values, name=name)
    channels = model.approach.channels
    if not takes_shape(image.shape, channels):
        raise ImageError(
            f"{name} has the shape {image.shape}, but the model takes "
            f"{describe_shapes(channels)}, as the images that it was trained on."
        )
    return image, _notes(stored, pixels)


def _notes(stored: "StoredImage", pixels: "PixelFormat") -> list[str]:
    """Return what the user should know of how an image was read."""
    import numpy as np

    notes = []
    if "several pages" in stored.notes:
        notes.append("several pages or frames; the first was inspected")
    if "planes first" in stored.notes:
        notes.append("read as (channels, height, width)")
    if pixels.window and stored.values.dtype == np.uint8:
        notes.append("8 bits, read as they are; the model was trained on images of more")
    if pixels.window and pixels.clipped_share(stored.values) > MUCH_CLIPPED:
        low, high = pixels.window
        notes.append(
            f"more than {MUCH_CLIPPED:.0%} of the pixel values lie outside of the model's window, "
            f"{low:g} to {high:g}, and became black or white"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _prepare_folder(out: Path) -> None:
    from defectkit.reporting.drawing.overlay_files import remove_overlays

    ensure_writable(out)
    # Only overlays of an earlier inspection are removed: other pictures may be the user's.
    if (out / "findings.csv").exists():
        remove_overlays(out / "overlays")


def _inspect_image(
    file: "ImageFile",
    model: "TrainedModel",
    roi: "RoiSource | None",
    tables: _Tables,
    out: Path,
    console: Console,
) -> None:
    """Add an image to the tables and write its overlay; a file that cannot be read is listed."""
    from defectkit.evaluation.verdicts import judge
    from defectkit.reporting.drawing.overlay import overlay_name
    from defectkit.reporting.drawing.overlay_files import write_overlay

    try:
        if file.problem:
            raise ImageError(file.problem)
        image, notes = _read(file.path, model)
    except ImageError as error:
        tables.errors.append((file.image_id, str(error)))
        console.print(f"[red]unreadable:[/] {escape(str(error))}", highlight=False)
        return
    try:
        size = image.shape[:2]
        scope = _scope(file, size, roi) if roi else model.scope_for(size)
    except (ImageError, LabelError) as error:
        tables.errors.append((file.image_id, str(error)))
        told = escape(f"{file.path}: {error}")
        console.print(f"[red]not inspected:[/] {told}", highlight=False)
        return
    for note in notes:
        tables.notes.setdefault(note, []).append(file.image_id)
    finding = model.find(image, scope)
    judgment = judge(finding.score, model.thresholds)
    tables.add(file.image_id, judgment, finding, model.approach.classes)
    path = out / "overlays" / overlay_name(file.image_id)
    shown = model.pixels.show(image)
    write_overlay(path, shown, finding, judgment, image_id=file.image_id, scope=scope)


def _open_roi(
    roi: str | Path | None, model: "TrainedModel", console: Console
) -> "RoiSource | None":
    """Return what ``--roi`` names; without it, say where the model has no region of its own."""
    from defectkit.data.roi_source import open_roi
    from defectkit.deployment.bundle import ROI_BY_IMAGE

    if roi is None and model.info.get("roi") == ROI_BY_IMAGE:
        console.print(
            "Warning: the model was trained with a region to inspect of each image. Without --roi "
            "whole images are inspected.",
            style="yellow",
        )
    return None if roi is None else open_roi(str(roi))


def _scope(file: "ImageFile", size: "ImageSize", roi: "RoiSource") -> "Scope":
    """Return the scope of an image of ``size``, from what ``--roi`` names."""
    from defectkit.data.roi_source import read_roi
    from defectkit.labels.scope import read_scope

    return read_scope(read_roi(roi.choose(Path(file.image_id)), size), "", size)


def _summarize(
    tables: _Tables, search: "ImageSearch", out: Path, console: Console
) -> InspectSummary:
    counts, unreadable = tables.counts, len(tables.errors)
    for note, ids in tables.notes.items():
        console.print(f"[yellow]note:[/] {escape(_some(ids))}: {note}", highlight=False)
    console.print(
        f"{counts['defective']} defective, {counts['review']} to review, {counts['good']} good, "
        f"{unreadable} unreadable; "
        f"overlays in {out / 'overlays'}, masks in {out / 'findings.csv'}"
        + (f"; {search.describe_skipped()}" if search.skipped else ""),
        markup=False,
        soft_wrap=True,
    )
    return InspectSummary(
        out=out,
        good=counts["good"],
        review=counts["review"],
        defective=counts["defective"],
        unreadable=unreadable,
        skipped=len(search.skipped),
    )
