"""Images that Pillow cannot read: NumPy's ``.npy``, and TIFF of any number of channels."""

import io
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from defectkit.arrays import ImageSize
from defectkit.data.image_kinds import MAX_BYTES, MAX_CHANNELS, check_size
from defectkit.errors import ImageError
from defectkit.memory import check_memory
from defectkit.process_settings import attribute, setting, shared

StoredPixels = npt.NDArray[Any]
"""(H, W) or (H, W, C) of any dtype of numbers."""

NPY_MAGIC = b"\x93NUMPY"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NONE, DEFLATE = 1, (8, 32946)
"""The compressions of TIFF that can be read here."""
ALPHA = (1, 2)
SUBFILE, ORIENTATION = 254, 274
NO_IMAGE = 0b101
"""The bits of the tag ``SUBFILE`` of smaller versions and masks of other pages."""
MAX_PAGES, MAX_TAGS = 1000, 100
"""Numbers of pages, and of tags of a page, that are looked at."""
TRANSPOSED = (5, 6, 7, 8)
"""The orientations, of EXIF and TIFF, that exchange height and width."""


class NpyHeader(NamedTuple):
    """What the header of an array file says; ``by_planes`` is whether C comes first."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: ImageSize
    by_planes: bool


def is_npy(start: bytes) -> bool:
    """Return whether a file is an array of NumPy, by its first bytes."""
    return start.startswith(NPY_MAGIC)


def is_tiff(start: bytes) -> bool:
    """Return whether a file is a TIFF, by its first bytes."""
    return start.startswith(TIFF_MAGICS)


def npy_header(file: BinaryIO, name: str) -> NpyHeader:
    """Read the header of an array file.

    Raises:
        ImageError: it is damaged, or no image: (H, W), (H, W, C) or (C, H, W) of numbers.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # It is read as an expression of Python, which may be any.
        raise ImageError(f"{name}: the header is damaged ({error}).") from error
    by_planes = len(shape) == 3 and shape[2] > MAX_CHANNELS >= shape[0]
    channels = 1 if len(shape) == 2 else shape[0 if by_planes else -1] if len(shape) == 3 else 0
    if dtype.kind not in "buif" or not 1 <= channels <= MAX_CHANNELS or 0 in shape:
        raise ImageError(
            f"{name}: an array of shape {shape} and dtype {dtype} is no image. Save numbers of "
            f"shape (H, W), (H, W, C) or (C, H, W), with at most {MAX_CHANNELS} channels."
        )
    size = (shape[1], shape[2]) if by_planes else (shape[0], shape[1])
    check_size(*size, name=name)
    return NpyHeader(shape, fortran, dtype, size, by_planes)


def read_npy(content: bytes, name: str) -> tuple[StoredPixels, bool]:
    """Return the pixels of an array file, and whether its first axis are the channels.

    Raises:
        ImageError: as ``npy_header``, or it lacks pixels.
    """
    file = io.BytesIO(content)
    header = npy_header(file, name)
    count, rest = math.prod(header.shape), len(content) - file.tell()
    if count * header.dtype.itemsize > rest:
        raise ImageError(f"{name}: the image is cut off. Copy it again.")
    check_memory(2 * count * header.dtype.itemsize, what=f"{name}: decoding the image")
    if count * header.dtype.itemsize < rest:
        raise ImageError(f"{name}: there is more than one array. Save each in a file of its own.")
    values = np.frombuffer(content, header.dtype, count, offset=file.tell())
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    values = values.astype(header.dtype.newbyteorder("="), copy=False)
    return (np.moveaxis(values, 0, 2) if header.by_planes else values), header.by_planes


def tiff_size(file: BinaryIO, name: str) -> ImageSize:
    """Return the (height, width) of a TIFF that ``read_tiff`` reads, from its header.

    Raises:
        ImageError: as ``read_tiff``.
    """
    return _read_tiff(file, name, page=0, pixels=False)[1]


def read_tiff(content: bytes, name: str, *, page: int = 0) -> StoredPixels:
    """Return the channels of a page of a TIFF without alpha.

    Raises:
        ImageError: it is damaged, too large, or of a kind that cannot be read.
    """
    return _read_tiff(io.BytesIO(content), name, page=page, pixels=True)[0]


def tiff_pages(content: bytes, *, limit: int) -> tuple[list[int], bool]:
    """Return the numbers of up to ``limit`` pages of a TIFF, and whether the file has all of them.

    Smaller versions of other pages and their masks of transparency are left out. Pillow takes a
    file that ends before its pages do for a whole one. A file whose pages form a circle, or that
    has more than ``MAX_PAGES``, counts as one that lacks some.
    """
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"
    big = content[2:4] in (b"+\0", b"\0+")
    # The bytes of an offset, of the number of entries, and of an entry.
    width, counter, entry = (8, 8, 20) if big else (4, 2, 12)
    at = int.from_bytes(content[width : 2 * width], order)
    pages: list[int] = []
    for number in range(MAX_PAGES):  # also where they form a circle
        count = int.from_bytes(content[at : at + counter], order)
        end = at + counter + count * entry
        if not count or end + width > len(content):
            return pages, False
        kind = 0
        for start in range(at + counter, min(end, at + counter + MAX_TAGS * entry), entry):
            if int.from_bytes(content[start : start + 2], order) == SUBFILE:
                kind = int.from_bytes(content[start + 4 + width : start + 8 + width], order)
        if not number or not kind & NO_IMAGE:
            pages.append(number)
        at = int.from_bytes(content[end : end + width], order)
        if not at or len(pages) == limit:
            return pages, True
    return pages, False


def invert(values: StoredPixels, *, bits: int) -> StoredPixels:
    """Return pixels of a number of bits, whose white is 0, as those whose black is 0."""
    if values.dtype.kind != "u" or bits > 8 * values.dtype.itemsize:
        values = values.astype(np.int64)
    return np.asarray(np.subtract(2**bits - 1, values, dtype=values.dtype))


def turn(values: StoredPixels, orientation: int) -> StoredPixels:
    """Turn pixels as a viewer does by an orientation of EXIF or TIFF."""
    if orientation in TRANSPOSED:
        values = values.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[rows, columns]


@shared
@contextmanager
def _silent_tifffile() -> Iterator[None]:
    with setting(attribute(logging.getLogger("tifffile"), "disabled"), True):
        yield


def _read_tiff(
    file: BinaryIO, name: str, *, page: int, pixels: bool
) -> tuple[StoredPixels, ImageSize]:
    import tifffile  # here, since few datasets have such images

    try:
        with _silent_tifffile(), tifffile.TiffFile(file) as tiff:  # What is wrong is said below.
            found: Any = tiff.pages[page]
            size = (int(found.imagelength), int(found.imagewidth))
            check_size(*size, name=name)
            _check_kind(found, name)
            tag = found.tags.get(ORIENTATION)
            orientation = tag.value if tag else 1
            if not pixels:
                size = size[::-1] if orientation in TRANSPOSED else size
                return np.empty(0), size
            check_memory(4 * found.nbytes, what=f"{name}: decoding the image")
            _check_parts(file, found, name)
            values = np.asarray(found.asarray())
            if found.axes == "SYX":
                values = np.moveaxis(values, 0, 2)
            if values.ndim == 3:
                n_colors = values.shape[2] - len(found.extrasamples)
                alpha = [n_colors + i for i, one in enumerate(found.extrasamples) if one in ALPHA]
                values = np.delete(values, alpha, axis=2)
            if found.photometric == 0:  # white is zero
                values = invert(values, bits=int(found.bitspersample))
            return turn(values, orientation), size
    except ImageError:
        raise
    except Exception as error:  # A damaged file may make it raise anything.
        raise ImageError(
            f"{name}: the image is damaged or cut off ({type(error).__name__}: {error}). "
            "Copy it again."
        ) from error


def _check_kind(page: Any, name: str) -> None:
    """Check that the pixels of a page are numbers of gray, RGB or further channels, readable."""
    if int(page.photometric) not in (0, 1, 2) or page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"{name}: a TIFF of this kind cannot be read. Save gray, RGB or channels.")
    if not 1 <= page.samplesperpixel <= MAX_CHANNELS + 1:
        raise ImageError(
            f"{name}: {page.samplesperpixel} channels are more than the limit of {MAX_CHANNELS}."
        )
    if page.nbytes > MAX_BYTES:
        raise ImageError(f"{name}: the image has more than {MAX_BYTES} bytes. Cut it into parts.")
    if page.compression not in (NONE, *DEFLATE):
        raise ImageError(
            f"{name}: TIFF of {page.samplesperpixel} channels with the compression "
            f"{getattr(page.compression, 'name', page.compression)} cannot be read. "
            "Save it uncompressed or with Deflate."
        )


def _check_parts(file: BinaryIO, page: Any, name: str) -> None:
    """Check that the parts of a page are whole, and unpack to no more than their size."""
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    limit = rows * columns * page.samplesperpixel * page.dtype.itemsize
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(start)
        part = file.read(min(count, MAX_BYTES))
        if len(part) < count or not count:
            raise ImageError(f"{name}: the image is cut off. Copy it again.")
        if page.compression in DEFLATE:
            unpacker = zlib.decompressobj()
            if len(unpacker.decompress(part, limit + 1)) > limit or not unpacker.eof:
                raise ImageError(f"{name}: the image is damaged. Copy it again.")
