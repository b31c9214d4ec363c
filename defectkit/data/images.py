"""Reading, writing and resizing images: all files of images are read and written here.

Training and inspection read images by the same rules: those of ``stored_image``, and then of their
``PixelFormat``, which makes 8 bits of more.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from defectkit.arrays import Image, ImageSize
from defectkit.data.array_files import StoredPixels
from defectkit.data.image_kinds import MAX_BYTES
from defectkit.data.image_pages import decode_stored, read_opened
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.data.stored_image import read_stored_size, tidy
from defectkit.errors import ImageError, StoreError, refusal
from defectkit.files import open_limited, read_limited, write_bytes
from defectkit.memory import check_memory
from defectkit.object_stores import FilePath, StoredObject

PNG_SIGNATURE, COLOR_TYPE_RGB, FILTER_UP = b"\x89PNG\r\n\x1a\n", 2, 2

BAND = 256
"""Number of rows of an image whose channels are reversed at a time."""


def read_image(path: FilePath | str, pixels: PixelFormat = EIGHT_BITS) -> Image:
    """Read one image file as (H, W) or (H, W, C) uint8, C 2 to 16, 3 being RGB.

    Raises:
        ImageError: the file is missing, not an image, damaged, truncated or too large.
        StoreError: as ``read_image_bytes``.
    """
    return decode_image(read_image_bytes(path), name=str(path), pixels=pixels)


def read_image_bytes(path: FilePath | str, *, if_gone: str = "") -> bytes:
    """Read the bytes of an image file, or of an object of a store.

    ``if_gone`` is the way out where it is missing, by default to check the path.

    Raises:
        ImageError: it is missing or too large.
        StoreError: the store does not give it.
    """
    try:
        if isinstance(path, StoredObject):
            return path.read(MAX_BYTES)
        return read_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, if_gone) from error


def decode_image(content: bytes, *, name: str, pixels: PixelFormat = EIGHT_BITS) -> Image:
    """Decode the bytes of an image file as ``read_image`` does; ``name`` is for messages."""
    stored = decode_stored(content, name=name, pages=pixels.pages)
    return pixels.to_8_bits(stored.values, name=name)


ImageSource = StoredPixels | Pillow.Image | FilePath | str
"""An image in memory, of NumPy or Pillow, or the path of an image file, or an object of a store."""


def read_given(image: ImageSource, channels: int, pixels: PixelFormat) -> Image:
    """Return what a program gives as an image, as (H, W, channels) uint8; files as ``read_image``.

    Arrays are (H, W), (H, W, 3), or (H, W, C) where ``channels`` is neither 1 nor 3: uint8 or bool,
    or the stored values of a camera of more bits where ``pixels`` has a window.

    Raises:
        ImageError: it is none of these, a file of several pages, or cannot be read.
    """
    name = "the image"
    match image:
        case str() | Path() | StoredObject():
            name = str(image)
            content = read_image_bytes(image)
            stored = decode_stored(content, name=name, pages=pixels.pages)
            if "several pages" in stored.notes:
                raise ImageError(
                    f"{name} has several pages or frames, but one image is expected. Inspect the "
                    "file with defectkit.inspect, or give an array of each page."
                )
            values = stored.values
        case Pillow.Image():
            values = read_opened(image, name=name)
        case np.ndarray():
            values = image
        case _:
            raise ImageError(
                "an image is an array of NumPy, an image of Pillow, or a path, but got "
                f"{type(image).__name__}. Give one of these."
            )
    if values.dtype.kind not in "buif" or not takes_shape(values.shape, channels):
        wanted, got = describe_shapes(channels), f"{values.shape} {values.dtype}"
        raise ImageError(f"{name} must be {wanted} uint8 but got {got}.")
    check_memory(values.nbytes, what=f"{name}: copying the pixels")
    values = tidy(values, name)
    in_memory = not isinstance(image, str | Path | StoredObject)
    if in_memory and values.dtype != np.uint8 and pixels.window is None:
        raise ImageError(
            f"{name}: {values.dtype} pixels have no defined white, since the model was trained on "
            "images of 8 bits. Convert them to uint8."
        )
    return convert_channels(pixels.to_8_bits(values, name=name), channels)


def read_image_size(path: FilePath | str) -> ImageSize:
    """Return the (height, width) that ``read_image`` gives, from the file's header alone.

    An object of a store is read as a whole: where its header lies is not known.

    Raises:
        ImageError: the file is missing, not an image or too large.
        StoreError: as ``read_image_bytes``.
    """
    opened: BinaryIO
    try:
        if isinstance(path, StoredObject):
            opened = io.BytesIO(path.read(MAX_BYTES))
        else:
            opened = open_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        with opened as handle:
            return read_stored_size(str(path), handle)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SyntaxError, ValueError, TypeError, OverflowError) as error:  # broken tags
        raise ImageError(f"{path}: the header is damaged ({error}).") from error


def convert_channels(image: Image, channels: int) -> Image:
    """Return ``image`` as (H, W, channels).

    Gray is repeated, RGB is weighted to one channel (ITU-R BT.601), other numbers of channels are
    averaged to one.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == channels:
        return image
    if image.shape[2] == 1:
        return np.repeat(image, channels, axis=2)
    assert channels == 1, (image.shape, channels)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    if image.shape[2] != 3:
        weights = np.full(image.shape[2], 1 / image.shape[2], np.float32)
    luma = np.rint(image.astype(np.float32) @ weights)
    return np.asarray(luma[:, :, None], np.uint8)


def takes_shape(shape: tuple[int, ...], channels: int) -> bool:
    """Return whether what expects images of ``channels`` can take those of a shape.

    Gray and RGB are converted to each other; other numbers of channels must be the same.
    """
    count = 1 if len(shape) == 2 else shape[2] if len(shape) == 3 else 0
    return 0 not in shape and (count == channels or (count in (1, 3) and channels in (1, 3)))


def describe_shapes(channels: int) -> str:
    """Return the shapes that ``takes_shape`` accepts, for messages."""
    return "(H, W) or (H, W, 3)" if channels in (1, 3) else f"(H, W, {channels})"


def resize_image(
    image: npt.NDArray[Any], size: tuple[int, int], interpolation: int = cv2.INTER_LINEAR
) -> npt.NDArray[Any]:
    """Resize (H, W) or (H, W, C) of any dtype to ``size``, (width, height).

    ``interpolation`` is one of OpenCV's ``INTER_`` flags.
    """
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation))
    return resized if resized.ndim == image.ndim else resized[..., None]  # cv2 drops C = 1.


def pad_image(image: Image, stride: int) -> Image:
    """Reflect (H, W, C) beyond its lower and right side until ``stride`` divides H and W."""
    bottom, right = -image.shape[0] % stride, -image.shape[1] % stride
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="symmetric")


def padded_side(length: int, stride: int) -> int:
    """Return the side to which ``pad_image`` brings one of ``length``."""
    return length + -length % stride


def write_png(path: Path | str, image: Image, *, compress_level: int = 6) -> None:
    """Write (H, W) or (H, W, 3) RGB uint8 as PNG, atomically."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG", compress_level=compress_level)
    write_bytes(path, buffer.getbuffer())


def encode_png(image: Image, *, overwrite: bool = False) -> memoryview:
    """Return (H, W, 3) RGB uint8 as a PNG, in half of the time that Pillow takes for such a size.

    Files are about as large as with Pillow's ``compress_level=1``. With ``overwrite`` the image is
    not copied, and has its channels in another order afterwards.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since 4.12
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    turned = image if overwrite else np.empty(image.shape, np.uint8)
    for top in range(0, len(image), BAND):  # Not in place: OpenCV need not allow that everywhere.
        turned[top : top + BAND] = cv2.cvtColor(image[top : top + BAND], cv2.COLOR_RGB2BGR)
    content: npt.NDArray[np.uint8] = cv2.imencode(".png", turned, options)[1]
    return content.data


def png_pieces(size: ImageSize, strips: Iterable[Image]) -> Iterator[bytes]:
    """Yield the bytes of a PNG of (height, width), whose rows come in strips from the top down.

    Strips are (H, W, 3) RGB uint8; no more is in memory than one of them. Files are about as large
    as those of ``encode_png``.
    """
    height, width = size
    above = np.zeros(3 * width, np.uint8)
    packer = zlib.compressobj(1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPE_RGB, 0, 0, 0)
    yield PNG_SIGNATURE + _png_chunk(b"IHDR", header)
    rows = 0
    for strip in strips:
        values = strip.reshape(len(strip), 3 * width)
        filtered = np.empty((len(values), 1 + 3 * width), np.uint8)
        filtered[:, 0] = FILTER_UP
        np.subtract(values[0], above, out=filtered[0, 1:])
        np.subtract(values[1:], values[:-1], out=filtered[1:, 1:])
        above, rows = values[-1].copy(), rows + len(strip)
        del strip, values  # While the next one is drawn.
        if packed := packer.compress(filtered.data):
            yield _png_chunk(b"IDAT", packed)
        del filtered
    assert rows == height, (rows, height)
    yield _png_chunk(b"IDAT", packer.flush()) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def encode_jpeg(image: Image) -> memoryview:
    """Return (H, W, 3) RGB or (H, W) uint8 as a JPEG for people; thin lines keep their colors."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getbuffer()


def _unreadable(path: FilePath | str, error: Exception, if_gone: str = "") -> ImageError:
    told = f"cannot read the image {path}: {getattr(error, 'strerror', None) or error}."
    if isinstance(path, StoredObject) and not isinstance(error, FileNotFoundError | ValueError):
        return StoreError(f"{told} Check the connection and the credentials.")
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{told} {if_gone or 'Check the path.'}")
    return ImageError(refusal(error) or told)
