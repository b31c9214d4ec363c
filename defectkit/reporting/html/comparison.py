"""``comparison.html``: the comparison of several runs on one page that works offline."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image as Pillow

from defectkit.arrays import Image
from defectkit.evaluation.bootstrap import RESAMPLES
from defectkit.evaluation.comparison import COMPARED_METRICS
from defectkit.reporting.comparison_table import LINES, SECTIONS, Form, Row, cells_of, write
from defectkit.reporting.html.render import data_uri, encode_jpeg, render_page


class Gap(NamedTuple):
    """How far a run lies behind the best one in a metric, in words."""

    metric: str
    run: str
    best: str
    value: str
    interval: str
    counts: bool


def comparison_page(
    rows: Sequence[Row], picture: Image, *, title: str, images: int, notes: Sequence[str]
) -> str:
    """Return the page: the table, which differences count, and the picture.

    Args:
        rows: a row a run, as ``comparison.csv`` has them.
        picture: ``comparison.png``, (H, W, 3) RGB uint8.
        title: the headline.
        images: how many images the runs were judged on.
        notes: what the reader must know before comparing.
    """
    return render_page(
        "comparison.html",
        title=title,
        headline=_headline(rows, images),
        notes=notes,
        runs=[row["run"] for row in rows],
        sections=[
            (name, [(line.name, line.meaning, cells_of(line, rows)) for line in lines])
            for name, lines in SECTIONS.items()
        ],
        gaps=[gap for key in COMPARED_METRICS for gap in _gaps(key, rows)],
        resamples=f"{RESAMPLES:,}",
        picture=data_uri(encode_jpeg(Pillow.fromarray(picture)), "jpeg"),
    )


def _headline(rows: Sequence[Row], images: int) -> str:
    ranked = [row for row in rows if row["image_ap"] is not None]
    if len(ranked) < 2:
        return f"EvaluationResult on {images} images."
    best = max(ranked, key=lambda row: float(row["image_ap"]))
    behind = [str(row["run"]) for row in rows if row["image_ap_differs"]]
    others = (
        f"{_listed(behind)} {'falls' if len(behind) == 1 else 'fall'} behind by more than chance."
        if behind
        else "no other falls behind by more than chance."
    )
    return (
        f"Of {len(rows)} runs, judged on the same {images} images, {best['run']} ranks the images "
        f"best (average precision {best['image_ap']:.3f}); {others}"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _gaps(key: str, rows: Sequence[Row]) -> list[Gap]:
    line = LINES[key]
    known = [row for row in rows if row[key] is not None]
    best = max(known, key=lambda row: line.better * float(row[key]), default=None)
    behind = [row for row in known if row[f"{key}_to_best"] is not None]
    return [
        Gap(
            metric=line.name,
            run=row["run"],
            best=best["run"] if best else "",
            value=_signed(row[f"{key}_to_best"], line.form),
            interval=" to ".join(
                _signed(row[f"{key}_to_best_{end}"], line.form) for end in ("low", "high")
            ),
            counts=row[f"{key}_differs"],
        )
        for row in behind
    ]


def _signed(value: Any, form: Form) -> str:
    text = write(abs(value), form).replace(" %", " points")
    return f"{'-' if value < 0 else '+'}{text}"
