"""What ``prepare`` finds out about one image and its labels."""

from dataclasses import dataclass, field

from defectkit.arrays import Image, Int64Array
from defectkit.data.image_measures import ImageMeasures
from defectkit.data.images import read_image
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.labels.ledger import LedgerRow
from defectkit.object_stores import FilePath
from defectkit.regions import Region
from defectkit.vocabulary import PixelNote


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Size, hash, keypoints and labels of one image.

    Attributes:
        image_id: as in ``images.csv``.
        path: the image file.
        height: in pixels.
        width: in pixels.
        channels: 1 gray, 3 color, or another number up to 16.
        sha256: the hash of the file.
        pixels: how it was read.
        deep: whether its pixels have more than 8 bits.
        highest: its largest value as stored, where ``deep``.
        clipped: the share of its pixel values outside of the window, in [0, 1].
        levels: the number of pixels by value, where these are to be measured first; else None.
        notes: what is to be said of the file.
        keypoints: packed, as ``find_keypoints`` returns them.
        rles: the canonical encodings by class; classes without a defect pixel are left out.
        regions: the connected regions of each class.
        measures: what is measured of its pixels for the facts of the dataset.
        roi: the region to inspect, as the text of a scope.
        ignored: the ignored pixels, as the text of a scope.
        cut_rows: number of rows that had pixels which do not count; they are left out.
        lost_rows: number of those of which nothing is left.
        ledger: the outcome of each of its rows.
        unfit: the lines of the corrections that fit nothing, each with the reason.
        left_out: whether a correction leaves it out.
        problem: empty, or the reason why the image or its labels cannot be used; then nothing but
            the ledger counts.
    """

    image_id: str
    path: FilePath
    height: int = 0
    width: int = 0
    channels: int = 0
    sha256: str = ""
    pixels: PixelFormat = EIGHT_BITS
    deep: bool = False
    highest: int = 0
    clipped: float = 0.0
    levels: Int64Array | None = None
    notes: tuple[PixelNote, ...] = ()
    keypoints: bytes = b""
    rles: dict[str, str] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    measures: ImageMeasures = field(default_factory=ImageMeasures)
    roi: str = ""
    ignored: str = ""
    cut_rows: int = 0
    lost_rows: int = 0
    ledger: tuple[LedgerRow, ...] = ()
    unfit: tuple[tuple[int, str], ...] = ()
    left_out: bool = False
    problem: str = ""

    def read_image(self) -> Image:
        """Read the pixels again, as they were read when the image was examined.

        Raises:
            ImageError: the file can no longer be read.
        """
        return read_image(self.path, self.pixels)
