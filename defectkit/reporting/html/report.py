"""``report.html``: the evaluation of a run on one page that works offline.

What a person reads is in the page as it is written; its scripts draw the charts, let the thresholds
be moved and show the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defectkit.evaluation.region_matching import ClassConfusion
from defectkit.evaluation.reliability import reliability_bins
from defectkit.files import read_limited, write_text
from defectkit.reporting.confusion_table import confusion_rows, describe_mixups
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.evaluation_summary import describe_detection
from defectkit.reporting.html.answer import answer, figures
from defectkit.reporting.html.breakdown import by_class, by_group
from defectkit.reporting.html.image_columns import image_columns
from defectkit.reporting.html.page_data import page_json
from defectkit.reporting.html.page_images import PICTURES, PageImage, remove_pictures, take_in
from defectkit.reporting.html.render import data_uri, render_page
from defectkit.reporting.metric_tables import format_value, metric_tables

SCRIPTS = (
    *("rates.js", "elements.js", "stage.js", "page.js", "charts.js", "reliability.js"),
    *("thresholds.js", "viewer.js", "swipe.js", "gallery.js"),
)
STYLES = ("marks.css", "report.css")

MAX_PAGE_BYTES = 40_000_000
"""Images that would make the page larger stay beside it."""

MAX_LAYER_BYTES = 16_000_000
"""Number of bytes of the scores of pixels that the page takes in."""

TRAINING_PICTURES = {
    "curves.png": "Losses and validation metrics after each epoch.",
    "progress.gif": "The same validation images after each epoch: image, truth and finding.",
}
"""Pictures of the run's folder, with what they show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """What a report says of the run that it is about.

    Attributes:
        title: the headline of the page.
        rule: what the thresholds were chosen by, as the model has it.
        command: how the run is evaluated, without options, as a shell takes it.
        facts: name to value, such as the approach.
        warnings: sentences.
        settings: texts to fold away, such as the configuration, by their titles.
        folder: the run's folder, for the pictures of its training; None if there is none.
        pixel_pitch: the side of a pixel in mm, if known.
    """

    title: str
    rule: str = ""
    command: str = "defectkit evaluate RUN"
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    pixel_pitch: float | None = None


def write_report(
    folder: Path,
    *,
    metrics: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    run: ReportedRun,
    regions: Sequence[Mapping[str, Any]] = (),
    page_images: Mapping[str, PageImage] | None = None,
    on_written: Callable[[], None] = lambda: None,
) -> Path:
    """Write ``folder/report.html`` from an evaluation's numbers and images; return its path.

    Args:
        folder: the evaluation's folder, with ``overlays/`` and ``report_pictures/``. The pictures
            that the page takes in are removed from there.
        metrics: the content of ``metrics.json``.
        images: a row per image, the most urgent first, with ``image_id``, ``defective``, ``score``,
            ``verdict``, ``outcome`` and, if known, ``group``; an optional ``overlay`` names the
            file in ``overlays/``, else it is ``overlay_name(image_id)``.
        run: what is evaluated.
        regions: a row per region, as in ``regions.csv``, with ``found`` as a bool.
        page_images: of each image, by its id, what ``write_page_image`` returned.
        on_written: called when the page is written, before pictures are removed.

    Raises:
        OutputError: the page cannot be written.
    """
    page_images = page_images or {}
    image = metrics["image"]
    confusion = metrics["class_confusion"] or ClassConfusion(classes=[], counts=[])
    entries = [_image_entry(folder, row, page_images.get(str(row["image_id"]))) for row in images]
    detection = (metrics.get("detection") or {}).get("by_area")
    shown = image_columns(entries, max_layers=MAX_LAYER_BYTES)
    data = page_json(_page_data(metrics, run, entries, shown.columns))
    training = _training_pictures(run.folder)
    groups, other_groups = by_group(entries)
    taken = len(data) + len(shown.details) + sum(len(uri) for uri, _ in training)
    names = [one["picture"] for one in entries if one["picture"]]
    pictures = take_in(folder, names, max_bytes=MAX_PAGE_BYTES - taken)
    page = render_page(
        "report.html",
        styles=STYLES,
        scripts=SCRIPTS,
        title=run.title,
        answer=answer(image, images, run.rule),
        figures=figures(image),
        mixups=describe_mixups(metrics["class_confusion"]),
        warnings=run.warnings,
        data=data,
        details=shown.details,
        pictures=pictures,
        beside=f"{PICTURES}/" if len(pictures) < len(names) else "",
        command=run.command,
        rule=run.rule,
        detection=describe_detection(detection, run.pixel_pitch) if detection else "",
        grouped=len(shown.columns["names"]) < len(entries),
        calibration_error=format_value(image.get("calibration_error")),
        by_class=by_class(regions, {str(row["image_id"]): row["outcome"] for row in images}),
        by_group=groups,
        other_groups=other_groups,
        sections=metric_tables(metrics),
        classes=confusion["classes"] if len(confusion["classes"]) > 1 else [],
        confusion=confusion_rows(confusion),
        training=training,
        facts={name.replace("_", " "): format_value(value) for name, value in run.facts.items()},
        settings=run.settings,
    )
    path = folder / "report.html"
    write_text(path, page)
    on_written()
    remove_pictures(folder, pictures)
    return path


def _page_data(
    metrics: Mapping[str, Any],
    run: ReportedRun,
    entries: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the scripts of the page know."""
    scores, defective, groups = (
        [one[name] for one in entries] for name in ("score", "defective", "group")
    )
    return {
        "low": metrics["image"]["threshold_low"],
        "high": metrics["image"]["threshold_high"],
        "command": run.command,
        "area": metrics["region"]["recall_by_area"],
        "detection": (metrics.get("detection") or {}).get("by_area"),
        "reliability": reliability_bins(scores, defective, groups),
        "images": columns,
    }


def _image_entry(folder: Path, row: Mapping[str, Any], image: PageImage | None) -> dict[str, Any]:
    """Return what the page knows of an image."""
    overlay = _overlay_path(folder, row)
    return {
        "id": str(row["image_id"]),
        "group": str(row.get("group", "")),
        "defective": int(str(row["defective"]).lower() in ("1", "true")),
        "score": float(row["score"]),
        "outcome": str(row["outcome"]),
        "width": image.width if image else 0,
        "height": image.height if image else 0,
        "picture": image.picture if image else "",
        "overlay": "" if overlay is None else overlay.name,
        "regions": image.regions if image else [],
        "more": image.left_out if image else 0,
        "scores": image.scores if image else "",
    }


def _overlay_path(folder: Path, row: Mapping[str, Any]) -> Path | None:
    """Return the overlay of an image, only if it lies in ``overlays/`` itself."""
    name = str(row.get("overlay") or overlay_name(str(row["image_id"])))
    path = folder / "overlays" / name
    return path if Path(name).name == name and path.is_file() else None


def _training_pictures(run: Path | None) -> list[tuple[str, str]]:
    if run is None:
        return []
    return [
        (data_uri(read_limited(run / name), Path(name).suffix[1:]), text)
        for name, text in TRAINING_PICTURES.items()
        if (run / name).is_file()
    ]
