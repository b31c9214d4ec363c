"""Label Studio: its JSON and JSON-MIN, with polygons, rectangles, ellipses and brush masks."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.formats.brush_rle import decode_brush
from defectkit.labels.formats.shapes import ellipse, rectangle
from defectkit.labels.formats.table_builder import Annotation, TableBuilder
from defectkit.labels.formats.untrusted_files import (
    image_size,
    json_field,
    json_numbers,
    read_json_value,
)
from defectkit.labels.outlines import Box, Outline, Polygons, RleMask
from defectkit.labels.table import LabelTable, means_good

UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""
WITHOUT_PLACE = ("choices", "textarea", "rating", "taxonomy", "number", "datetime", "relation")
"""The kinds of results that are about the image as a whole."""
MINIMAL_KEYS = (
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"),
    *("agreement", "inner_id", "project", "file_upload", "updated_by", "history"),
)
"""What JSON-MIN says of a task itself, beside its data and its results."""


def is_label_studio(document: Any) -> bool:
    """Return whether a JSON document is one of Label Studio's: a list of tasks."""
    if not isinstance(document, list) or not document:
        return False
    first = document[0]
    if not isinstance(first, dict):
        return False
    minimal = {"annotator", "annotation_id"} <= first.keys()
    return "data" in first or minimal or any("original_width" in one for one in _lists(first))


def read_label_studio(path: Path) -> LabelTable:
    """Read a list of tasks; one whose annotation has no shapes is a good image's.

    Tasks that nobody annotated are left out, which the table's notes say.

    Raises:
        LabelError: it cannot be read, or is of another kind.
    """
    table = TableBuilder(path)
    document = read_json_value(path, table.encodings)
    if not is_label_studio(document):
        raise LabelError(f"{path} is not JSON of Label Studio: it is no list of tasks.")
    named = _labeled_images(document)
    waiting = 0
    for number, task in enumerate(document, start=1):
        image_id = ""
        try:
            link = _link(task, named)
            image_id = _image_id(link)
            table.enter(image_id, f"task {number} ({link[-100:]})")
            results, words = _results(task)
        except LabelError as error:
            table.refuse(image_id, "", str(error))
            continue
        if results is None:
            waiting += 1
            continue
        for result in results:
            table.add(image_id, "", partial(_read_result, image_id, result))
        if not results:
            table.add_unlabeled(image_id, words)
    if waiting:
        table.notes.append(f"{waiting} tasks that nobody has annotated yet are left out")
    return table.build("Label Studio JSON", [path])


def _link(task: Any, named: set[str]) -> str:
    """Return the link to the image of a task.

    Of several images, it is the one that all tasks' results are ``named`` to be of.

    Raises:
        LabelError: it has no image, or it is not clear which.
    """
    if not isinstance(task, dict):
        raise LabelError("a task is not an object")
    data = task["data"] if isinstance(task.get("data"), dict) else task
    links = {key: one for key, one in data.items() if isinstance(one, str) and _is_image(one)}
    if not links:
        raise LabelError("a task has no link to an image")
    if len(links) > 1:
        links = {key: link for key, link in links.items() if key in named}
        if len(links) != 1:
            raise LabelError("a task has several images, and it is not clear which is labeled")
    return next(iter(links.values()))


def _results(task: dict[str, Any]) -> tuple[list[Any] | None, list[str]]:
    """Return the results of a task that have a place, and the words about the whole image.

    The results are None where nobody annotated it.

    Raises:
        LabelError: it has several annotations, or in JSON-MIN a word as below.
    """
    if not isinstance(task.get("data"), dict):  # JSON-MIN
        results = [item for item in _lists(task) if "original_width" in item]
        if not results:
            _refuse_minimal_words(task)
        return results, []
    made = task.get("annotations", task.get("completions")) or []
    made = [one for one in made if isinstance(one, dict) and not one.get("was_cancelled")]
    final = [one for one in made if one.get("ground_truth")] or made
    if len(final) > 1:
        raise LabelError(
            f"its task has {len(final)} annotations. Delete all but one, or mark one as the ground "
            "truth"
        )
    if not final:
        return None, []
    results = json_field(final[0], "result", list)
    return list(_with_place(results)), [*_choices(results)]


def _refuse_minimal_words(task: dict[str, Any]) -> None:
    """Refuse an image without a shape if a word, a choice or data of the task, may call it bad.

    Raises:
        LabelError: with the word.
    """
    for key, value in task.items():
        words = [] if key in MINIMAL_KEYS else _words(value)
        if other := [word for word in words if not (_is_image(word) or means_good(word))]:
            raise LabelError(
                f"no shape says where a defect is, but {key[:40]!r} is {other[0][:60]!r}. If it is "
                "a choice, draw the defect or remove the choice; if not, export as JSON, which "
                "keeps choices and other data apart, instead of JSON-MIN"
            )


def _words(value: Any) -> list[str]:
    """Return the texts in a value, which may be lists and objects."""
    words, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            words.append(one)
        elif isinstance(one, list | dict):
            waiting += reversed([*one.values()] if isinstance(one, dict) else one)
    return words


def _labeled_images(document: list[Any]) -> set[str]:
    """Return the names that the results of all tasks give the data that they are about."""
    return {
        str(item.get("to_name"))
        for task in document
        if isinstance(task, dict)
        for made in task.get("annotations") or []
        if isinstance(made, dict) and isinstance(made.get("result"), list)
        for item in made["result"]
        if isinstance(item, dict)
    }


def _is_image(link: str) -> bool:
    return bool(
        re.search(r"\.(png|jpe?g|jfif|bmp|tiff?|webp|pgm|ppm|gif|jp2)(\?|#|&|$)", link, re.I)
    )


def _image_id(link: str) -> str:
    """Return the path in a link: of ``?d=`` for local files, otherwise of the link itself."""
    try:
        parts = urlsplit(link.replace("\\", "/"))
    except ValueError as error:
        raise LabelError(f"{link[:80]!r} is not a link ({error})") from error
    local = parse_qs(parts.query).get("d")
    path = PurePosixPath(local[0] if local else unquote(parts.path))
    if "upload" in path.parts[:-1]:
        return UPLOADED.sub("", path.name)
    return path.as_posix().lstrip("/")


def _lists(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in task.values():
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, dict))


def _with_place(results: list[Any]) -> Iterator[Any]:
    """Yield the results that are shapes; of those with one id, the one that has a label."""
    labeled = {
        item.get("id")
        for item in results
        if isinstance(item, dict) and _labels(item.get("value")) and item.get("id")
    }
    for item in results:
        if not isinstance(item, dict) or (
            item.get("type") not in WITHOUT_PLACE
            and (_labels(item.get("value")) or item.get("id") not in labeled)
        ):
            yield item


def _choices(results: list[Any]) -> Iterator[str]:
    for item in results:
        value = item.get("value") if isinstance(item, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        yield from map(str, choices if isinstance(choices, list) else [])


def _labels(value: Any) -> list[str]:
    """Return the labels of a shape: ``polygonlabels``, ``brushlabels``, ``labels`` ..."""
    if not isinstance(value, dict):
        return []
    for key, labels in value.items():
        if key.endswith("labels") and isinstance(labels, list):
            return [label for label in labels if isinstance(label, str)]
    return []


def _read_result(image_id: str, item: Any) -> Annotation:
    value: Any = item.get("value", item) if isinstance(item, dict) else None
    labels = _labels(value)
    if len(labels) != 1:
        raise LabelError(f"the shape has {len(labels)} labels instead of one")
    if item.get("image_rotation"):
        raise LabelError("its image was turned in Label Studio: turn the image's pixels instead")
    size = image_size(item.get("original_height"), item.get("original_width"))
    return Annotation(image_id, labels[0], _outline(value, size))


def _outline(value: dict[str, Any], size: ImageSize | None) -> Outline:
    """Return a shape, whose numbers are percents of the sides of the image."""
    if value.get("format") == "rle" or "rle" in value:
        if size is None:
            raise LabelError("the size of its image is missing")
        mask = decode_brush(json_field(value, "rle", list), size)
        return RleMask(rle.encode(mask), size)
    if "points" in value:
        points = [json_numbers(point) for point in json_field(value, "points", list)]
        if any(len(point) != 2 for point in points):
            raise LabelError("a point does not have two numbers")
        ring = tuple(number / 100 for point in points for number in point)
        return Polygons((ring,), size, relative=True)

    def numbers(*keys: str) -> tuple[float, ...]:
        return json_numbers([value.get(key) for key in keys])

    (angle,) = json_numbers([value.get("rotation") or 0])
    is_ellipse = "radiusX" in value
    if not is_ellipse and not angle:
        x, y, width, height = (one / 100 for one in numbers("x", "y", "width", "height"))
        return Box(x, y, x + width, y + height, size, relative=True)
    if size is None:
        raise LabelError("the size of its image is missing")
    scale = np.array(size[::-1] * 2) / 100
    if is_ellipse:
        x, y, radius_x, radius_y = numbers("x", "y", "radiusX", "radiusY") * scale
        return ellipse(x, y, radius_x, radius_y, size, angle)
    x, y, width, height = numbers("x", "y", "width", "height") * scale
    return rectangle(x, y, width, height, size, angle)
