"""``defectkit inspect``: a trained model on new images."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit.errors import ConfigError, shown
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import Device, InspectEngine, Overlays

if TYPE_CHECKING:
    from defectkit.data.roi_source import RoiSource
    from defectkit.reporting.inspection import Engine
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
    engine: InspectEngine = "process",
    address: str | None = None,
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

    With --engine ray the nodes of a Ray cluster do the work, each actor with a processor and, where
    there are some, a GPU. All nodes see model and images under the same paths. This process alone
    writes; what a lost node had is inspected again.

    Examples:
        defectkit inspect runs/segment-1 photos/
        defectkit inspect runs/segment-1/model part-17.png --out inspected
        defectkit inspect runs/segment-1 photos/ --resume
        defectkit inspect runs/segment-1 /data/photos --engine ray --address ray://head:10001
        seq 4 | xargs -P 4 -I{} defectkit inspect runs/segment-1 photos/ --shard {}/4

    Exit status:
        1: something was not inspected; `errors.csv` lists it.

    Args:
        model: A run, its model/ folder, or an exported model.
        images: Image files, or folders of them, also of an object store: s3://BUCKET/FOLDER, gs://
            or az://, with the credentials that its own tools use.
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
        engine: What inspects: this process, or the nodes of a Ray cluster.
        address: The Ray cluster: auto for that of this machine, HOST:PORT, or ray://HOST:PORT; by
            default that of this machine or of RAY_ADDRESS, else one that is started here.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images with each verdict, and of what was not inspected.

    Raises:
        ConfigError: No image and no folder is named, or what is to be continued is another
            inspection; there is no Ray cluster at the address, or its nodes differ.
        ModelError: The model cannot be loaded.
        ImageError: There is no image at all, or something that is given is missing.
        OutputError: ``out`` cannot be written, or has other results.
        WorkerError: The Ray cluster gives no actor, or loses them again and again.
    """
    # Long: the command's parameters are declared here alone, and imports that would slow down its
    # help stand here, too.
    from defectkit.shards import Shard

    if not images:
        raise ConfigError("there is no image to inspect. Name images or folders of them.")
    console, out = console or SafeConsole(), Path(out)
    part = None if shard is None else Shard.parse(shard)
    with _open_engine(engine, model, device, address, console) as opened:
        from defectkit.data.image_search import search_images
        from defectkit.reporting.inspection import Inspection, InspectionOptions
        from defectkit.reporting.inspection_folder import (
            end_inspection,
            files_of_shard,
            finished_inspection,
            open_inspection,
        )
        from defectkit.reporting.inspection_progress import describe_inspection

        source = _open_roi(roi, opened.info, console)
        search = search_images(
            images,
            follow_links=follow_links,
            is_mask=lambda path: bool(source and source.has_mask(path)),
        )
        source = source.among(Path(file.image_id) for file in search.files) if source else None
        same = describe_inspection(
            opened.described,
            search.files,
            roi=roi,
            first_page=first_page,
            all_regions=all_regions,
            drawn=overlays,
        )
        if part and resume and (done := finished_inspection(out, part, same, console)):
            return done
        files = files_of_shard(search.files, part)
        options = InspectionOptions(
            roi=source, drawn=overlays, first_page=first_page, all_regions=all_regions
        )
        with open_inspection(
            out,
            files,
            search,
            shard=part,
            same=same,
            drawn=overlays,
            sources=[*search.paths, *(source.files if source else ())],
            resume=resume,
            console=console,
        ) as tables:
            inspection = Inspection(engine=opened, options=options, tables=tables, console=console)
            inspection.inspect(files, ids={file.image_id for file in search.files})
    from defectkit.reporting.training_images import tell_training_images

    tell_training_images(console, model, files)
    return end_inspection(out, tables.progress, search, shard=part, drawn=overlays, console=console)


@contextmanager
def _open_engine(
    engine: InspectEngine,
    model: str | Path,
    device: Device,
    address: str | None,
    console: Console,
) -> "Iterator[Engine]":
    """Yield what inspects images, with the model.

    Raises:
        ConfigError: an address is given without a cluster.
    """
    if engine == "ray":
        from defectkit.reporting.ray_inspection import open_ray_engine

        with open_ray_engine(model, device=device, address=address, console=console) as opened:
            yield opened
        return
    if address is not None:
        raise ConfigError(
            f"--address {shown(address)} is that of a Ray cluster. Add --engine ray, or leave it "
            "out."
        )
    from defectkit.deployment.load_model import load_model

    loaded = load_model(model, device=device)
    # Not before: a graph is compiled meanwhile.
    from defectkit.reporting.inspector import Inspector

    yield Inspector(loaded)


def _open_roi(
    roi: str | Path | None, info: Mapping[str, Any], console: Console
) -> "RoiSource | None":
    """Return what ``--roi`` names; without it, say where the model has no region of its own."""
    from defectkit.data.roi_source import open_roi
    from defectkit.deployment.model_info import ROI_BY_IMAGE

    if roi is None and info.get("roi") == ROI_BY_IMAGE:
        console.print(
            "Warning: the model was trained with a region to inspect of each image. Without --roi "
            "whole images are inspected.",
            style="yellow",
        )
    return None if roi is None else open_roi(str(roi))
