"""How the stored pixels of images become the 8 bits that everything else sees.

Decided when a dataset is prepared, kept in ``dataset.json`` and ``model.json``, and applied the
same wherever an image is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Image
from defectkit.data.strips import row_slices
from defectkit.errors import ImageError
from defectkit.vocabulary import PagesOption

MAX_16_BIT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How to read images.

    Attributes:
        window: the values that become 0 and 255 where pixels have more than 8 bits; None where no
            image has. Those of 8 bits are never changed.
        pages: whether the pages of a TIFF are the channels of an image, or all but the first are
            left out.
        shown: the three channels, from 0, that pictures of images of more than three show as red,
            green and blue; None for the first three.
    """

    window: tuple[float, float] | None = None
    pages: PagesOption = "first"
    shown: tuple[int, int, int] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Self:
        """Return what ``to_dict`` gave; None, from before it was kept, is all of 16 bits.

        Raises:
            TypeError, ValueError: the values are none.
        """
        if values is None:
            return cls(window=(0, MAX_16_BIT))
        window, shown, pages = (values.get(key) for key in ("window", "shown", "pages"))
        if window is not None:
            low, high = window
            if not float("-inf") < low < high < float("inf"):
                raise ValueError(f"{window} is not a window")
            window = (low, high)
        if shown is not None:
            first, second, third = shown
            if not all(type(one) is int and one >= 0 for one in shown):
                raise ValueError(f"{shown} are not three channels")
            shown = (first, second, third)
        for known in get_args(PagesOption):
            if pages == known:
                return cls(window=window, shown=shown, pages=known)
        raise ValueError(f"pages {pages!r} are not known")

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return asdict(self)

    def to_8_bits(self, values: npt.NDArray[Any], *, name: str) -> Image:
        """Return stored pixels as uint8 of the same shape; uint8 as it is.

        The window is divided into 256 equal steps: of 12 bits in 0..4095 the upper 8 are kept.
        Values outside of the window become 0 or 255.

        Raises:
            ImageError: they have more than 8 bits, and there is no window.
        """
        if values.dtype == np.uint8:
            return values
        if self.window is None:
            if values.dtype == np.uint16:
                raise ImageError(
                    f"{name}: its pixels have more than 8 bits, but the images that the dataset "
                    "was prepared from have 8. Save 8 bits, or prepare and train with such images."
                )
            raise ImageError(
                f"{name}: {values.dtype} pixels have no defined white. Save 8 bits, or give "
                "prepare --window LOW,HIGH (the values that become black and white), and train "
                "with such images."
            )
        if values.dtype == np.uint16:
            return np.asarray(_table(*self.window)[values])
        return _scale(values, *self.window)

    def clipped_share(self, values: npt.NDArray[Any]) -> float:
        """Return the share of stored pixels that lie outside of the window, in [0, 1]."""
        if values.dtype == np.uint8 or self.window is None:
            return 0.0
        low, high = self.window
        clipped = np.count_nonzero(values < low) + np.count_nonzero(values > high)
        return float(clipped / values.size)

    def show(self, image: Image) -> Image:
        """Return the picture of (H, W) or (H, W, C): gray and RGB as it is, else three channels."""
        if image.ndim == 2 or image.shape[2] in (1, 3):
            return image
        shown = self.shown or (0, 1, min(2, image.shape[2] - 1))
        return np.ascontiguousarray(image[:, :, shown])


EIGHT_BITS = PixelFormat()
"""That of images of 8 bits, gray or RGB."""


@cache
def _table(low: float, high: float) -> Image:
    """The 8 bits of each value of 16 bits."""
    return _scale(np.arange(MAX_16_BIT + 1), low, high)


def _scale(values: npt.NDArray[Any], low: float, high: float) -> Image:
    # Whole numbers include the last one: 0..4095 are 4096 values, 16 for each gray level.
    end = 1 if np.issubdtype(values.dtype, np.integer) else 0
    scaled = np.empty(values.shape, np.uint8)
    for rows in row_slices(len(values)):  # The numbers between take 16 times the memory.
        levels = np.floor((values[rows].astype(np.float64) - low) * 256 / (high - low + end))
        scaled[rows] = np.clip(levels, 0, 255)
    return scaled
