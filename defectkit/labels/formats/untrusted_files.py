"""Untrusted text, JSON and XML files: sizes are limited, and no XML entity is expanded."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from defectkit.arrays import ImageSize
from defectkit.errors import LabelError, shown
from defectkit.files import read_limited
from defectkit.labels.formats.text_encoding import Encodings

MAX_BYTES = 2**30
"""Larger label files are refused: 1 GiB."""
MAX_MASK_PIXELS = 2**28
"""Masks in label files that have more pixels are refused, as images are."""
MAX_XML_BYTES = 2**24
"""Larger XML files, of one image each, are refused: 16 MiB."""
XML_ENCODING = re.compile(
    rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{1,40})["']"""
)
XML_ENCODINGS = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "windows-1252"), "cp1252"),
    **dict.fromkeys(("shift_jis", "shift-jis", "windows-31j"), "cp932"),
    "windows-1250": "cp1250",
    "windows-1251": "cp1251",
    "big5": "big5",
    "euc-kr": "euc_kr",
    "euc-jp": "euc_jp",
    "iso-8859-15": "iso8859_15",
}
"""The encodings that an XML file may declare, apart from Unicode's, and what Python calls them."""


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


def read_text(path: Path, encodings: Encodings, *, max_bytes: int = MAX_BYTES) -> str:
    """Read a text file of at most ``max_bytes`` bytes.

    Raises:
        LabelError: it cannot be read, is larger, or is no text.
    """
    return encodings.decode(read_limited_bytes(path, max_bytes=max_bytes), str(path))


def read_json(path: Path, encodings: Encodings | None = None) -> dict[str, Any]:
    """Read the JSON object of a file.

    Raises:
        LabelError: the file cannot be read, is not JSON, or has something else than an object.
    """
    document = read_json_value(path, encodings)
    if not isinstance(document, dict):
        raise LabelError(f"{path} has no JSON object: it is of no known format.")
    return document


def read_json_value(path: Path, encodings: Encodings | None = None) -> Any:
    """Read the JSON of a file; NaN and infinity, which JSON does not have, are numbers too.

    Raises:
        LabelError: the file cannot be read, is not JSON, or has a key twice: one would be lost.
    """
    text = read_text(path, encodings or Encodings())
    try:
        return json.loads(text, strict=False, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path} is not readable JSON ({error}).") from error


def read_xml(
    path: Path, encodings: Encodings | None = None, *, max_bytes: int = MAX_XML_BYTES
) -> ET.Element:
    """Read an XML file; one with a DTD or an entity of its own is refused.

    Raises:
        LabelError: the file cannot be read, is not XML, or declares a document type.
    """
    content = read_limited_bytes(path, max_bytes=max_bytes)
    said = XML_ENCODING.match(content)
    name = said[1].decode().lower() if said else ""
    text = (encodings or Encodings()).decode(
        content, str(path), declared=XML_ENCODINGS.get(name, "")
    )
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate("utf-8")  # Whatever the file says: the text is decoded already.
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text.encode(), True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise LabelError(f"{path} is not readable XML ({error}).") from error


def json_id(value: Any) -> str | None:
    """Return an id as text, so that 1, 1.0 and "1" are one; None where it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if type(value) in (int, str) else None


def image_size(height: Any, width: Any) -> ImageSize | None:
    """Return (height, width) as written in any way; None where they are not known."""
    sides = []
    for side in (height, width):
        try:
            number = float(side)
        except (TypeError, ValueError, OverflowError):
            return None
        if not (number >= 1 and number.is_integer()) or isinstance(side, bool):
            return None
        sides.append(int(number))
    return sides[0], sides[1]


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
    """Return a JSON list of finite numbers.

    Raises:
        LabelError: it is something else.
    """
    if not isinstance(values, list) or not all(
        type(one) in (int, float) and abs(one) <= sys.float_info.max for one in values
    ):
        raise LabelError("the coordinates are not a list of numbers")
    return tuple(values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(repeated)} is repeated; remove one of them")
    return content


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError("it declares a document type, which label files do not need")
