"""The scope of an image: which of its pixels count.

Defects are searched only in the *region to inspect*; what lies outside of it is not even looked at.
*Ignored* pixels are inspected, but nobody says whether they are defects. Neither kind is learned
from or counted in a metric. Both are stored as text, in the size of the image: a region to inspect
as a box ``X,Y,W,H`` or in canonical encoding, "" where it is the whole image; ignored pixels in
canonical encoding, "" where there are none.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from defectkit.arrays import BoxXywh, ImageSize, Mask
from defectkit.errors import LabelError
from defectkit.labels import rle

NUMBER = r"(\d{1,9})"
BOX = re.compile(rf"[(\[]?{NUMBER}[,;]{NUMBER}[,;]{NUMBER}[,;]{NUMBER}[)\]]?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Scope:
    """The region to inspect and the ignored pixels of one image.

    ``roi`` is (H, W) bool, true in the region to inspect, None where that is the whole image;
    ``ignored`` is (H, W) bool, None where no pixel is ignored. Neither may be written to.
    """

    roi: Mask | None = None
    ignored: Mask | None = None

    @cached_property
    def counted(self) -> Mask | None:
        """The pixels that count, (H, W) bool; None where all do."""
        if self.ignored is None:
            return self.roi
        return ~self.ignored if self.roi is None else self.roi & ~self.ignored


EVERYWHERE = Scope()
"""All pixels count."""


def read_scope(roi: str, ignored: str, size: ImageSize) -> Scope:
    """Return the scope of an image of ``size`` from its two texts.

    Raises:
        LabelError: the region to inspect leaves the image, or a text is damaged.
    """
    if not roi and not ignored:
        return EVERYWHERE
    return Scope(
        roi=decode_roi(roi, size) if roi else None,
        ignored=_decode(ignored, size) if ignored else None,
    )


@lru_cache(maxsize=8)  # Often the same for all images.
def decode_roi(roi: str, size: ImageSize) -> Mask:
    """Return the region to inspect, (H, W) bool, in an image of ``size``; not to be written to.

    Raises:
        LabelError: it leaves the image.
    """
    box = parse_box(roi)
    if box is None:
        inside = _decode(roi, size)
    else:
        x, y, width, height = box
        if x + width > size[1] or y + height > size[0] or not width or not height:
            raise LabelError(
                f"the region to inspect X,Y,W,H = {roi} is not inside the image of "
                f"{size[1]}x{size[0]} pixels"
            )
        inside = np.zeros(size, np.bool_)
        inside[y : y + height, x : x + width] = True
    inside.flags.writeable = False
    return inside


def parse_box(text: str) -> BoxXywh | None:
    """Return the box of ``X,Y,W,H``, whole numbers with commas or semicolons, else None.

    >>> parse_box("16,0,640,480")
    (16, 0, 640, 480)
    """
    found = BOX.fullmatch("".join(text.split()))
    if not found:
        return None
    x, y, width, height = map(int, found.groups())
    return x, y, width, height


def format_box(box: BoxXywh) -> str:
    """Return the text of a box, as ``parse_box`` reads it."""
    return ",".join(map(str, box))


@lru_cache(maxsize=8)
def count_roi(text: str) -> int:
    """Return the number of pixels of a box or an encoding.

    >>> count_roi("16,0,640,480"), count_roi("5 3 20 2"), count_roi("")
    (307200, 5, 0)
    """
    box = parse_box(text)
    return box[2] * box[3] if box else sum(map(int, text.split()[1::2]))


def encode_roi(inside: Mask) -> str:
    """Return the text of a region to inspect, (H, W) bool; "" for the whole image.

    Raises:
        LabelError: no pixel is in it.
    """
    if not inside.any():
        raise LabelError("the region to inspect has no pixel: in its mask 0 is outside")
    return "" if inside.all() else rle.encode(inside)


def _decode(text: str, size: ImageSize) -> Mask:
    return np.ascontiguousarray(rle.decode(text, size)).view(np.bool_)
