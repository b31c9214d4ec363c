"""``report.html``: the evaluation of a run on one page that works offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from defectkit.evaluation.region_matching import ClassConfusion
from defectkit.files import read_limited, write_text
from defectkit.reporting.confusion_table import confusion_rows
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.html.render import data_uri, render_page, thumbnail_jpeg
from defectkit.reporting.metric_tables import (
    format_percent,
    format_rate,
    format_value,
    metric_tables,
)

PLOTS = {
    "scores.png": "Scores of all images, and the escape and overkill rates at each threshold.",
    "region_recall.png": "Fraction of the true regions that were found, by their area.",
}
"""Plots that are shown if they lie in the folder, with what they show."""

GALLERIES = {
    "escape": ("Escapes", "Defective images that were called good, the lowest score first."),
    "overkill": ("Overkills", "Good images that were called defective, the highest score first."),
    "review": ("For review", "Images between the thresholds, the highest score first."),
    "rest": (
        "Correct verdicts",
        "Defective images called defective and good images called good, those nearest to the "
        "threshold first.",
    ),
}
"""The galleries of overlays, with title and text; the names are outcomes, and ``rest``."""

MAX_REST = 24
MAX_PICTURE_BYTES = 9_000_000
"""Pictures beyond this total are linked only: as text they take a third more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One image in the report; ``thumbnail`` is a data URI or empty, ``link`` relative or empty."""

    image_id: str
    score: str
    truth: str
    verdict: str
    outcome: str
    thumbnail: str
    link: str


def write_report(
    folder: Path,
    *,
    metrics: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    title: str,
    run_info: Mapping[str, Any],
) -> Path:
    """Write ``folder/report.html`` from an evaluation's numbers and pictures; return its path.

    Args:
        folder: the evaluation's folder; ``overlays/``, ``scores.png`` and ``region_recall.png``
            are taken from it where they exist.
        metrics: the content of ``metrics.json``.
        images: a row per image with ``image_id``, ``defective``, ``score``, ``verdict`` and
            ``outcome``; an optional ``overlay`` names the file in ``overlays/``, else it is
            ``overlay_name(image_id)``.
        title: the page's headline.
        run_info: what to say about the run, name to value; the list ``warnings`` goes to the top.

    Raises:
        OutputError: the page cannot be written.
    """
    confusion = metrics["class_confusion"] or ClassConfusion(classes=[], counts=[])
    page = render_page(
        "report.html",
        title=title,
        headline=_headline(metrics["image"]),
        cards=_cards(metrics),
        warnings=run_info.get("warnings") or (),
        sections=metric_tables(metrics),
        classes=confusion["classes"] if len(confusion["classes"]) > 1 else [],
        confusion=confusion_rows(confusion),
        plots=[
            (data_uri(read_limited(folder / name), "png"), text)
            for name, text in PLOTS.items()
            if (folder / name).is_file()
        ],
        galleries=_galleries(folder, images, metrics["image"]),
        images=[_image_entry(row, thumbnail="", link="") for row in images],
        run_info={
            name.replace("_", " "): format_value(value)
            for name, value in run_info.items()
            if name != "warnings"
        },
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _headline(image: Mapping[str, Any]) -> str:
    n_defective, n_good = image["n_defective"], image["n_good"]
    if not n_defective:
        return "This split has no defective images, so it cannot show escapes."
    if not n_good:
        return "This split has no good images, so it cannot show overkills."
    escapes = _clause(image["escapes"], n_defective, "defective", "good")
    overkills = _clause(image["overkills"], n_good, "good", "defective")
    return f"{escapes[0].upper()}{escapes[1:]}, and {overkills}."


def _clause(count: int, total: int, truth: str, verdict: str) -> str:
    """Return how many images got a wrong verdict, as a clause that starts in lower case."""
    if total == 1:
        return f"the only {truth} image was {'' if count else 'not '}called {verdict}"
    were = "were" if count > 1 else "was"
    return f"{count or 'none'} of the {total} {truth} images {were} called {verdict}"


def _cards(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (kind, name, large text, small text) of the numbers at the top."""
    image = metrics["image"]
    total = image["n_defective"] + image["n_good"]
    cards = [
        (
            "escape",
            "Escapes",
            f"{image['escapes']} of {image['n_defective']}",
            format_rate(image["escape_rate"]),
        ),
        (
            "overkill",
            "Overkills",
            f"{image['overkills']} of {image['n_good']}",
            format_rate(image["overkill_rate"]),
        ),
        (
            "review",
            "For review",
            f"{image['reviews']} of {total}",
            format_percent(image["reviews"] / total if total else None),
        ),
    ]
    if "region" in metrics:
        recall = metrics["region"]["recall"]
        cards.append(
            ("hit", "Regions found", f"{recall['found']} of {recall['total']}", format_rate(recall))
        )
    return cards


def _galleries(
    folder: Path, images: Sequence[Mapping[str, Any]], image: Mapping[str, Any]
) -> list[tuple[str, str, int, list[ImageEntry]]]:
    """Return (title, text, number of images, pictures) of each gallery that has images."""
    low, high = float(image["threshold_low"]), float(image["threshold_high"])
    members: dict[str, list[Mapping[str, Any]]] = {name: [] for name in GALLERIES}
    for row in images:
        members.get(row["outcome"], members["rest"]).append(row)
    members["escape"].sort(key=lambda row: float(row["score"]))
    members["overkill"].sort(key=lambda row: -float(row["score"]))
    members["review"].sort(key=lambda row: -float(row["score"]))
    members["rest"].sort(key=lambda row: max(float(row["score"]) - high, low - float(row["score"])))
    counts = {name: len(rows) for name, rows in members.items()}
    del members["rest"][MAX_REST:]
    left = MAX_PICTURE_BYTES
    galleries = []
    for name, (title, text) in GALLERIES.items():
        pictures = []
        for row in members[name]:
            path = _overlay_path(folder, row)
            thumbnail = thumbnail_jpeg(path) if path is not None and left > 0 else b""
            left -= len(thumbnail)
            pictures.append(
                _image_entry(
                    row,
                    thumbnail=data_uri(thumbnail, "jpeg") if thumbnail else "",
                    link="" if path is None else "overlays/" + quote(path.name),
                )
            )
        if pictures:
            galleries.append((title, text, counts[name], pictures))
    return galleries


def _overlay_path(folder: Path, row: Mapping[str, Any]) -> Path | None:
    """Return the overlay of an image, only if it lies in ``overlays/`` itself."""
    name = str(row.get("overlay") or overlay_name(str(row["image_id"])))
    path = folder / "overlays" / name
    return path if Path(name).name == name and path.is_file() else None


def _image_entry(row: Mapping[str, Any], *, thumbnail: str, link: str) -> ImageEntry:
    defective = str(row["defective"]).lower() in ("1", "true")
    return ImageEntry(
        image_id=str(row["image_id"]),
        score=f"{float(row['score']):.3f}",
        truth="defective" if defective else "good",
        verdict=str(row["verdict"]),
        outcome=str(row["outcome"]),
        thumbnail=thumbnail,
        link=link,
    )
