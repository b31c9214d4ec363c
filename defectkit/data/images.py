"""The one way images come in and go out.

Rules, the same in training and in inspection:

- Grayscale stays one channel; color becomes RGB. Palettes are resolved, alpha is dropped, CMYK is
  converted, one-bit images become 0 and 255.
- 16-bit images keep their upper 8 bits' scale: 65535 becomes 255 (divided by 257, rounded).
- EXIF orientation is applied: masks refer to the image as a viewer shows it.
- The size is read from the header before any pixel is decoded; a file that lacks pixels is an
  error.
"""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from defectkit.errors import ImageError
from defectkit.files import read_limited, write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""What is decoded, whatever the name. Pillow knows more, and runs Ghostscript on some of them."""

MAX_PIXELS = 2**28
"""Larger images are refused from their header: 268 million pixels."""

MAX_BYTES = 2**31
"""Larger files are not read: what the largest image takes as it is."""

EXIF_ORIENTATION = 0x0112
EXIF_TURNED = (5, 6, 7, 8)
"""The orientations that exchange height and width."""


def read_image(path: Path | str) -> npt.NDArray[np.uint8]:
    """Read one image file as (H, W) or (H, W, 3) RGB uint8.

    Raises:
        ImageError: the file is missing, is no image, is damaged, truncated or too large.
    """
    return decode_image(read_content(path), name=str(path))


def read_content(path: Path | str) -> bytes:
    """Read an image file's bytes.

    Raises:
        ImageError: the file is missing or too large.
    """
    try:
        return read_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def decode_image(content: bytes, *, name: str) -> npt.NDArray[np.uint8]:
    """Decode an image file's bytes as ``read_image`` does; ``name`` is used in messages."""
    with _open(io.BytesIO(content), name) as opened:
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
                f"{name}: the image is damaged or cut off ({error}). Copy it anew."
            ) from error


def read_shape(path: Path | str) -> tuple[int, int]:
    """Return (height, width) as ``read_image`` would have them, from the file's header alone.

    Raises:
        ImageError: the file is missing, is no image or is too large.
    """
    try:
        with Path(path).open("rb") as handle, _open(handle, str(path)) as opened:
            width, height = opened.size
            # Not PngImageFile's own, which decodes the image in search of it.
            orientation = Image.Image.getexif(opened).get(EXIF_ORIENTATION, 1)
            turned = orientation in EXIF_TURNED and opened.format != "TIFF"  # It is turned already.
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SyntaxError, ValueError, TypeError, OverflowError) as error:  # broken tags
        raise ImageError(f"{path}: the header is damaged ({error}).") from error
    return (width, height) if turned else (height, width)


def read_values(path: Path | str) -> npt.NDArray[np.int32]:
    """Read the picture of a mask as (H, W) int32: its values as stored, not as shown.

    Of a palette the numbers of the colors count, and one bit gives 0 and 1. Color pictures are
    taken where they are gray.

    Raises:
        ImageError: as ``read_image``, or it is no mask: a JPEG, in color, or with an alpha channel.
    """
    name = Path(path).name
    with _open(io.BytesIO(read_content(path)), name) as opened:
        if opened.format == "JPEG":
            raise ImageError(f"{name}: JPEG does not keep the values of a mask. Save PNG.")
        try:
            opened.load()
            values = np.asarray(opened)
        except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:
            raise ImageError(f"{name}: the mask is damaged or cut off ({error}).") from error
        if opened.mode == "RGB" and (values == values[:, :, :1]).all():
            values = values[:, :, 0]
        elif opened.mode not in ("1", "L", "P", "I;16", "I;16B", "I;16L", "I"):
            raise ImageError(
                f"{name}: a mask has numbers of classes, not colors (mode {opened.mode}). Save it "
                "as gray or with a palette."
            )
        return values.astype(np.int32)


def as_channels(image: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Return (H, W), (H, W, 1) or (H, W, 3) as (H, W, channels).

    Gray is repeated to three channels, RGB is weighed to one (ITU-R BT.601).
    """
    assert channels in (1, 3), channels
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, channels, axis=2)
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    luma = np.rint(image.astype(np.float32) @ weights)
    return np.asarray(luma[:, :, None], np.uint8)


def write_png(path: Path | str, image: npt.NDArray[np.uint8], *, compress_level: int = 6) -> None:
    """Write (H, W) or (H, W, 3) RGB uint8 as PNG, atomically."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=compress_level)
    write_bytes(path, buffer.getvalue())


def _unreadable(path: Path | str, error: Exception) -> ImageError:
    return ImageError(f"cannot read the image {path}: {getattr(error, 'strerror', None) or error}.")


def _open(file: BinaryIO, name: str) -> Image.Image:
    try:
        # Our own limit below replaces Pillow's, which only warns at first. Other code in the
        # process may have asked for what is left of broken files.
        Image.MAX_IMAGE_PIXELS = None
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        image = Image.open(file, formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        known = ", ".join(suffix.lstrip(".") for suffix in SUFFIXES)
        raise ImageError(f"{name}: not an image that can be read ({known}).") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ImageError(
            f"{name}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}. "
            "Cut the image into parts."
        )
    return image


def _from_16_bit(values: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    wide = values.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
        raise ImageError(f"{name}: pixel values outside 0..65535. Save 8 or 16 bits per channel.")
    return ((wide + 128) // 257).astype(np.uint8)
