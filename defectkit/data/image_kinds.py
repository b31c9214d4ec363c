"""The kinds of image files, one list for all commands, and their limits; opening by Pillow."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image as Pillow
from PIL import ImageFile, UnidentifiedImageError

from defectkit.errors import ImageError
from defectkit.process_settings import attribute, setting, shared

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".pgm", ".ppm", ".pnm", ".pbm", ".jp2", ".gif", ".npy"),
)
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "GIF")
"""The formats that are decoded, whatever the file's name. Pillow's others may run Ghostscript."""

MAX_PIXELS = 2**28
"""Max. number of pixels of an image, 268 million; checked in the header."""

MAX_BYTES = 2**31
"""Max. size of an image file: that of the largest image, uncompressed."""

MAX_TEXT = 1000
LINK = re.compile(rb"[\x20-\x7e\x80-\xff]*[/\\][\x20-\x7e\x80-\xff]+\.\w{2,4}\s*")
"""What Git writes in place of a symbolic link where the system has none: its target."""

MAX_CHANNELS = 16
"""Max. number of channels of an image."""


NO_DATA = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "lost+found"),
        *("$recycle.bin", "system volume information"),
    }
)
"""What systems leave in folders, in lower case; hidden files are no data either, nor are the locks
of open office files (``~$labels.csv``)."""


def is_data(name: str) -> bool:
    """Return whether a file or folder of this name may be data, and not of the system."""
    return not name.startswith((".", "~$")) and name.casefold() not in NO_DATA


@shared
@contextmanager
def strict_pillow() -> Iterator[None]:
    """Let Pillow open and decode files by our rules: our limit of pixels, and whole files alone."""
    with (
        setting(attribute(Pillow, "MAX_IMAGE_PIXELS"), None),
        setting(attribute(ImageFile, "LOAD_TRUNCATED_IMAGES"), False),
    ):
        yield


def open_image(file: BinaryIO, name: str) -> Pillow.Image:
    """Open an image by Pillow; no pixel is decoded yet. Decode it in ``strict_pillow``.

    Raises:
        ImageError: it is none that Pillow knows, or it is too large.
    """
    try:
        with strict_pillow():
            image = Pillow.open(file, formats=PILLOW_FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{name}: {_why_no_image(file)}.") from error
    try:
        check_size(*image.size[::-1], name=name)
    except ImageError:
        image.close()
        raise
    return image


def check_size(height: int, width: int, *, name: str) -> None:
    """Check that an image is not too large.

    Raises:
        ImageError: it is.
    """
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}. "
            "Cut the image into parts."
        )


def _why_no_image(file: BinaryIO) -> str:
    """Return what a file is instead of an image, where that can be told by its start."""
    file.seek(0)
    start = file.read(MAX_TEXT)
    if start.startswith(b"version https://git-lfs"):
        return "not an image, but a pointer of Git LFS. Fetch the image with 'git lfs pull'"
    if LINK.fullmatch(start):
        text = start.decode(errors="replace").strip()
        return (
            f"not an image, but a text with the path {text}: a link that was copied as a text. "
            "Copy the image itself"
        )
    if start.lstrip()[:1] == b"<":
        return "not an image, but a page of the web or other XML"
    known = ", ".join(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES)
    return f"not an image that can be read ({known})" if start else "the file is empty"
