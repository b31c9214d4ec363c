"""The class of a found region from its witnesses: its scores, and its shape and place.

A network looks at a window of the image and at textures; it hardly knows how large a region is, how
long, and whether it reaches the border of the image. Such facts alone tell some classes apart.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from defectkit.arrays import Float64Array, ImageSize
from defectkit.regions import Region

SHAPE_FACTS = 9
"""Number of facts that ``shape_facts`` returns."""
MIN_SHARE = 1e-6
"""A class counts at least this share of the highest one: scores rule no class out."""

FROM_LIST = Field(strict=False)  # JSON has no tuples
Coefficient = Annotated[float, Field(ge=-1e3, le=1e3)]
ClassRow = Annotated[
    tuple[Coefficient, ...], FROM_LIST, Field(min_length=SHAPE_FACTS, max_length=SHAPE_FACTS)
]
Weight = Annotated[float, Field(ge=0.0, le=1e3)]


class ClassMix(BaseModel):
    """The log-odds of a region's classes: weighted sums of those of its scores and of its shape.

    Raises:
        pydantic.ValidationError: a value is out of range, or there is an unknown field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    shape_coefficients: Annotated[tuple[ClassRow, ...], FROM_LIST] = ()
    """For each class what the ``shape_facts`` are multiplied by; empty: the shape says nothing."""
    score_weight: Weight = 1.0
    """Weight of the logarithm of the class's mean score."""
    shape_weight: Weight = 1.0
    """Weight of the log-odds by shape."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.score_weight + self.shape_weight:
            raise ValueError("one of the weights of a region's class must be above 0")
        return self

    def log_odds(self, region: Region, size: ImageSize) -> Float64Array:
        """Return those of the K classes, (K,), up to a constant.

        Args:
            region: the region, with its ``class_scores``.
            size: that of its image.
        """
        by_score = score_log_odds(region.class_scores)
        if not self.shape_coefficients:
            return by_score
        by_shape = np.array(self.shape_coefficients) @ shape_facts(region, size)
        return self.score_weight * by_score + self.shape_weight * by_shape


def score_log_odds(scores: Sequence[float]) -> Float64Array:
    """Return the log-odds (K,) of classes with these mean scores in [0, 1]: 0 for the highest."""
    known = np.asarray(scores, np.float64)
    shares = known / max(float(known.max()), float(np.finfo(np.float32).tiny))
    log_odds: Float64Array = np.log(np.maximum(shares, MIN_SHARE))
    return log_odds


def shape_facts(region: Region, size: ImageSize) -> Float64Array:
    """Return what a region's box and area say, in an image of that size: (9,).

    They are 1; the logarithms of the area, its square, that of the longer to the shorter side, and
    that of the filled part of the box; and whether the region reaches the image's top, left, bottom
    and right border, 0 or 1.
    """
    x, y, width, height = region.box_xywh
    log_area = math.log(region.area)
    return np.array(
        [
            1.0,
            log_area,
            log_area**2,
            abs(math.log(height / width)),
            math.log(region.area / (width * height)),
            float(y == 0),
            float(x == 0),
            float(y + height == size[0]),
            float(x + width == size[1]),
        ]
    )
