"""The JSON files that defectkit writes and other programs may read: their entries, with types.

``docs/write_schemas.py`` publishes them as JSON Schema. Later versions may add entries; what goes
away or changes its meaning raises ``format_version``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from defectkit.approaches.tuning import Tuning
from defectkit.config import Config
from defectkit.data.dataset_facts import DatasetFacts
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.model_info import ModelInfo, Share
from defectkit.evaluation.box_metrics import BoxResult
from defectkit.evaluation.detection_by_size import Detection
from defectkit.evaluation.drift import Difference
from defectkit.evaluation.image_metrics import ImageResult
from defectkit.evaluation.pixel_metrics import PixelResult
from defectkit.evaluation.rates import Interval
from defectkit.evaluation.region_matching import ClassConfusion, RegionResult
from defectkit.vocabulary import EvaluatedSplit, LabelFormat, LabelKind, RleOrder, Split

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="allow")

    format_version: Annotated[int, Field(ge=1)]
    """That of the file's entries."""
    seal: Sha256
    """SHA-256 of all other entries, as text with sorted keys: the file is as it was written."""


class Source(BaseModel):
    """A file or folder that a dataset was made from."""

    path: str
    """As seen from the dataset's folder."""
    sha256: Sha256


class Convention(BaseModel):
    """How run-length encodings were read."""

    base: Literal[0, 1]
    order: RleOrder
    how_decided: str


class DatasetFile(_File):
    """``dataset.json``, which ``prepare`` writes last: what its tables were made from, and how."""

    defectkit: str
    """The version that wrote it."""
    source: Source
    format: LabelFormat
    form: str
    truth: LabelKind
    meta: Source | None
    images: str
    rle: Convention | None
    relabel: Source | None
    pixels: PixelFormat
    classes: list[str]
    counts: dict[str, Any]
    pixel_pitch: Annotated[float, Field(gt=0)] | None
    """Side of a pixel in mm."""
    roi: str | None
    ignore_class: str | None
    seed: int
    group_by: str | None
    split: dict[Split, Share]
    warnings: list[str]
    facts: DatasetFacts | None
    tables: dict[str, Sha256]


class RunFile(_File):
    """``run.json``: what a run was trained on, with which settings, on which machine, and when."""

    identity: Sha256
    """A hash of dataset and settings, without those that a resume may change."""
    dataset: Sha256
    """The fingerprint of the dataset."""
    dataset_folder: str
    config: Config
    note: str = ""
    device: str
    precision: str
    started: AwareDatetime
    resumed: list[AwareDatetime] = []
    ended: AwareDatetime | None = None
    status: Literal["running", "finished", "interrupted", "failed"]
    seconds: Annotated[float, Field(ge=0)]
    """Of all sessions that have ended."""
    versions: dict[str, str]
    command: list[str]


class Validated(BaseModel):
    """What the kept weights reached on validation."""

    images: int
    image_average_precision: Share | None
    pixel_average_precision: Share | None
    dice: Share | None


class ModelFile(ModelInfo, _File):
    """``model.json``: all that inspection needs besides the weights, and where they come from."""

    model_config = ConfigDict(extra="allow", strict=False)

    defectkit: str
    sha256: Sha256 | None = None
    """That of the weights; exported models have those of their files instead."""
    pixels: PixelFormat
    tuning: Tuning
    validation: Validated | None = None


class Lot(BaseModel):
    """A dataset that the model was not trained on."""

    name: str
    classes: Mapping[str, str]
    """Its classes that count as others of the model."""
    seen_images: int | None


class Evaluated(BaseModel):
    """What an evaluation is of."""

    model: Sha256
    """The seal of ``model.json``."""
    dataset: Sha256
    split: EvaluatedSplit
    another_lot: Lot | None = None


class AllRegionResult(RegionResult):
    """The ``region`` section, with whether regions of images called good are listed, too."""

    all_regions: bool


class Speed(TypedDict):
    """How fast images were judged, without the first one."""

    ms_per_image_median: float
    ms_per_image_p95: float
    images_per_second: float
    device: str
    threads: int


class Drift(TypedDict):
    """How far the images differ from those of validation, by measure and kind of image."""

    against_validation: dict[str, Difference] | None


class Counted(TypedDict):
    """What is counted of each split, where all are evaluated."""

    n_defective: int
    n_good: int
    escapes: int
    overkills: int
    reviews: int
    average_precision: float | None
    escape_rate: Interval
    overkill_rate: Interval


class MetricsFile(_File):
    """``metrics.json``, which ``evaluate`` writes."""

    image: ImageResult
    pixel: PixelResult
    region: AllRegionResult
    detection: Detection
    class_confusion: ClassConfusion | None
    box: BoxResult
    speed: Speed
    drift: Drift
    by_split: dict[Split, Counted] = {}
    evaluated: Evaluated
    tables: dict[str, Sha256]


WRITTEN_FILES: dict[str, type[_File]] = {
    "dataset": DatasetFile,
    "metrics": MetricsFile,
    "model": ModelFile,
    "run": RunFile,
}
"""The files by their names without ``.json``."""
