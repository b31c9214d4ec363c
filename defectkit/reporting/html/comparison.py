"""``comparison.html``: the comparison of several runs on one page that works offline."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image as Pillow

from defectkit.arrays import Image
from defectkit.evaluation.comparison import COMPARED_METRICS, count_resamples
from defectkit.reporting.comparison_table import (
    LINES,
    SECTIONS,
    Form,
    Line,
    Row,
    format_cell,
    make_cells,
)
from defectkit.reporting.drawing.comparison import ComparedImage
from defectkit.reporting.html.compared_images import compared_images
from defectkit.reporting.html.page_data import page_json
from defectkit.reporting.html.render import data_uri, encode_jpeg, render_page

MAX_PAGE_BYTES = 40_000_000
"""Number of bytes of the images that are taken in; of the others there is the picture alone."""


class DifferenceRow(NamedTuple):
    """The difference of a run to the best one in a metric, as text."""

    metric: str
    run: str
    best: str
    value: str
    interval: str
    p_value: str
    significant: bool


def comparison_page(
    rows: Sequence[Row],
    picture: Image,
    *,
    title: str,
    images: int,
    groups: int,
    notes: Sequence[str],
    examples: Sequence[ComparedImage] = (),
) -> str:
    """Return the page: the table, the differences with their significance, and the picture.

    Args:
        rows: the rows of ``comparison.csv``, one per run.
        picture: ``comparison.png``, (H, W, 3) RGB uint8.
        title: the title of the page.
        images: number of images that the runs were evaluated on.
        groups: number of groups of these images.
        notes: warnings that the reader needs before comparing.
        examples: images with a finding of each run.
    """
    shown = list(compared_images(examples, max_bytes=MAX_PAGE_BYTES))
    return render_page(
        "comparison.html",
        styles=["controls.css", "marks.css", "compare.css"],
        scripts=["elements.js", "stage.js", "compare.js"],
        examples=bool(shown),
        data=page_json({"runs": [row["run"] for row in rows], "images": shown}),
        title=title,
        headline=_headline(rows, images),
        notes=notes,
        runs=[row["run"] for row in rows],
        sections=[
            (name, [(line.name, line.meaning, make_cells(line, rows)) for line in known])
            for name, lines in SECTIONS.items()
            if (known := [one for one in lines if one.form != "text" or _is_known(one, rows)])
        ],
        differences=[row for key in COMPARED_METRICS for row in _differences(key, rows)],
        resamples=f"{count_resamples(len(rows)):,}",
        groups=groups,
        picture=data_uri(encode_jpeg(Pillow.fromarray(picture)), "jpeg"),
    )


def _is_known(line: Line, rows: Sequence[Row]) -> bool:
    """Return whether there is anything to say: not how runs are exported, if none is."""
    return any(row[line.key] is not None for row in rows)


def _headline(rows: Sequence[Row], images: int) -> str:
    ranked = [row for row in rows if row["image_ap"] is not None]
    if len(ranked) < 2:
        return f"Evaluated on {images} images."
    best = max(ranked, key=lambda row: float(row["image_ap"]))
    behind = [str(row["run"]) for row in rows if row["image_ap_significant"]]
    others = (
        f"{_join_names(behind)} {'is' if len(behind) == 1 else 'are'} significantly worse."
        if behind
        else "no other run is significantly worse."
    )
    return (
        f"Of {len(rows)} runs, evaluated on the same {images} images, {best['run']} ranks the "
        f"images best (average precision {best['image_ap']:.3f}); {others}"
    )


def _join_names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _differences(key: str, rows: Sequence[Row]) -> list[DifferenceRow]:
    line = LINES[key]
    known = [row for row in rows if row[key] is not None]
    best = max(known, key=lambda row: line.better * float(row[key]), default=None)
    behind = [row for row in known if row[f"{key}_to_best"] is not None]
    return [
        DifferenceRow(
            metric=line.name,
            run=row["run"],
            best=best["run"] if best else "",
            value=_format_signed(row[f"{key}_to_best"], line.form),
            interval=" to ".join(
                _format_signed(row[f"{key}_to_best_{end}"], line.form) for end in ("low", "high")
            ),
            p_value=_format_p(row[f"{key}_to_best_p"]),
            significant=row[f"{key}_significant"],
        )
        for row in behind
    ]


def _format_p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _format_signed(value: Any, form: Form) -> str:
    text = format_cell(abs(value), form).replace(" %", " points")
    return f"{'-' if value < 0 else '+'}{text}"
