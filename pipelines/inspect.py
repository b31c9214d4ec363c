"""``defectkit inspect``: a trained model on new images."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from defectkit.devices import let_idle_threads_sleep
from defectkit.errors import ImageError
from defectkit.files import ensure_writable, write_csv
from defectkit.vocabulary import Device

if TYPE_CHECKING:
    from defectkit.arrays import Image
    from defectkit.evaluation.verdicts import Judgment
    from defectkit.findings import Finding

FINDINGS = ("image_id", "verdict", "score", "class_id", "rle")
REGIONS = ("image_id", "class_id", "x", "y", "width", "height", "area", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSummary:
    """Where the results are, how many images got which verdict, how many could not be read."""

    out: Path
    good: int
    review: int
    defective: int
    unreadable: int


def run(
    model: str | Path,
    *images: str | Path,
    out: str | Path = "inspection",
    device: Device = "auto",
    console: Console | None = None,
) -> InspectSummary:
    """Inspect new images of any size: verdicts, masks and overlays.

    Files that cannot be read are listed in errors.csv; the other files are inspected and the exit
    status is 1. A link that leads out of its folder counts as such a file and is not opened.

    Examples:
        defectkit inspect runs/segment-1 photos/
        defectkit inspect runs/segment-1/model part-17.png --out inspected

    Args:
        model: A run or its model/ folder.
        images: Image files, or folders of them.
        out: The folder to write.
        device: Where to compute; auto takes a GPU if there is one.
        console: Where to report; by default the standard error stream.

    Returns:
        Number of images with each verdict, and of files that cannot be read.

    Raises:
        ModelError: The model cannot be loaded.
        ImageError: There is no image at all.
        OutputError: ``out`` cannot be written.
    """
    let_idle_threads_sleep()
    from defectkit.data.images import IMAGE_SUFFIXES, write_png
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.evaluation.verdicts import judge
    from defectkit.reporting.drawing.overlay import draw_overlay, overlay_name

    console = console or Console(stderr=True)
    out = Path(out)
    trained = TrainedModel.load(model, device=device)
    files = _files([Path(image) for image in images], overlays=out / "overlays")
    if not files:
        raise ImageError(
            f"no image in {', '.join(map(str, images))}. Known kinds: {', '.join(IMAGE_SUFFIXES)}."
        )
    ensure_writable(out)
    if (out / "findings.csv").exists():  # of an earlier inspection: what it drew goes too
        for old in (out / "overlays").glob("*.png"):
            old.unlink()
    tables = _Tables()
    try:
        for image_id, path, folder in track(
            files, "inspecting", console=console, disable=not console.is_terminal
        ):
            try:
                image = _read(path, folder)
            except ImageError as error:
                tables.errors.append((image_id, str(error)))
                console.print(f"[red]unreadable:[/] {escape(str(error))}", highlight=False)
                continue
            finding = trained.find(image)
            judgment = judge(finding.score, trained.thresholds)
            tables.add(image_id, judgment, finding, trained.approach.classes)
            picture = draw_overlay(image, finding, judgment, image_id=image_id)
            write_png(out / "overlays" / overlay_name(image_id), picture, compress_level=1)
    finally:
        tables.write(out)  # also of an inspection that is interrupted
    counts = tables.counts
    console.print(
        f"{counts['defective']} defective, {counts['review']} to review, {counts['good']} good, "
        f"{len(tables.errors)} unreadable; "
        f"overlays in {out / 'overlays'}, masks in {out / 'findings.csv'}",
        markup=False,
        soft_wrap=True,
    )
    return InspectSummary(
        out=out,
        good=counts["good"],
        review=counts["review"],
        defective=counts["defective"],
        unreadable=len(tables.errors),
    )


class _Tables:
    """The rows of ``findings.csv``, ``regions.csv`` and ``errors.csv``."""

    def __init__(self) -> None:
        self.findings: list[tuple[object, ...]] = []
        self.regions: list[tuple[object, ...]] = []
        self.errors: list[tuple[object, ...]] = []
        self.counts: Counter[str] = Counter()

    def add(
        self, image_id: str, judgment: "Judgment", finding: "Finding", classes: Sequence[str]
    ) -> None:
        """Add an image: a row per class found, or one with both last cells empty."""
        import numpy as np

        from defectkit.labels import rle

        self.counts[judgment.verdict] += 1
        head = (image_id, judgment.verdict, f"{finding.score:.9g}")
        mask = finding.mask
        winner = np.where(mask, finding.score_map.argmax(axis=0), -1)
        layers = np.unique(winner[mask]).tolist()
        rows: list[tuple[object, ...]] = [
            (*head, classes[layer], rle.encode(winner == layer)) for layer in layers
        ]
        self.findings += rows or [(*head, None, None)]
        self.regions += [
            (image_id, region.class_id, *region.box_xywh, region.area, f"{region.score:.6f}")
            for region in finding.regions
        ]

    def write(self, out: Path) -> None:
        """Write the three files."""
        write_csv(out / "findings.csv", FINDINGS, self.findings)
        write_csv(out / "regions.csv", REGIONS, self.regions)
        write_csv(out / "errors.csv", ("image_id", "error"), self.errors)


def _read(path: Path, folder: Path | None) -> "Image":
    from defectkit.data.images import read_image

    if folder and not path.resolve().is_relative_to(folder.resolve()):
        raise ImageError(f"{path} is a link out of {folder}. Name the file itself to inspect it.")
    return read_image(path)


def _files(given: Sequence[Path], *, overlays: Path) -> list[tuple[str, Path, Path | None]]:
    """Return (image id, path, folder): files as they are, folders with all images below them.

    What an earlier inspection drew into ``overlays`` is no image to inspect.
    """
    from defectkit.data.images import IMAGE_SUFFIXES

    ids: dict[Path, str] = {}
    folders: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            for below in sorted(path.rglob("*")):
                drawn = below.resolve().is_relative_to(overlays.resolve())
                if below.suffix.lower() in IMAGE_SUFFIXES and below.is_file() and not drawn:
                    ids.setdefault(below, below.relative_to(path).as_posix())
                    folders.setdefault(below, path)
        else:
            ids.setdefault(path, path.name)
    times = Counter(ids.values())
    # Two files of one name are told apart by their whole paths.
    return [
        (name if times[name] == 1 else path.as_posix(), path, folders.get(path))
        for path, name in ids.items()
    ]
