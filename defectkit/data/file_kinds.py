"""What a file beside images is, by its first bytes and then by its name."""

import io
import sys
from pathlib import Path
from typing import BinaryIO

from defectkit.data.array_files import NPY_MAGIC, TIFF_MAGICS
from defectkit.data.image_kinds import open_image
from defectkit.errors import ImageError
from defectkit.files import open_limited
from defectkit.object_stores import StoredObject

IMAGE_STARTS = (
    *(NPY_MAGIC, *TIFF_MAGICS, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"),
    *(b"\x00\x00\x00\x0cjP", b"\xff\x4f\xff\x51"),
)
"""How files of images begin."""
SHORT_STARTS = (b"BM", *(b"P%d" % number for number in range(1, 7)), b"RIFF")
"""How files of images and others begin."""

STORED_START = 65536
"""Number of bytes of an object of a store by which it is told what it is."""

DOCUMENT_SUFFIXES = frozenset(
    {
        *(".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".log", ".htm", ".html"),
        *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".xml", ".xmp", ".yaml"),
        *(".yml", ".toml", ".ini", ".cfg", ".conf", ".md5", ".sha1", ".sha256", ".ppt", ".pptx"),
        *(".py", ".ipynb", ".sh", ".bat", ".ps1", ".names", ".url", ".safetensors", ".css", ".js"),
    }
)
"""The kinds of files, in lower case, that accompany images and are none."""
DOCUMENT_NAMES = frozenset({"readme", "license", "licence", "notice", "authors", "makefile"})
"""The names of such files without a suffix, in lower case."""


def is_document(name: str) -> bool:
    """Return whether a file that is no image is of a kind that accompanies images, by its name."""
    path = Path(name.casefold())
    return path.suffix in DOCUMENT_SUFFIXES or path.name in DOCUMENT_NAMES


def has_image(path: Path | StoredObject) -> bool:
    """Return whether a file begins as an image of a kind that is read, whatever its name.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if isinstance(path, StoredObject):
        opened: BinaryIO = io.BytesIO(path.read_start(STORED_START))
    else:
        opened = open_limited(path, sys.maxsize)
    with opened as file:
        start = file.read(16)
        if not start.startswith(SHORT_STARTS):
            return start.startswith(IMAGE_STARTS)
        file.seek(0)
        try:
            open_image(file, path.name).close()
        except ImageError:
            return False
        return True
