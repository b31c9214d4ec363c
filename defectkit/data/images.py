"""Reading, writing and resizing images: all files of images are read and written here.

Training and inspection read images by the same rules:

- Grayscale stays one channel; color becomes RGB. Palettes are resolved, alpha is dropped, CMYK is
  converted, one-bit images become 0 and 255.
- 16-bit values are scaled to 8 bits: 65535 becomes 255 (divided by 257, rounded).
- EXIF orientation is applied: masks refer to the image as a viewer shows it.
- The size is read from the header before any pixel is decoded; a file that lacks pixels is an
  error.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps, UnidentifiedImageError

from defectkit.arrays import Image, ImageSize
from defectkit.errors import ImageError
from defectkit.files import read_limited, write_bytes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that are decoded, whatever the file's name. Pillow's others may run Ghostscript."""

MAX_PIXELS = 2**28
"""Max. number of pixels of an image, 268 million; checked in the header."""

MAX_BYTES = 2**31
"""Max. size of an image file: that of the largest image, uncompressed."""

EXIF_ORIENTATION = 0x0112
EXIF_TRANSPOSED = (5, 6, 7, 8)
"""The orientations that exchange height and width."""


def read_image(path: Path | str) -> Image:
    """Read one image file as (H, W) or (H, W, 3) RGB uint8.

    Raises:
        ImageError: the file is missing, not an image, damaged, truncated or too large.
    """
    return decode_image(read_image_bytes(path), name=str(path))


def read_image_bytes(path: Path | str) -> bytes:
    """Read the bytes of an image file.

    Raises:
        ImageError: the file is missing or too large.
    """
    try:
        return read_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def decode_image(content: bytes, *, name: str) -> Image:
    """Decode the bytes of an image file as ``read_image`` does; ``name`` is for messages."""
    with open_image(io.BytesIO(content), name) as opened:
        try:
            image = opened
            if opened.getexif().get(EXIF_ORIENTATION, 1) != 1:
                image = ImageOps.exif_transpose(opened)
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                return _from_16_bit(np.asarray(image), name)
            if image.mode in ("L", "RGB"):
                return np.array(image)
            if image.mode in ("1", "LA", "La"):
                return np.array(image.convert("L"))
            if image.mode == "F":
                raise ImageError(
                    f"{name}: floating-point pixels have no defined white. Save 8 or 16 bits."
                )
            return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:
            # Pillow raises SyntaxError for broken PNG chunks and the others for broken TIFF tags.
            raise ImageError(
                f"{name}: the image is damaged or cut off ({error}). Copy it again."
            ) from error


def read_image_size(path: Path | str) -> ImageSize:
    """Return the (height, width) that ``read_image`` gives, from the file's header alone.

    Raises:
        ImageError: the file is missing, not an image or too large.
    """
    try:
        with Path(path).open("rb") as handle, open_image(handle, str(path)) as opened:
            width, height = opened.size
            # Not PngImageFile's own, which decodes the image in search of it.
            orientation = Pillow.Image.getexif(opened).get(EXIF_ORIENTATION, 1)
            # Pillow gives the size of a TIFF as it is shown.
            transposed = orientation in EXIF_TRANSPOSED and opened.format != "TIFF"
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SyntaxError, ValueError, TypeError, OverflowError) as error:  # broken tags
        raise ImageError(f"{path}: the header is damaged ({error}).") from error
    return (width, height) if transposed else (height, width)


def convert_channels(image: Image, channels: int) -> Image:
    """Return ``image`` as (H, W, channels), with 1 or 3 channels.

    Gray is repeated to three channels, RGB is weighted to one (ITU-R BT.601).
    """
    assert channels in (1, 3), channels
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, channels, axis=2)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    luma = np.rint(image.astype(np.float32) @ weights)
    return np.asarray(luma[:, :, None], np.uint8)


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


def write_png(path: Path | str, image: Image, *, compress_level: int = 6) -> None:
    """Write (H, W) or (H, W, 3) RGB uint8 as PNG, atomically."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG", compress_level=compress_level)
    write_bytes(path, buffer.getbuffer())


def write_jpeg(path: Path | str, image: Image) -> None:
    """Write (H, W, 3) RGB uint8 as a JPEG for people, atomically; thin lines keep their colors."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0)
    write_bytes(path, buffer.getbuffer())


def _unreadable(path: Path | str, error: Exception) -> ImageError:
    return ImageError(f"cannot read the image {path}: {getattr(error, 'strerror', None) or error}.")


def open_image(file: BinaryIO, name: str) -> Pillow.Image:
    """Open an image file whose size is within the limit, not decoded yet; ``name`` is for messages.

    Raises:
        ImageError: it is not an image of a known format, or too large.
    """
    try:
        # The limit below replaces Pillow's, which only warns at first. Other code in the process
        # may have made Pillow accept truncated files.
        Pillow.MAX_IMAGE_PIXELS = None
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        image = Pillow.open(file, formats=PILLOW_FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        known = ", ".join(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES)
        raise ImageError(f"{name}: not an image that can be read ({known}).") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ImageError(
            f"{name}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}. "
            "Cut the image into parts."
        )
    return image


def _from_16_bit(values: npt.NDArray[np.generic], name: str) -> Image:
    wide = values.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
        raise ImageError(f"{name}: pixel values outside 0..65535. Save 8 or 16 bits per channel.")
    return ((wide + 128) // 257).astype(np.uint8)
