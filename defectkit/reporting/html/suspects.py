"""``suspects.html``: the suspect labels as a work list, with pictures, on one offline page."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from defectkit.evaluation.suspects import KIND_MEANINGS, Suspect
from defectkit.reporting.html.render import data_uri, render_page, thumbnail_jpeg
from defectkit.vocabulary import Split


def suspects_page(
    entries: Sequence[tuple[Path, Split, Sequence[Suspect]]], *, title: str, total: int
) -> str:
    """Return the page.

    Args:
        entries: picture, split and suspects of each image to show, the highest suspicion first.
        title: the title of the page.
        total: number of images with suspect labels, shown or not.
    """
    return render_page(
        "suspects.html",
        title=title,
        total=total,
        meanings=KIND_MEANINGS,
        entries=[
            {
                "image_id": own[0].image_id,
                "split": split,
                "suspects": own,
                "thumbnail": data_uri(thumbnail_jpeg(picture), "jpeg"),
                "link": f"pictures/{quote(picture.name)}",
            }
            for picture, split, own in entries
        ],
    )
