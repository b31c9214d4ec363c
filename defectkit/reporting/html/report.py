"""``report.html``: the evaluation on one page that works offline and asks nobody anything.

The page holds no script, loads nothing (a content security policy says so as well), and every text
that comes from data is escaped: an image may be called ``<script>``.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from PIL import Image as Pillow

from defectkit.data.images import read_image
from defectkit.errors import ImageError
from defectkit.files import write_text
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.metric_tables import metric_tables, show, show_percent, show_rate

TEMPLATES = Path(__file__).with_name("templates")

PLOTS = {
    "scores.png": "Scores of all images, and what every threshold would let through or throw away.",
    "region_recall.png": "How many true defects were found, by their size.",
}
"""Plots that are shown if they lie in the folder, with what they show."""

GROUPS = {
    "escape": ("Escapes", "Defective images that were called good, the most hidden first."),
    "overkill": ("Overkills", "Good images that were called defective, the highest score first."),
    "review": ("For review", "Images between the thresholds, the highest score first."),
    "rest": ("Right, but near the threshold", "Hits and passes, the closest calls first."),
}
MAX_REST = 24
MAX_PICTURE_BYTES = 9_000_000
"""Pictures beyond this total are linked only: as text they take a third more."""

THUMBNAIL_WIDTH = 760


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
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
        metrics: what ``metrics.json`` holds.
        images: a row per image with ``image_id``, ``defective``, ``score``, ``verdict`` and
            ``outcome``; an optional ``overlay`` names the file in ``overlays/``, else it is
            ``overlay_name(image_id)``.
        title: the page's headline.
        run_info: what to say about the run, name to value; the list ``warnings`` goes to the top.

    Raises:
        OutputError: the page cannot be written.
    """
    page = render(
        "report.html",
        title=title,
        headline=_headline(metrics["image"]),
        cards=_cards(metrics),
        warnings=run_info.get("warnings") or (),
        sections=metric_tables(metrics),
        plots=[
            (data_uri((folder / name).read_bytes(), "png"), text)
            for name, text in PLOTS.items()
            if (folder / name).is_file()
        ],
        groups=_groups(folder, images, metrics["image"]),
        images=[_picture(row, thumbnail="", link="") for row in images],
        run_info={
            name.replace("_", " "): show(value)
            for name, value in run_info.items()
            if name != "warnings"
        },
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def render(template: str, **values: Any) -> str:
    """Return a page that loads nothing and runs nothing; all ``values`` are escaped."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        # The policy allows this very style sheet and nothing else, by its hash.
        style=Markup(style),  # noqa: S704 (our own file)
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **values,
    )


def _headline(image: Mapping[str, Any]) -> str:
    escapes, defective = image["escapes"], image["n_defective"]
    overkills, good = image["overkills"], image["n_good"]
    if not defective or not good:
        missing = "good" if defective else "defective"
        return f"This split has no {missing} image: it can show only a part of what counts."
    return (
        f"{_of(escapes, defective, 'defective')} called good, "
        f"{_of(overkills, good, 'good')} called defective."
    )


def _of(count: int, total: int, kind: str) -> str:
    were = "was" if count == 1 else "were"
    return f"{count or 'None'} of {total} {kind} images {were}"


def _cards(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (kind, name, large text, small text) of the numbers at the top."""
    image = metrics["image"]
    total = image["n_defective"] + image["n_good"]
    cards = [
        (
            "escape",
            "Escapes",
            f"{image['escapes']} of {image['n_defective']}",
            show_rate(image["escape_rate"]),
        ),
        (
            "overkill",
            "Overkills",
            f"{image['overkills']} of {image['n_good']}",
            show_rate(image["overkill_rate"]),
        ),
        (
            "review",
            "For review",
            f"{image['reviews']} of {total}",
            show_percent(image["reviews"] / total if total else None),
        ),
    ]
    if "region" in metrics:
        recall = metrics["region"]["recall"]
        cards.append(
            ("hit", "Regions found", f"{recall['found']} of {recall['total']}", show_rate(recall))
        )
    return cards


def _groups(
    folder: Path, images: Sequence[Mapping[str, Any]], image: Mapping[str, Any]
) -> list[tuple[str, str, int, list[Picture]]]:
    """Return (title, text, number of images, pictures) of each group that has images."""
    low, high = float(image["threshold_low"]), float(image["threshold_high"])
    members: dict[str, list[Mapping[str, Any]]] = {name: [] for name in GROUPS}
    for row in images:
        members.get(row["outcome"], members["rest"]).append(row)
    members["escape"].sort(key=lambda row: float(row["score"]))
    members["overkill"].sort(key=lambda row: -float(row["score"]))
    members["review"].sort(key=lambda row: -float(row["score"]))
    members["rest"].sort(key=lambda row: max(float(row["score"]) - high, low - float(row["score"])))
    counts = {name: len(rows) for name, rows in members.items()}
    del members["rest"][MAX_REST:]
    left = MAX_PICTURE_BYTES
    groups = []
    for name, (title, text) in GROUPS.items():
        pictures = []
        for row in members[name]:
            path = _overlay_path(folder, row)
            thumbnail = shrunk(path) if path is not None and left > 0 else b""
            left -= len(thumbnail)
            pictures.append(
                _picture(
                    row,
                    thumbnail=data_uri(thumbnail, "jpeg") if thumbnail else "",
                    link="" if path is None else "overlays/" + quote(path.name),
                )
            )
        if pictures:
            groups.append((title, text, counts[name], pictures))
    return groups


def _overlay_path(folder: Path, row: Mapping[str, Any]) -> Path | None:
    """Return the overlay of an image, only if it lies in ``overlays/`` itself."""
    name = str(row.get("overlay") or overlay_name(str(row["image_id"])))
    path = folder / "overlays" / name
    return path if Path(name).name == name and path.is_file() else None


def _picture(row: Mapping[str, Any], *, thumbnail: str, link: str) -> Picture:
    defective = str(row["defective"]).lower() in ("1", "true")
    return Picture(
        image_id=str(row["image_id"]),
        score=f"{float(row['score']):.3f}",
        truth="defective" if defective else "good",
        verdict=str(row["verdict"]),
        outcome=str(row["outcome"]),
        thumbnail=thumbnail,
        link=link,
    )


def shrunk(path: Path) -> bytes:
    """Return a small JPEG of an overlay; nothing of one that is larger than can be read."""
    try:
        picture = Pillow.fromarray(read_image(path))
    except ImageError:
        return b""
    picture.thumbnail((THUMBNAIL_WIDTH, 4 * THUMBNAIL_WIDTH), Pillow.Resampling.LANCZOS)
    return jpeg(picture)


def jpeg(picture: Pillow.Image) -> bytes:
    """Return a picture as JPEG in which thin colored lines stay colored."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return an image file of a kind (``png``, ``jpeg``) as the address of an image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
