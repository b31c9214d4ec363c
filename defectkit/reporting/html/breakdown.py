"""How an evaluation went by class and by group, as rows of tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from defectkit.evaluation.rates import counted_rate
from defectkit.reporting.metric_tables import format_value

MAX_GROUPS = 50
"""Number of groups that the table lists."""


class ClassRow(NamedTuple):
    """A class: its images and escapes, and its labeled regions with how many are found."""

    name: str
    images: int
    escapes: int
    regions: int
    found: str


class GroupRow(NamedTuple):
    """A group of images, with the numbers of its outcomes."""

    name: str
    images: int
    defective: int
    escapes: int
    overkills: int
    reviews: int


def by_class(regions: Sequence[Mapping[str, Any]], outcomes: Mapping[str, str]) -> list[ClassRow]:
    """Return the rows of the classes that are labeled, in the order of their names.

    Args:
        regions: rows of ``regions.csv``, with ``image_id``, ``kind``, ``class_id`` and ``found``.
        outcomes: the outcome of each image, by its id.
    """
    own: dict[str, list[Mapping[str, Any]]] = {}
    for region in regions:
        if region["kind"] == "true":
            own.setdefault(str(region["class_id"]), []).append(region)
    rows = []
    for name in sorted(own):
        ids = {region["image_id"] for region in own[name]}
        found = sum(bool(region["found"]) for region in own[name])
        rows.append(
            ClassRow(
                name=name,
                images=len(ids),
                escapes=sum(outcomes[image_id] == "escape" for image_id in ids),
                regions=len(own[name]),
                found=format_value(counted_rate(found, len(own[name]))),
            )
        )
    return rows


def by_group(images: Sequence[Mapping[str, Any]]) -> tuple[list[GroupRow], int]:
    """Return the rows of groups, those with most escapes first, and how many others there are.

    Of groups without an escape, an overkill or a review only the number is told, and there are at
    most 50 rows.

    Where each image is a group of its own, there is nothing to tell.

    Args:
        images: with ``group``, ``defective`` and ``outcome``.
    """
    own: dict[str, list[Mapping[str, Any]]] = {}
    for image in images:
        own.setdefault(image["group"], []).append(image)
    if len(own) == len(images) or len(own) < 2:
        return [], 0
    rows = []
    for name, members in own.items():
        outcomes = [image["outcome"] for image in members]
        rows.append(
            GroupRow(
                name=name,
                images=len(members),
                defective=sum(image["defective"] for image in members),
                escapes=outcomes.count("escape"),
                overkills=outcomes.count("overkill"),
                reviews=outcomes.count("review"),
            )
        )
    rows.sort(key=lambda row: (-row.escapes, -row.overkills, -row.reviews, -row.images, row.name))
    wrong = [row for row in rows if row.escapes or row.overkills or row.reviews][:MAX_GROUPS]
    return wrong, len(rows) - len(wrong)
