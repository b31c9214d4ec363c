"""The entries of ``model.json`` that are checked before anything is built from them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from defectkit.approaches.passes import Passes
from defectkit.data.image_kinds import MAX_CHANNELS, MAX_PIXELS, check_size
from defectkit.errors import ImageError, LabelError
from defectkit.evaluation.drift import MAX_LEVELS
from defectkit.labels.scope import decode_roi
from defectkit.vocabulary import MAX_CLASSES, ExportFormat, Precision

MAX_ROI_LENGTH = 2**23
MAX_IMAGES = 10**6
"""Max. number of images whose scores a model keeps."""
Word = Annotated[str, Field(max_length=200)]
Sentence = Annotated[str, Field(max_length=2000)]
Side = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

ROI_BY_IMAGE = "by image"
"""The entry ``roi`` of a model that was trained with a region to inspect of each image."""


class _Roi(BaseModel):
    """The region to inspect in images of one size, as the text of a scope."""

    model_config = ConfigDict(strict=True)

    shape: Annotated[str, Field(max_length=MAX_ROI_LENGTH)]
    height: Side
    width: Side

    @model_validator(mode="after")
    def _can_be_decoded(self) -> Self:
        try:
            check_size(self.height, self.width, name="roi")
            decode_roi(self.shape, (self.height, self.width))
        except (ImageError, LabelError) as error:
            raise ValueError(str(error)) from error
        return self


class _OutOfFold(BaseModel):
    """The images by which thresholds are chosen: scores, whether each is defective, groups."""

    model_config = ConfigDict(strict=True)

    scores: Annotated[list[Share], Field(max_length=MAX_IMAGES)]
    defective: Annotated[list[bool], Field(max_length=MAX_IMAGES)]
    groups: Annotated[list[Word], Field(max_length=MAX_IMAGES)] | None = None

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        groups = self.scores if self.groups is None else self.groups
        if not len(self.scores) == len(self.defective) == len(groups):
            raise ValueError("scores, defective and groups are not those of the same images")
        return self


_Count = Annotated[float, Field(ge=1.0, le=MAX_IMAGES)]
Level = Annotated[float, Field(ge=0.0, le=255.0, allow_inf_nan=False)]


class _Levels(BaseModel):
    """What is kept of validation images of one kind, to compare others with: quantiles."""

    model_config = ConfigDict(strict=True)

    images: Annotated[int, Field(ge=1, le=MAX_IMAGES)]
    groups: Annotated[int, Field(ge=1, le=MAX_IMAGES)]
    independent: dict[Literal["score", "brightness", "contrast"], _Count]
    score: Annotated[list[Share], Field(min_length=1, max_length=MAX_LEVELS)]
    brightness: Annotated[list[Level], Field(min_length=1, max_length=MAX_LEVELS)]
    contrast: Annotated[list[Level], Field(min_length=1, max_length=MAX_LEVELS)]


class _Trained(BaseModel):
    """What is kept of the trained approach that novelty was fused with."""

    model_config = ConfigDict(strict=True)

    config: dict[str, Any]
    tuning: dict[str, Any]
    run: Word = ""


class First(BaseModel):
    """The first model of a cascade, in the folder ``first``: it passes what is surely good."""

    model_config = ConfigDict(strict=True)

    seal: Word
    """That of its ``model.json``."""
    cut: Annotated[float, Field(gt=0.0, le=1.0)]
    """Images with a lower score by it are passed."""
    ceiling: Annotated[float, Field(gt=0.0, le=1.0)]
    """Their scores are scaled from [0, cut) to [0, ceiling)."""
    measured: dict[str, Any] = {}
    """How many validation images it passes, and how fast both are."""


class Exported(BaseModel):
    """How a model was exported: what its files are, and all that scoring by them needs."""

    model_config = ConfigDict(strict=True)

    format: ExportFormat
    precision: Precision
    files: Annotated[dict[Word, Word], Field(max_length=10)]
    """The SHA-256 of each file."""
    found_classes: Annotated[list[Word], Field(min_length=1, max_length=MAX_CLASSES)]
    """The classes of the score map's layers."""
    one_class: bool = False
    """Whether all pixels of a region get its class."""
    passes: Passes
    usual_shape: Annotated[list[Side], Field(min_length=4, max_length=4)] | None = None
    """(B, H, W, C) of what its graph computes at a time for images as those of validation, if all
    are of one size: it is compiled for them while other things are done."""
    parity: dict[str, Any] = {}
    looks: bool = False
    """Whether it is the first model of a cascade, which nothing was compared with."""
    first: First | None = None


class ModelInfo(BaseModel):
    """The entries of ``model.json`` that are checked; it may have further ones."""

    model_config = ConfigDict(strict=True)

    classes: Annotated[list[Word], Field(min_length=1, max_length=MAX_CLASSES)]
    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
    thresholds: dict[str, Share | Word]
    config: dict[str, Any]
    epoch: Annotated[int, Field(ge=0, le=10**6)]
    dataset: Word = ""
    run: Word = ""
    versions: dict[str, Word] = {}
    roi: _Roi | Literal["by image"] | None = None
    warnings: Annotated[list[Sentence], Field(max_length=100)] = []
    tuning_warnings: Annotated[list[Sentence], Field(max_length=100)] = []
    out_of_fold: _OutOfFold | None = None
    validation_levels: dict[Literal["good", "defective"], _Levels] = {}
    trained: _Trained | None = None
    exported: Exported | None = None
