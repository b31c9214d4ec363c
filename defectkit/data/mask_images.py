"""Reading images of masks: their values as stored, not as shown."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from defectkit.data.array_files import is_npy, read_npy
from defectkit.data.image_kinds import open_image, strict_pillow
from defectkit.data.images import read_image_bytes
from defectkit.data.stored_image import check_decoding, decode_deep_colors, has_deep_colors
from defectkit.errors import ImageError

MaskKind = Literal["values", "colors", "alpha"]
"""What the pixels of a mask are: ``values``, colors as 0xRRGGBB, or how opaque they are."""

VALUE_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I", "F")


@dataclass(frozen=True, slots=True)
class PaletteColor:
    """A color that a palette image uses: its index, 0xRRGGBB, and its number of pixels."""

    index: int
    color: int
    pixels: int


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """The pixels of a mask, (H, W) int32; ``lossy``: as JPEG, which does not keep values.

    ``palette`` has the colors that are used, where the values are their indices.
    """

    values: npt.NDArray[np.int32]
    kind: MaskKind = "values"
    lossy: bool = False
    palette: tuple[PaletteColor, ...] = ()

    def brightness(self) -> npt.NDArray[np.int32]:
        """Return the values, or of colors the largest channel: (H, W)."""
        if self.kind != "colors":
            return self.values
        red, green, blue = (self.values >> shift & 255 for shift in (16, 8, 0))
        return np.asarray(np.maximum(np.maximum(red, green), blue), np.int32)


def read_mask(
    path: Path | str, *, as_colors: bool = False, palette_colors: bool = False
) -> MaskPixels:
    """Read the image of a mask.

    A palette gives the indices of its colors, one bit gives 0 and 1. Gray as RGB is gray. Alpha
    is the mask where all that can be seen has one color; otherwise what cannot be seen is 0.

    Args:
        path: the file.
        as_colors: return colors, those of palettes and of gray as well.
        palette_colors: read the colors of palettes as those of other images.

    Raises:
        ImageError: the file is missing, not an image, damaged or too large, or its pixels can be
            neither values nor colors.
    """
    name, content = Path(path).name, read_image_bytes(path)
    if is_npy(content):
        return _read_array(content, name)
    with open_image(io.BytesIO(content), name) as opened, strict_pillow():
        try:
            deep = has_deep_colors(opened, content)
            check_decoding(opened, name, deep=deep)
            opened.load()
            lossy, image = opened.format == "JPEG", opened.copy()
            if deep:
                image = Pillow.fromarray(
                    _to_8_bits(decode_deep_colors(content, opened, name), name)
                )
            palette = () if as_colors or palette_colors else _used_colors(image)
            if image.mode == "P" and not palette:
                image = image.convert("RGB")
            kind, values = _read_pixels(image, name, as_colors=as_colors)
        except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:
            raise ImageError(f"{name}: the mask is damaged or cut off ({error}).") from error
        return MaskPixels(values.astype(np.int32), kind, lossy, palette)


def _to_8_bits(colors: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3 or 4) of 16 bits, blue first, as those of 8 bits that they were made from.

    Raises:
        ImageError: they were made from none, so that different colors would become one.
    """
    layers = []
    for index in (2, 1, 0, 3)[: colors.shape[2]]:
        layer = colors[:, :, index]
        if layer.max() > 255 and (layer % 257).any():
            raise ImageError(
                f"{name}: the colors of a mask have 8 bits, but these have more. Save 8 bits."
            )
        layers.append(layer // (257 if layer.max() > 255 else 1))
    return np.dstack(layers).astype(np.uint8)


def _read_pixels(
    image: Pillow.Image, name: str, *, as_colors: bool
) -> tuple[MaskKind, npt.NDArray[Any]]:
    if image.mode in ("LA", "RGBA"):
        return _without_alpha(np.asarray(image), as_colors=as_colors)
    if image.mode == "RGB":
        return _colors(np.asarray(image), as_colors=as_colors)
    if image.mode not in VALUE_MODES:
        raise ImageError(
            f"{name}: the pixels of a mask are numbers or colors, not {image.mode}. Save it as "
            "gray, with a palette or as RGB."
        )
    values = np.asarray(image)
    if image.mode == "F" and not (values == np.trunc(values)).all():
        raise ImageError(
            f"{name}: its values are no whole numbers, as where edges are soft. Save 8 bits, 0 to "
            "255, and give --mask-threshold 128."
        )
    if as_colors and image.mode in ("1", "L"):
        gray = values.astype(np.int32) * (255 if image.mode == "1" else 1)
        return "colors", gray * 0x010101
    return "values", values


def _read_array(content: bytes, name: str) -> MaskPixels:
    """Read NumPy's array of values, (H, W) of whole numbers or of true and false."""
    values, _ = read_npy(content, name)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 or not (values == np.trunc(values)).all() or abs(values).max() >= 2**31:
        raise ImageError(
            f"{name}: the array of a mask has the shape (H, W) and whole numbers, not "
            f"{values.shape} of {values.dtype}."
        )
    return MaskPixels(values.astype(np.int32))


def _used_colors(image: Pillow.Image) -> tuple[PaletteColor, ...]:
    """Return the colors that a palette image uses; other images have none."""
    if image.mode != "P":
        return ()
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colors = dict(enumerate(_colors(palette[:, None], as_colors=True)[1][:, 0].tolist()))
    used = np.bincount(np.asarray(image).ravel()).tolist()
    return tuple(
        PaletteColor(index, colors.get(index, -1), pixels)
        for index, pixels in enumerate(used)
        if pixels
    )


def _colors(
    pixels: npt.NDArray[np.uint8], *, as_colors: bool = False
) -> tuple[MaskKind, npt.NDArray[Any]]:
    """Return (H, W, 3) as values where it is gray, otherwise as colors."""
    if not as_colors and (pixels == pixels[:, :, :1]).all():
        return "values", pixels[:, :, 0]
    return "colors", pixels.astype(np.int32) @ np.array([0x10000, 0x100, 1], np.int32)


def _without_alpha(
    pixels: npt.NDArray[np.uint8], *, as_colors: bool
) -> tuple[MaskKind, npt.NDArray[Any]]:
    """Return (H, W, 2) or (H, W, 4), the last channel alpha, as values, colors or alpha."""
    color, alpha = pixels[:, :, :-1], pixels[:, :, -1]
    seen = color[alpha > 0]
    if not len(seen) and (color == color[:1, :1]).all():
        return "alpha", alpha
    if (alpha == alpha.flat[0]).all():
        alpha = np.full_like(alpha, 255)  # Also where it is 0: some programs leave it at that.
    elif not as_colors and (seen == seen[:1]).all():
        return "alpha", alpha
    color = np.where(alpha[:, :, None] > 0, color, 0).astype(np.uint8)
    if color.shape[2] == 1:
        color = np.repeat(color, 3, axis=2)
    return _colors(color, as_colors=as_colors)
