"""Image files of one or several pages or frames, each an image of its own."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from PIL import Image as Pillow

from defectkit.data.array_files import (
    MAX_PAGES,
    StoredPixels,
    is_npy,
    is_tiff,
    read_npy,
    read_tiff,
    tiff_pages,
)
from defectkit.data.image_kinds import check_size, open_image, strict_pillow
from defectkit.data.stored_image import (
    StoredImage,
    check_pillow_bits,
    pillow_pixels,
    read_page,
    read_pages,
    tidy,
)
from defectkit.errors import ImageError
from defectkit.vocabulary import PagesOption

GIF_END = b";"
NEXT_FILE = {
    "JPEG": b"\xff\xd9\xff\xd8\xff",
    "PNG": b"IEND\xaeB`\x82\x89PNG",
    "PPM": b"P",
}
"""The end of a file and the start of another; of PPM, which has no end, the start alone."""

START_OF_SCAN = b"\xff\xda"
"""The marker of a JPEG before its pixels."""
MPO_ENTRIES = 0xB002
THUMBNAIL, UNDEFINED = "Large Thumbnail", "Undefined"
"""How the types of the images of a JPEG of several (MPO) begin that are no images of their own:
always, and where they have another size than the first, as the gain maps of phones."""


class ImagePages:
    """An image file, open to read the pages or frames that are images of their own.

    These are all but the smaller versions and masks of others that a TIFF or a JPEG may have.
    Where the pages of a TIFF are channels, there is one image of all.

    Raises:
        ImageError: it is not an image, or too large.
    """

    def __init__(self, content: bytes, *, name: str, pages: PagesOption = "first") -> None:
        self._content, self._name = content, name
        self._opened: Pillow.Image | None = None
        if not is_npy(content):
            try:
                self._opened = open_image(io.BytesIO(content), name)
            except ImageError:
                if not is_tiff(content):
                    raise
        self.stacked = pages == "channels" and self._is("TIFF") and self.has_several

    @cached_property
    def has_several(self) -> bool:
        """Whether there is a second page or frame."""
        if is_tiff(self._content):
            return len(tiff_pages(self._content, limit=2)[0]) > 1
        with _damage_told(self._name):
            return bool(getattr(self._opened, "is_animated", False)) and len(self._frames) > 1

    @cached_property
    def numbers(self) -> list[int]:
        """The pages, from 0, for ``read``.

        Raises:
            ImageError: the file lacks pages that it should have, or has too many.
        """
        if self._has_more_files():
            raise ImageError(
                f"{self._name}: after the first image there is another one, which is not read. "
                "Save each in a file of its own, or take the first with --first-page."
            )
        if self.stacked or not self.has_several:
            return [0]
        if is_tiff(self._content):
            numbers, whole = tiff_pages(self._content, limit=MAX_PAGES + 1)
        else:  # Of a GIF, Pillow takes the frames before its end for all of them.
            numbers = self._frames
            whole = not self._is("GIF") or self._content.rstrip(b"\0").endswith(GIF_END)
        if not whole or len(numbers) > MAX_PAGES:
            raise ImageError(
                f"{self._name}: the image is cut off: it lacks pages or frames, or has more than "
                f"{MAX_PAGES}. Copy it again, or save each in a file of its own."
            )
        return numbers

    def read(self, number: int = 0) -> StoredImage:
        """Read a page, or all where they are channels.

        Raises:
            ImageError: it is damaged, truncated or too large.
        """
        content, name, opened = self._content, self._name, self._opened
        if is_npy(content):
            values, by_planes = read_npy(content, name)
            return StoredImage(tidy(values, name), ("planes first",) if by_planes else ())
        if opened is None:
            return StoredImage(tidy(read_tiff(content, name, page=number), name))
        with _damage_told(name):
            if self.stacked:
                return StoredImage(tidy(read_pages(opened, content, name), name))
            if number == opened.tell() and not getattr(opened, "tile", ()):
                # It was read before, and Pillow no longer says how many bits its colors have.
                self._opened = opened = open_image(io.BytesIO(content), name)
            if number != opened.tell():
                opened.seek(number)
                check_size(*opened.size[::-1], name=name)
            return StoredImage(tidy(read_page(opened, content, name), name))

    def _has_more_files(self) -> bool:
        """Return whether whole files of images follow one another, as cameras and ffmpeg write."""
        opened = self._opened
        if opened is None or opened.format not in NEXT_FILE:
            return False
        if opened.format != "PPM":
            start = _pixels_start(self._content) if opened.format == "JPEG" else 0
            return self._content.find(NEXT_FILE[opened.format], start) >= 0
        with _damage_told(self._name):
            width, height = opened.size
            kind, _, start, arguments = opened.tile[0]  # type: ignore[attr-defined]
            bits = {"1": 1, "L": 8, "I": 16, "RGB": 24, "F": 32}
            row = (width * bits.get(opened.mode, 8) + 7) // 8
            if opened.mode == "RGB" and not isinstance(arguments, str) and arguments[-1] > 255:
                row *= 2
            end = self._content[start + row * height :].lstrip()
            return kind != "ppm_plain" and end[:1] == NEXT_FILE["PPM"]

    def _is(self, kind: str) -> bool:
        return self._opened is not None and self._opened.format == kind

    @cached_property
    def _frames(self) -> list[int]:
        with _damage_told(self._name):
            numbers = list(range(getattr(self._opened, "n_frames", 1)))
            return _own_frames(self._opened, numbers) if self._is("MPO") else numbers


def decode_stored(content: bytes, *, name: str, pages: PagesOption = "first") -> StoredImage:
    """Decode the bytes of an image file; ``name`` is for messages.

    Raises:
        ImageError: it is not an image, or damaged, truncated or too large.
    """
    file = ImagePages(content, name=name, pages=pages)
    stored = file.read()
    if file.stacked or not file.has_several:
        return stored
    return replace(stored, notes=(*stored.notes, "several pages"))


def read_opened(opened: Pillow.Image, *, name: str) -> StoredPixels:
    """Return the pixels of an image that other code opened with Pillow, as those of its file.

    Raises:
        ImageError: it is damaged, or has colors of more than 8 bits, of which Pillow gives 8.
    """
    check_pillow_bits(opened, name=name)
    with _damage_told(
        name,
        cause="the image is closed, damaged or cut off, or its mode cannot be converted",
        way_out="Open it again, or convert it to L or RGB",
    ):
        return pillow_pixels(opened)


@contextmanager
def _damage_told(
    name: str, *, cause: str = "the image is damaged or cut off", way_out: str = "Copy it again"
) -> Iterator[None]:
    """Turn what Pillow raises for a damaged file, which may be anything, into an error."""
    try:
        with strict_pillow():
            yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"{name}: {cause} ({error}). {way_out}.") from error


def _pixels_start(jpeg: bytes) -> int:
    """Return where the pixels of a JPEG begin: the segments before them may have whole previews."""
    start = 2
    while (marker := jpeg[start : start + 2]) != START_OF_SCAN and marker[:1] == b"\xff":
        is_padded = marker == b"\xff\xff"
        start += 1 if is_padded else 2 + int.from_bytes(jpeg[start + 2 : start + 4])
    return start


def _own_frames(opened: Any, numbers: list[int]) -> list[int]:
    """Return the images of an MPO file that are images of their own; the first always is."""
    own, size = [], opened.size
    for number in numbers:
        opened.seek(number)
        kind = str(opened.mpinfo[MPO_ENTRIES][number]["Attribute"]["MPType"])
        is_part = kind.startswith(UNDEFINED) and opened.size != size
        if not number or not (is_part or kind.startswith(THUMBNAIL)):
            own.append(number)
    opened.seek(0)
    return own
