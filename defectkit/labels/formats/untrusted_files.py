"""Untrusted JSON and XML files: sizes are limited, and no XML entity is expanded."""

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


def read_limited_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file of at most ``max_bytes`` bytes.

    Raises:
        LabelError: it cannot be read or is larger.
    """
    try:
        return read_limited(path, max_bytes)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelError(f"cannot read {path}: {reason}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object of a file.

    Raises:
        LabelError: the file cannot be read, is not JSON, or has something else than an object.
    """
    content = read_limited_bytes(path)
    try:
        document = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # Bad UTF-8 is a ValueError too.
        raise LabelError(f"{path} is not readable JSON ({error}).") from error
    if not isinstance(document, dict):
        raise LabelError(f"{path} has no JSON object.")
    return document


def read_xml(path: Path) -> ET.Element:
    """Read an XML file; one with a DTD or an entity of its own is refused.

    Raises:
        LabelError: the file cannot be read, is not XML, or declares a document type.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(read_limited_bytes(path, max_bytes=MAX_XML_BYTES), True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise LabelError(f"{path} is not readable XML ({error}).") from error


def json_field(item: Any, key: str, *kinds: type) -> Any:
    """Return ``item[key]`` of a JSON object, if it is of one of ``kinds``.

    Raises:
        LabelError: ``item`` is not an object, or has no such value.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise LabelError(f"{key!r} is missing or is not of the right kind")
    return value


def json_numbers(values: Any) -> tuple[float, ...]:
    """Return a JSON list of numbers.

    Raises:
        LabelError: it is something else.
    """
    if not isinstance(values, list) or not all(type(one) in (int, float) for one in values):
        raise LabelError("the coordinates are not a list of numbers")
    return tuple(values)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError("it declares a document type, which label files do not need")
