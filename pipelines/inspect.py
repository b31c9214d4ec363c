"""``defectkit inspect``: a trained model on new images."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import Device, Overlays

if TYPE_CHECKING:
    from defectkit.data.image_search import ImageSearch
    from defectkit.data.roi_source import RoiSource
    from defectkit.deployment.loaded_model import LoadedModel
    from defectkit.reporting.inspection import Inspection

MAX_NAMES = 10
"""Max. number of files that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSummary:
    """The folder of the results, and the number of images with each verdict.

    ``unreadable`` is the number of rows of ``errors.csv``: what was not inspected, images and all
    else; ``skipped`` that of other files in the folders, which are no images.
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
    first_page: bool = False,
    all_regions: bool = False,
    overlays: Overlays = "flagged",
    console: Console | None = None,
) -> InspectSummary:
    """Inspect new images of any size: verdicts, masks and overlays.

    Everything in a folder is accounted for. What cannot be inspected is listed in errors.csv, with
    the reason, and the exit status is 1: damaged images, folders that cannot be listed, links that
    lead out of the folder or nowhere, files of unknown kinds. Documents such as .txt and .csv,
    hidden files, results of defectkit and masks of --roi are counted; what is named itself is
    inspected. Each page of a TIFF and each frame of a GIF, PNG, WebP or JPEG (MPO) is an image of
    its own. Rows are on disk as they come. Regions and masks of good images are not listed, unless
    asked for.

    Examples:
        defectkit inspect runs/segment-1 photos/
        defectkit inspect runs/segment-1/model part-17.png --out inspected

    Exit status:
        1: something was not inspected; `errors.csv` lists it.

    Args:
        model: A run, its model/ folder, or an exported model.
        images: Image files, or folders of them.
        out: The folder to write; an earlier inspection there is replaced.
        roi: The region to inspect: X,Y,W,H in pixels, a mask image (0 is outside), or a folder with
            a mask for each image; by default the one that the model was trained with.
        device: Where to compute; auto takes a GPU if there is one.
        follow_links: Follow links that lead out of the given folders.
        first_page: Inspect the first page or frame of each file alone.
        all_regions: List the regions of good images too.
        overlays: Which images to draw: flagged are those to review and defective ones.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images with each verdict, and of what was not inspected.

    Raises:
        ConfigError: No image and no folder is named.
        ModelError: The model cannot be loaded.
        ImageError: There is no image at all, or something that is given is missing.
        OutputError: ``out`` cannot be written, or has other results.
    """
    from defectkit.data.image_search import search_images
    from defectkit.deployment.load_model import load_model
    from defectkit.reporting.drawing.overlay import overlay_name
    from defectkit.reporting.inspection import Inspection
    from defectkit.reporting.inspection_tables import InspectionTables
    from defectkit.reporting.stopped import tell_if_stopped
    from defectkit.results_folder import write_results
    from defectkit.results_marker import UNFINISHED

    if not images:
        raise ConfigError("there is no image to inspect. Name images or folders of them.")
    console = console or SafeConsole()
    loaded = load_model(model, device=device)
    source = _open_roi(roi, loaded, console)
    search = search_images(
        images,
        follow_links=follow_links,
        is_mask=lambda path: bool(source and source.has_mask(path)),
    )
    files = search.files
    source = source.among(Path(file.image_id) for file in files) if source else None
    pictures = [f"overlays/{overlay_name(file.image_id)}" for file in files]
    names = ["regions.csv", "errors.csv", *(pictures if overlays != "none" else ())]
    had_rows = (Path(out) / UNFINISHED / "findings.csv").is_file()
    sources = [*(file.path for file in files), *(source.files if source else ())]
    with (
        write_results(
            out, kind="inspection", head="findings.csv", names=names, sources=sources
        ) as results,
        InspectionTables(results.folder) as tables,
        loaded.own_settings(),
    ):
        if had_rows:
            console.print("[yellow]note:[/] removed the rows that a stopped inspection had left")
        inspection = Inspection(
            model=loaded,
            roi=source,
            tables=tables,
            overlays=results.folder / "overlays",
            drawn=overlays,
            first_page=first_page,
            all_regions=all_regions,
            console=console,
        )
        with tell_if_stopped(console, results, "findings.csv"):
            inspection.inspect(files)
    return _summarize(inspection, search, results.out, console)


def _open_roi(roi: str | Path | None, model: "LoadedModel", console: Console) -> "RoiSource | None":
    """Return what ``--roi`` names; without it, say where the model has no region of its own."""
    from defectkit.data.roi_source import open_roi
    from defectkit.deployment.model_info import ROI_BY_IMAGE

    if roi is None and model.info.get("roi") == ROI_BY_IMAGE:
        console.print(
            "Warning: the model was trained with a region to inspect of each image. Without --roi "
            "whole images are inspected.",
            style="yellow",
        )
    return None if roi is None else open_roi(str(roi))


def _summarize(
    inspection: "Inspection", search: "ImageSearch", out: Path, console: Console
) -> InspectSummary:
    for note, ids in inspection.notes.items():
        console.print(f"[yellow]note:[/] {one_line(_some(ids))}: {note}", highlight=False)
    counts, n_errors = inspection.tables.verdicts, inspection.tables.n_errors
    listed = f" ({out / 'errors.csv'})" if n_errors else ""
    told = (
        f"{counts['defective']} defective, {counts['review']} to review, {counts['good']} good, "
        f"{n_errors} not inspected{listed}; "
        f"{_where_overlays_are(inspection.drawn, out)}masks in {out / 'findings.csv'}"
        + (f"; {search.describe_skipped()}" if search.skipped else "")
    )
    console.print(one_line(told), soft_wrap=True)
    return InspectSummary(
        out=out,
        good=counts["good"],
        review=counts["review"],
        defective=counts["defective"],
        unreadable=n_errors,
        skipped=search.skipped,
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
