"""Pascal VOC: an XML file for each image, with boxes."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError
from defectkit.labels.formats.shapes import box_of
from defectkit.labels.formats.table_builder import Annotation, ReadAnnotation, collect_annotations
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.labels.formats.untrusted_files import image_size, read_xml
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelTable

EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, files: Sequence[Path]) -> LabelTable:
    """Read the ``files`` of the folder ``path``; a file without objects is a good image's.

    The format counts pixels from 1, and ``xmax`` and ``ymax`` are within the box. Many tools write
    edges from 0 instead: so are all read where any edge is 0. The table's ``form`` says which.

    Raises:
        LabelError: there are no annotations.
    """
    encodings = Encodings()
    read = partial(_read_file, encodings=encodings)
    table = collect_annotations(path, files, read, encodings)
    boxes = [row.outline for row in table.rows if isinstance(row.outline, Box)]
    if any(0 in (box.left, box.top) for box in boxes):
        return table.build("Pascal VOC, edges from 0, since some are 0", files)
    table.shift_boxes(left=-1, top=-1)
    return table.build("Pascal VOC, pixels from 1, the last ones within the box", files)


def _read_file(
    file: Path, inner: Path, *, encodings: Encodings
) -> tuple[str, list[ReadAnnotation]]:
    root = read_xml(file, encodings)
    if root.tag != "annotation":
        raise LabelError(f"its root is {root.tag[:30]!r} instead of 'annotation'")
    name = PureWindowsPath((root.findtext("filename") or "").strip()).name or file.stem
    image_id = (inner / name).as_posix()
    size = image_size(root.findtext("size/height"), root.findtext("size/width"))
    return image_id, [
        partial(_read_object, image_id, item, size) for item in root.iterfind("object")
    ]


def _read_object(image_id: str, item: ET.Element, size: ImageSize | None) -> Annotation:
    if item.find("robndbox") is not None:
        raise LabelError("its box is turned (robndbox): draw a polygon in a tool that has them")
    left, top, right, bottom = (_number(item, f"bndbox/{edge}") for edge in EDGES)
    class_id = (item.findtext("name") or "").strip()
    return Annotation(image_id, class_id, box_of(left, top, right, bottom, size))


def _number(item: ET.Element, place: str) -> float:
    text = item.findtext(place) or ""
    try:
        return float(text)
    except ValueError as error:
        raise LabelError(f"its {place} {text[:30]!r} is not a number") from error
