"""``suspects.html``: the suspect labels as a work list, with pictures, on one offline page.

Each is accepted or dismissed there; the browser keeps the marks, and saves them as the CSV that
``prepare --relabel`` takes. The rows of that CSV are made here, so that no name is written by the
script.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from defectkit.evaluation.suspects import KIND_MEANINGS, Suspect
from defectkit.files import csv_text, sha256_bytes
from defectkit.labels.corrections import CORRECTION_COLUMNS
from defectkit.reporting.html.page_data import page_json
from defectkit.reporting.html.render import data_uri, render_page, thumbnail_jpeg
from defectkit.vocabulary import RelabelAction, Split, SuspectKind

ACTIONS: dict[SuspectKind, RelabelAction] = {
    "unlabeled": "ignore",
    "missed": "drop-label",
    "class": "set-class",
    "copies": "leave-out",
    "tiny": "drop-label",
    "flat": "drop-label",
}
"""What is done with a suspect that is accepted."""

OFFERS: dict[SuspectKind, tuple[str, str]] = {
    "unlabeled": ("Accept: leave this place out", "Dismiss: there is no defect"),
    "missed": ("Accept: remove this label", "Dismiss: the label is right"),
    "class": ("Accept: change the class to", "Dismiss: the class is right"),
    "copies": ("Accept: leave this image out", "Dismiss: its labels are right"),
    "tiny": ("Accept: remove this label", "Dismiss: the label is right"),
    "flat": ("Accept: remove this label", "Dismiss: the label is right"),
}
"""What the buttons say that accept and dismiss a suspect."""


class Entry(NamedTuple):
    """A suspect on the page: its place in the list, and what its two buttons say."""

    place: int
    suspect: Suspect
    accept: str
    dismiss: str


def suspects_page(
    entries: Sequence[tuple[Path, Split, Sequence[Suspect]]], *, title: str, total: int
) -> str:
    """Return the page.

    Args:
        entries: picture, split and suspects of each image to show, the highest suspicion first.
        title: the title of the page.
        total: number of images with suspect labels, shown or not.
    """
    listed = [one for _, _, own in entries for one in own]
    rows = [[csv_text([_row(one, action)]) for action in (ACTIONS[one.kind], "keep")]
            for one in listed]  # fmt: skip
    places = iter(range(len(listed)))
    return render_page(
        "suspects.html",
        styles=["controls.css", "suspects.css"],
        scripts=["elements.js", "suspects.js"],
        title=title,
        total=total,
        count=len(listed),
        meanings=KIND_MEANINGS,
        entries=[
            {
                "image_id": own[0].image_id,
                "split": split,
                "suspects": list(_entries(own, places)),
                "thumbnail": data_uri(thumbnail_jpeg(picture), "jpeg"),
                "link": f"pictures/{quote(picture.name)}",
            }
            for picture, split, own in entries
        ],
        data=page_json(
            {
                "key": sha256_bytes(repr(rows).encode("utf-8", "surrogatepass")),
                "head": csv_text([CORRECTION_COLUMNS]),
                "rows": rows,
            }
        ),
    )


def _entries(own: Sequence[Suspect], places: Iterator[int]) -> Iterator[Entry]:
    for one in own:
        accept, dismiss = OFFERS[one.kind]
        yield Entry(next(places), one, f"{accept} {one.found_class}".rstrip(), dismiss)


def _row(one: Suspect, action: RelabelAction) -> tuple[object, ...]:
    """Return the cells of ``CORRECTION_COLUMNS``."""
    box = one.box_xywh or (None, None, None, None)
    return (one.image_id, one.class_id, *box, action, one.found_class if action != "keep" else "")
