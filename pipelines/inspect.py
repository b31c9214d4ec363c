"""``defectkit inspect``: a trained model on new images."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import ConfigError
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import Device, Overlays

if TYPE_CHECKING:
    from defectkit.data.roi_source import RoiSource
    from defectkit.deployment.loaded_model import LoadedModel
    from defectkit.reporting.inspection_summary import InspectSummary


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
    resume: bool = False,
    shard: str | None = None,
    console: Console | None = None,
) -> "InspectSummary":
    """Inspect new images of any size: verdicts, masks and overlays.

    Everything in a folder is accounted for. What cannot be inspected is listed in errors.csv, with
    the reason, and the exit status is 1: damaged images, folders that cannot be listed, links that
    lead out of the folder or nowhere, files of unknown kinds. Documents such as .txt and .csv,
    hidden files, results of defectkit and masks of --roi are counted; what is named itself is
    inspected. Each page of a TIFF and each frame of a GIF, PNG, WebP or JPEG (MPO) is an image of
    its own. Regions and masks of good images are not listed, unless asked for.

    Rows are on disk as they come. Whatever ends an inspection, also kill -9, --resume continues it
    behind the last row; the result is that of one that was not interrupted.

    Several processes or machines share the work with --shard: each inspects its part of the images
    into OUT/shards, and 'defectkit merge OUT' makes of all parts what one process writes.

    Examples:
        defectkit inspect runs/segment-1 photos/
        defectkit inspect runs/segment-1/model part-17.png --out inspected
        defectkit inspect runs/segment-1 photos/ --resume
        seq 4 | xargs -P 4 -I{} defectkit inspect runs/segment-1 photos/ --shard {}/4

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
        resume: Continue an interrupted inspection in OUT, of the same images with the same model
            and options; where there is none, begin.
        shard: Inspect only a part of the images: 2/4 is the second of four parts.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images with each verdict, and of what was not inspected.

    Raises:
        ConfigError: No image and no folder is named, or what is to be continued is another
            inspection.
        ModelError: The model cannot be loaded.
        ImageError: There is no image at all, or something that is given is missing.
        OutputError: ``out`` cannot be written, or has other results.
    """
    # Long: the command's parameters are declared here alone, and imports that would slow down its
    # help stand here, too.
    from defectkit.data.image_search import search_images
    from defectkit.deployment.load_model import load_model
    from defectkit.reporting.inspection import Inspection
    from defectkit.reporting.inspection_folder import (
        end_inspection,
        files_of_shard,
        finished_inspection,
        open_inspection,
    )
    from defectkit.reporting.inspection_progress import describe_inspection
    from defectkit.shards import Shard

    if not images:
        raise ConfigError("there is no image to inspect. Name images or folders of them.")
    console, out = console or SafeConsole(), Path(out)
    part = None if shard is None else Shard.parse(shard)
    loaded = load_model(model, device=device)
    source = _open_roi(roi, loaded, console)
    search = search_images(
        images,
        follow_links=follow_links,
        is_mask=lambda path: bool(source and source.has_mask(path)),
    )
    source = source.among(Path(file.image_id) for file in search.files) if source else None
    same = describe_inspection(
        loaded,
        search.files,
        roi=roi,
        first_page=first_page,
        all_regions=all_regions,
        drawn=overlays,
    )
    if part and resume and (done := finished_inspection(out, part, same, console)):
        return done
    files = files_of_shard(search.files, part)
    with (
        open_inspection(
            out,
            files,
            search,
            shard=part,
            same=same,
            drawn=overlays,
            sources=[*(file.path for file in search.files), *(source.files if source else ())],
            resume=resume,
            console=console,
        ) as tables,
        loaded.own_settings(),
    ):
        inspection = Inspection(
            model=loaded,
            roi=source,
            tables=tables,
            drawn=overlays,
            first_page=first_page,
            all_regions=all_regions,
            console=console,
        )
        inspection.inspect(files, ids={file.image_id for file in search.files})
    return end_inspection(out, tables.progress, search, shard=part, drawn=overlays, console=console)


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
