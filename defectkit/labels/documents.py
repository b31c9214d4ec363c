"""JSON and XML files of unknown origin, read without harm: bounded, and nothing is expanded."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from defectkit.errors import LabelError
from defectkit.files import read_limited

MAX_BYTES = 2**30
"""Larger label files are refused: 1 GiB."""
MAX_XML_BYTES = 2**24
"""Larger XML files, of one image each, are refused: 16 MiB."""


def read_document(path: Path, *, most: int = MAX_BYTES) -> bytes:
    """Read a file of at most ``most`` bytes.

    Raises:
        LabelError: it cannot be read or is larger.
    """
    try:
        return read_limited(path, most)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelError(f"cannot read {path}: {reason}.") from error


def read_json_document(path: Path) -> dict[str, Any]:
    """Read the JSON object of a file.

    Raises:
        LabelError: the file cannot be read, is no JSON, or holds something else than an object.
    """
    content = read_document(path)
    try:
        document = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # Bad UTF-8 is a ValueError too.
        raise LabelError(f"{path} is no JSON that can be read ({error}).") from error
    if not isinstance(document, dict):
        raise LabelError(f"{path} holds no JSON object.")
    return document


def read_xml_document(path: Path) -> ET.Element:
    """Read an XML file; any DTD or entity of its own is refused.

    Raises:
        LabelError: the file cannot be read, is no XML, or declares a document type.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(read_document(path, most=MAX_XML_BYTES), True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise LabelError(f"{path} is no XML that can be read ({error}).") from error


def field(item: Any, key: str, *kinds: type) -> Any:
    """Return ``item[key]`` of a JSON object, if it is of one of ``kinds``.

    Raises:
        LabelError: ``item`` is no object, or lacks it.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise LabelError(f"{key!r} is missing or is not of the right kind")
    return value


def numbers(values: Any) -> tuple[float, ...]:
    """Return a JSON list of numbers.

    Raises:
        LabelError: it is something else.
    """
    if not isinstance(values, list) or not all(type(one) in (int, float) for one in values):
        raise LabelError("the coordinates are no list of numbers")
    return tuple(values)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError("it declares a document type, which label files do not need")
