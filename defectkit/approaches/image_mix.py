"""The defect score of an image from its witnesses: its score map, and a judgment of it as a whole.

The map's largest score finds the smallest defect, but also the one odd spot on a good image; a
judgment of the whole knows what a surface looks like, but overlooks what is small. Mixed, they rank
images better than either (Bozic et al., "Mixed supervision for surface-defect detection", 2021).
Where a network gives the map alone, its score is scaled likewise (Platt, 1999). So 0.9 means the
same for all approaches: of such images of validation nine in ten are defective.
"""

import math
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_LOGIT = 14.0
"""Scores nearer to 0 or 1 than this logit, 8e-7, count as this one."""
MAX_EXPONENT = 700.0
"""An exponential of more overflows."""

Weight = Annotated[float, Field(ge=0.0, le=1e3)]
Bias = Annotated[float, Field(ge=-1e3, le=1e3)]


class ImageMix(BaseModel):
    """The logit of an image's defect score: both weighed logits, and a bias.

    Where pixels do not count, the judgment of the whole is of no use, since it saw them too: then
    the score is that of the map alone, with a weight and a bias of its own. Fitted to the same
    images, both are probabilities, so that the same thresholds hold.

    Raises:
        pydantic.ValidationError: a value is out of range, both weights are 0, or there is an
            unknown field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    map_weight: Weight = 0.5
    """Weight of the logit of the map's score."""
    image_weight: Weight = 0.5
    """Weight of the logit of the judgment of the whole."""
    bias: Bias = 0.0
    """What is added."""
    alone_weight: Annotated[float, Field(gt=0.0, le=2e3)] = 1.0
    """Weight of the logit of the map's score where it is the only witness."""
    alone_bias: Bias = 0.0
    """What is added there."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: Any) -> Any:
        """Return what a model has stored, with weights of the map alone if it has none.

        In those of earlier versions the map took the place of the judgment of the whole.
        """
        match content:
            case {"map_weight": float(of_map), "image_weight": float(of_image), "bias": bias}:
                return {"alone_weight": of_map + of_image, "alone_bias": bias, **content}
        return content

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.map_weight + self.image_weight:
            raise ValueError("one of the weights of an image score must be above 0")
        return self

    def score(self, map_score: float, image_logit: float | None) -> float:
        """Return the defect score in [0, 1] of an image.

        Args:
            map_score: the score of its map, in [0, 1].
            image_logit: the logit of the judgment of the whole; None where the map is the only
                witness.
        """
        if image_logit is None:
            if (self.alone_weight, self.alone_bias) == (1.0, 0.0):
                return map_score  # to the last bit, and beyond ``MAX_LOGIT``
            return sigmoid(self.alone_weight * logit(map_score) + self.alone_bias)
        return sigmoid(
            self.map_weight * logit(map_score) + self.image_weight * image_logit + self.bias
        )


def add_novelty(score: float, novelty: float, threshold: float | None) -> float:
    """Return the defect score in [0, 1] of an image by a trained approach and by novelty.

    Their odds add up: an image is defective if either says so. Weights fitted to labeled defects
    would silence novelty, since the trained approach has learned all of these.

    Args:
        score: that of the trained approach, in [0, 1].
        novelty: the score of the most novel place, in [0, 1].
        threshold: the novelty with odds of 1, which good images rarely reach; None: novelty does
            not count.
    """
    if threshold is None:
        return score
    return sigmoid(float(np.logaddexp(logit(score), logit(novelty) - logit(threshold))))


def logit(score: float) -> float:
    """Return the logit of a score in [0, 1], at most ``MAX_LOGIT`` away from 0."""
    if not 0.0 < score < 1.0:
        return math.copysign(MAX_LOGIT, score - 0.5)
    return min(max(math.log(score) - math.log1p(-score), -MAX_LOGIT), MAX_LOGIT)


def sigmoid(logit: float) -> float:
    """Return the score in [0, 1] of a logit."""
    return 1.0 / (1.0 + math.exp(min(-logit, MAX_EXPONENT)))
