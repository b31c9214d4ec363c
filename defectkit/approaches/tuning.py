"""``Tuning``: what is chosen on the validation split, beside the thresholds of the verdict."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from defectkit.approaches.image_mix import ImageMix

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Tuning(BaseModel):
    """How an approach makes findings from scores, chosen on validation and stored in the model.

    ``model_dump`` and ``model_validate`` write and read it; a model that lacks a field has its
    default.

    Raises:
        pydantic.ValidationError: a value is out of range, or there is an unknown field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    pixel_threshold: Share = 0.5
    """Pixels whose largest class score reaches it are found."""
    region_threshold: Share = 0.0
    """Regions whose score is lower are left out."""
    min_area: Annotated[int, Field(ge=0, le=2**28)] = 0
    """Regions with fewer pixels are left out; at least ``infer.min_area``."""
    image_mix: ImageMix = ImageMix()
    """How the image's score is mixed, where a network judges the image as a whole, too."""
    novelty_threshold: Share | None = None
    """Where novelty is fused with a trained approach, the score of novelty from which pixels that
    the trained approach does not see are found, too, and which alone gives an image a score of
    0.5; None: novelty does not count."""


UNTUNED = Tuning()
"""The tuning before anything was chosen."""


def read_tuning(info: Mapping[str, Any]) -> Tuning:
    """Return what was chosen on validation, from the content of ``model.json``.

    Earlier versions wrote the pixel threshold alone.

    Raises:
        pydantic.ValidationError: as ``Tuning``.
    """
    earlier = {"pixel_threshold": info.get("pixel_threshold")}
    return Tuning.model_validate(info.get("tuning", earlier))
