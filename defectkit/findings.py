"""``Finding``: the result of every approach for one image; ``SparseFinding`` of a large one."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from defectkit.arrays import (
    Float32Array,
    ImageSize,
    IndexArray,
    Int16Array,
    Int32Array,
    Mask,
    RegionMap,
    ScoreMap,
)
from defectkit.regions import Region

NO_CLASS = -1
"""In place of the index of a layer: the layers of all classes have the same score."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """What an approach found in one image, validated when made.

    - ``score_map``: (K, H, W) float32 in [0, 1] at the image's own size, a layer for each of the
      approach's ``found_classes``.
    - ``region_map``: (H, W) int32, the number of the connected region of the found mask that a
      pixel belongs to, from 1; 0 on the background. The found mask has the pixels whose largest
      class score reaches the pixel threshold, without regions below the minimum area.
    - ``regions``: what is found, inside the image. Those of a detector may overlap; otherwise the
      i-th is region i + 1 of the map.
    - ``score``: the image's defect score in [0, 1], which the verdict compares with the thresholds.
    - ``class_scores``: (K,) float32 in [0, 1].
    - ``witnesses``: what ``score`` is mixed from: the score of the map or of the best detection, in
      [0, 1], and where a network also judges the image as a whole, the logit of that judgment. The
      logit is None where pixels do not count, which that judgment would see. All are None where
      nothing is to be mixed again.
    - ``detections``: all boxes of a detector, whatever their score, since metrics that rank boxes
      need the doubtful ones too; empty for other approaches.
    - Where a finding of several classes has the same score in all layers, no class is told: such
      regions have the class ``""``.

    Raises:
        ValueError: a shape, dtype or value range is wrong.
    """

    score_map: ScoreMap
    region_map: RegionMap
    regions: tuple[Region, ...]
    score: float
    class_scores: Float32Array
    witnesses: tuple[float, float | None] | None = None
    detections: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        scores = self.score_map
        if scores.ndim != 3 or scores.dtype != np.float32:
            raise ValueError(
                f"score_map must be (K, H, W) float32 but got {scores.shape} {scores.dtype}"
            )
        if self.region_map.shape != scores.shape[1:] or self.region_map.dtype != np.int32:
            raise ValueError(
                f"region_map must be {scores.shape[1:]} int32 but got {self.region_map.shape} "
                f"{self.region_map.dtype}"
            )
        if self.class_scores.shape != scores.shape[:1]:
            raise ValueError(
                f"class_scores must be ({scores.shape[0]},) but got {self.class_scores.shape}"
            )
        for name, values in (
            ("score_map", scores),
            ("class_scores", self.class_scores),
            ("score", np.float32(self.score)),
        ):
            # A NaN fails both comparisons, so it is caught here too.
            if not (np.min(values) >= 0.0 and np.max(values) <= 1.0):
                raise ValueError(f"{name} must be in [0, 1] and finite")
        _, image_height, image_width = scores.shape
        for region in (*self.regions, *self.detections):
            x, y, width, height = region.box_xywh
            if x < 0 or y < 0 or x + width > image_width or y + height > image_height:
                raise ValueError(
                    f"region box {region.box_xywh} leaves the {image_width}x{image_height} image"
                )

    @property
    def mask(self) -> Mask:
        """The found mask, (H, W) bool."""
        return self.region_map > 0

    @property
    def defect_map(self) -> ScoreMap:
        """The largest class score of each pixel, (H, W) float32: defect or not."""
        largest: ScoreMap = np.max(self.score_map, axis=0)
        return largest

    def without_regions(self) -> Self:
        """Return it with its scores and detections, but without regions."""
        # ``zeros`` takes no memory until something is written, ``zeros_like`` does.
        return replace(self, region_map=np.zeros(self.region_map.shape, np.int32), regions=())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseFinding:
    """What is told of a finding in an image whose score map is too large to be kept.

    - ``size``: the (height, width) of the image.
    - ``pixels``: the pixels of the found mask, (N,) int32: row times width plus column, sorted.
    - ``layers``: (N,) int16, what ``best_layers`` says of the scores of each found pixel.
    - ``highest``: the pixels with the highest score of all, (H, W / 8) uint8: ``np.packbits`` of
      each row.
    - ``regions``, ``score``: as those of ``Finding``.
    """

    size: ImageSize
    pixels: Int32Array
    layers: Int16Array
    highest: npt.NDArray[np.uint8]
    regions: tuple[Region, ...]
    score: float

    def found_in(self, rows: slice) -> Mask:
        """Return some rows of the found mask, (H, W) bool."""
        width = self.size[1]
        mask = np.zeros((rows.stop - rows.start, width), np.bool_)
        start, stop = np.searchsorted(self.pixels, (rows.start * width, rows.stop * width))
        mask.reshape(-1)[self.pixels[start:stop] - rows.start * width] = True
        return mask

    def highest_in(self, rows: slice) -> Mask:
        """Return the pixels with the highest score in some rows, (H, W) bool."""
        return np.unpackbits(self.highest[rows], axis=1, count=self.size[1]).view(np.bool_)

    def without_regions(self) -> Self:
        """Return it without regions."""
        return replace(self, pixels=self.pixels[:0], layers=self.layers[:0], regions=())


def best_layers(scores: Float32Array) -> IndexArray:
    """Return the layer with the largest score, of scores (K, ...) the index (...), int64.

    It is ``NO_CLASS`` where there are several layers and all have the same score.
    """
    best: IndexArray = scores.argmax(axis=0)
    if len(scores) > 1:
        best[(scores == scores[0]).all(axis=0)] = NO_CLASS
    return best
