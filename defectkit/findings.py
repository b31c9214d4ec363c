"""``Finding``: the one thing every approach says of one image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectkit.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """What an approach says of one image, validated when made.

    Shapes: ``score_map`` (K, H, W) float32 in [0, 1] at the image's own size, one layer per
    defect class; ``class_scores`` (K,) float32 in [0, 1]; ``score`` in [0, 1] is the image's
    defect score, the thing that is thresholded; ``regions`` lie inside the image. ``detections``
    are all boxes that were considered, whatever their score, where an approach works with boxes:
    metrics that rank boxes need the doubtful ones too.

    Raises:
        ValueError: a shape, dtype or value range does not hold.
    """

    score_map: npt.NDArray[np.float32]
    regions: tuple[Region, ...]
    score: float
    class_scores: npt.NDArray[np.float32]
    detections: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        scores = self.score_map
        if scores.ndim != 3 or scores.dtype != np.float32:
            raise ValueError(
                f"score_map must be (K, H, W) float32 but got {scores.shape} {scores.dtype}"
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
    def defect_map(self) -> npt.NDArray[np.float32]:
        """The largest class score of each pixel, (H, W) float32: defect or not."""
        best: npt.NDArray[np.float32] = np.max(self.score_map, axis=0)
        return best
