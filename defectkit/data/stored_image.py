"""The pixels of image files as they are stored: with all their bits and channels.

- Grayscale stays one channel; color becomes RGB. Palettes are resolved, alpha is dropped, CMYK is
  converted, one-bit images become 0 and 255, white-is-zero becomes black-is-zero.
- 2 to 16 channels come from NPY, and from TIFF that has as many samples, or pages where these are
  channels. Of other files with several pages or frames the first is taken, with a note.
- EXIF orientation is applied: masks refer to the image as a viewer shows it.
- The size is read from the header before any pixel is decoded; a file that lacks pixels is an
  error.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from defectkit.arrays import ImageSize
from defectkit.data.array_files import (
    TRANSPOSED,
    StoredPixels,
    invert,
    is_npy,
    is_tiff,
    npy_header,
    read_tiff,
    tiff_pages,
    tiff_size,
    turn,
)
from defectkit.data.image_kinds import MAX_CHANNELS, check_size, open_image
from defectkit.data.strips import row_slices
from defectkit.errors import ImageError
from defectkit.memory import check_memory
from defectkit.vocabulary import PixelNote

EXIF_ORIENTATION = 0x0112

# Tags of TIFF 6.0.
BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA = 258, 262, 277, 284, 338
WHITE_IS_ZERO, CMYK = 0, 5
SEPARATE_PLANES = 2

GRAY_WITH_ALPHA = 4
"""The color type of PNG, byte 25 of a file."""

DECODING_BYTES = {"1": 4, "L": 4, "I;16": 6, "I;16B": 6, "I": 12, "F": 12, "RGB": 10}
"""Bytes of memory that a pixel takes while it is decoded by Pillow, by mode."""
DEEP_BYTES = 18
"""The same of colors of more than 8 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """The stored pixels of an image: (H, W) or (H, W, C), and what is to be said of the file.

    They are uint8, or uint16 where they have more bits, or of another dtype where not even these
    hold them.
    """

    values: StoredPixels
    notes: tuple[PixelNote, ...] = ()


def read_stored_size(name: str, handle: BinaryIO) -> ImageSize:
    """Return the (height, width) of the image of the first image in a file, from the header alone.

    Raises:
        ImageError: it is not an image, or too large.
        OSError, SyntaxError, ValueError, TypeError, OverflowError: the header is damaged.
    """
    start = handle.read(16)
    handle.seek(0)
    if is_npy(start):
        return npy_header(handle, name).size
    try:
        opened = open_image(handle, name)
    except ImageError:
        if not is_tiff(start):
            raise
        handle.seek(0)
        return tiff_size(handle, name)
    with opened:
        width, height = opened.size
        # Not PngImageFile's own, which decodes the image in search of it.
        orientation = Pillow.Image.getexif(opened).get(EXIF_ORIENTATION, 1)
        # Pillow gives the size of a TIFF as it is shown.
        transposed = orientation in TRANSPOSED and opened.format != "TIFF"
    return (width, height) if transposed else (height, width)


def read_page(opened: Pillow.Image, content: bytes, name: str) -> StoredPixels:
    """Read the page of ``opened`` that it shows.

    Raises:
        ImageError: it is of a kind that cannot be read, or damaged; so may anything that Pillow
            raises (``image_pages``).
    """
    tags = getattr(opened, "tag_v2", {}) if opened.format == "TIFF" else {}
    samples = int(tags.get(SAMPLES, 1))
    colors = samples - sum(extra in (1, 2) for extra in tags.get(EXTRA, ()))  # without alpha
    deep = has_deep_colors(opened, content)
    check_decoding(opened, name, deep=deep)
    planes = tags.get(PLANAR) == SEPARATE_PLANES
    later = opened.tell() > 0  # OpenCV, which reads deep colors, knows the first page alone.
    no_pillow = colors not in (1, 3) or (deep and (planes or later))
    if tags and tags.get(PHOTOMETRIC) != CMYK and no_pillow:
        opened.load()  # It has all its pixels.
        return read_tiff(content, name, page=opened.tell())
    if deep:
        opened.load()  # It has all its pixels.
        return _read_deep_colors(content, opened, name)
    values = pillow_pixels(opened)
    if opened.mode.startswith("I") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return invert(values, bits=int(tags.get(BITS, (8,))[0]))
    return values


def pillow_pixels(image: Pillow.Image) -> StoredPixels:
    """Return the pixels of an image of Pillow, as a viewer shows them; it may raise anything."""
    image.load()  # Pillow turns a TIFF itself, and then it has no orientation.
    orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
    if image.mode not in ("L", "RGB", "F") and not image.mode.startswith("I"):
        image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    first = np.asarray(image.crop((0, 0, image.width, 1)))
    values = np.empty((image.height, *first.shape[1:]), first.dtype)
    for rows in row_slices(image.height):  # numpy would copy all pixels twice.
        values[rows] = image.crop((0, rows.start, image.width, rows.stop))
    return turn(values, orientation)


def check_pillow_bits(opened: Pillow.Image, *, name: str) -> None:
    """Check that Pillow gives all bits of an image that it has opened and not yet decoded.

    Raises:
        ImageError: it has colors of more than 8 bits, of which Pillow gives 8.
    """
    if has_deep_colors(opened, b""):
        raise ImageError(
            f"{name}: Pillow reads colors of more than 8 bits as 8. Give the path of the file."
        )


def check_decoding(opened: Pillow.Image, name: str, *, deep: bool) -> None:
    """Check that there is memory to decode an image, with or without ``deep`` colors.

    Raises:
        ImageError: there is not.
    """
    pixel_bytes = DEEP_BYTES if deep else DECODING_BYTES.get(opened.mode, 14)
    check_memory(opened.width * opened.height * pixel_bytes, what=f"{name}: decoding the image")


def has_deep_colors(opened: Pillow.Image, content: bytes) -> bool:
    """Return whether there are colors of more than 8 bits, of which Pillow would give 8."""
    if opened.mode not in ("RGB", "RGBA", "RGBX", "LA", "La"):
        return False
    match opened.format:
        case "TIFF":
            return bool(max(getattr(opened, "tag_v2", {}).get(BITS, (8,))) > 8)
        case "JPEG2000":  # the byte Ssiz of the marker SIZ
            at = content.find(b"\xff\x4f\xff\x51")
            return len(content) > at + 42 and content[at + 42] & 0x7F > 7
        case "PNG" | "PPM":
            tiles = getattr(opened, "tile", ())
            arguments = tiles[0].args if tiles else ""
            return ";16" in str(arguments) or (
                opened.format == "PPM" and isinstance(arguments, tuple) and arguments[-1] > 255
            )
        case _:
            return False


def decode_deep_colors(content: bytes, opened: Pillow.Image, name: str) -> StoredPixels:
    """Return colors of more than 8 bits as stored, and OpenCV orders them: blue first, then alpha.

    Raises:
        ImageError: they are of a kind that cannot be read.
    """
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if opened.tell() or decoded is None or decoded.ndim != 3 or decoded.shape[2] not in (3, 4):
        raise ImageError(f"{name}: colors of this kind cannot be read. Save it as PNG.")
    return np.asarray(decoded)


def _read_deep_colors(content: bytes, opened: Pillow.Image, name: str) -> StoredPixels:
    """Read colors of more than 8 bits; that the file is whole was seen before."""
    decoded = decode_deep_colors(content, opened, name)
    # Pillow says RGBA of gray with alpha in a PNG of 16 bits.
    if opened.mode in ("LA", "La") or (opened.format == "PNG" and content[25] == GRAY_WITH_ALPHA):
        values = decoded[:, :, 0]
    else:
        values = decoded[:, :, :3]
        for rows in row_slices(len(values)):  # in place: OpenCV gives blue first
            values[rows] = values[rows, :, ::-1]
    return turn(values, int(opened.getexif().get(EXIF_ORIENTATION, 1)))


def read_pages(opened: Pillow.Image, content: bytes, name: str) -> StoredPixels:
    """Read the pages of a TIFF as the channels of one image, (H, W, C).

    Raises:
        ImageError: they are none, or the file lacks some.
    """
    numbers, whole = tiff_pages(content, limit=MAX_CHANNELS + 1)
    if not whole:
        raise ImageError(f"{name}: the image is cut off: it lacks pages. Copy it again.")
    planes = []
    for number in numbers:
        opened.seek(number)
        check_size(*opened.size[::-1], name=name)
        plane = read_page(opened, content, name)
        planes.append(plane)
        if len(numbers) > MAX_CHANNELS or plane.ndim > 2 or plane.shape != planes[0].shape:
            raise ImageError(
                f"{name}: its pages are not the channels of one image, which are 2 to "
                f"{MAX_CHANNELS} gray pages of one size. Give prepare --pages first to take the "
                "first page."
            )
    return np.stack(planes, axis=2)


def tidy(values: npt.NDArray[Any], name: str) -> StoredPixels:
    """Check the pixels, and give them the smallest of the dtypes that hold them.

    Raises:
        ImageError: some are not finite.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise ImageError(f"{name}: some pixels are not finite numbers. Replace them.")
    elif values.dtype != np.uint8 and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16, copy=False)
    return np.ascontiguousarray(values)
