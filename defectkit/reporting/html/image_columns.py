"""The images of a page as columns, and of each a line of details that is read when it is shown.

What the page sorts, filters and counts by is read at once, so it is short; regions and scores of
the pixels are most of the data and are needed of a few images only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from defectkit.reporting.html.page_data import page_json

COLUMNS = ("id", "group", "defective", "score", "width", "height", "picture", "overlay")


class ImageColumns(NamedTuple):
    """What a page has of its images.

    Attributes:
        columns: of each of ``COLUMNS``, and of ``classes`` and ``size``, a value for each image.
            ``group`` and ``classes`` are numbers in ``names``.
        details: a line of JSON for each image.
    """

    columns: dict[str, Any]
    details: Markup


def image_columns(entries: Sequence[Mapping[str, Any]], *, max_layers: int) -> ImageColumns:
    """Return the columns and the details.

    Args:
        entries: of each image ``COLUMNS``, its ``regions`` as ``page_region`` returns them, the
            number of ``more`` regions, and its ``scores``.
        max_layers: number of characters of the scores that may be taken in; of the images that come
            last the page has none.
    """
    columns: dict[str, Any] = {name: [one[name] for one in entries] for name in COLUMNS}
    columns["names"], columns["group"] = _number(columns["group"])
    own = [{one["class"] for one in entry["regions"] if one.get("class")} for entry in entries]
    names, numbers = _number(name for classes in own for name in sorted(classes))
    rest = iter(numbers)
    columns["classes"] = [[next(rest) for _ in classes] for classes in own]
    columns["class_names"] = names
    columns["size"] = [_size(entry["regions"]) for entry in entries]
    lines = []
    for entry in entries:
        layer = entry["scores"] if len(entry["scores"]) <= max_layers else ""
        max_layers -= len(layer)
        known = {"regions": entry["regions"], "more": entry["more"], "scores": layer}
        lines.append(page_json({name: value for name, value in known.items() if value}))
    return ImageColumns(columns, Markup("\n").join(lines))


def _number(names: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return the different names, and of each name its place among them."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(name, len(places)) for name in names]
    return list(places), numbers


def _size(regions: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the area of the largest true region in pixels, or of the largest at all."""
    areas = [one["area"] for one in regions if one["kind"] == "true"]
    return max(areas or [one["area"] for one in regions], default=None)
