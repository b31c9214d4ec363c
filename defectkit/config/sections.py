"""The settings of a training run: frozen models, the one place where defaults live."""

# Long: all settings stand in one file, section by section, as the reference lists them.

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from defectkit.config.architectures import ARCHITECTURES, Architecture
from defectkit.errors import MAX_SEED
from defectkit.processes import MAX_PROCESSES
from defectkit.vocabulary import Amp, ApproachName, Device

MAX_BATCH_PIXELS = 2**28
"""Max. number of pixels of the samples of one training step, 268 million."""
MAX_SECONDS = 1e7
"""Max. time of a training, 115 days."""

# Every number is bounded on both sides, and every text and list in its length: one
# without a bound is days of work or all memory in the hands of whoever writes a model.json.
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**6)]
CountOrZero = Annotated[int, Field(ge=0, le=10**6)]
Side = Annotated[int, Field(ge=32, le=4096)]
Channels = Annotated[int, Field(ge=1, le=1024)]
AnchorSide = Annotated[float, Field(gt=0.0, le=4096.0)]
FROM_LIST = Field(strict=False)  # YAML and JSON have no tuples


def _absolute(path: str) -> str:
    # A run is resumed from other folders, too.
    return str(Path(path).absolute())


def _plain_name(name: str) -> str:
    # timm takes addresses too (hf-hub:..., local-dir:...): an untrusted model folder with one would
    # make its loader access the network or read a local folder.
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r} is not a plain name such as resnet18; URLs are not opened")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class ModelConfig(_Section):
    """The network."""

    architecture: Architecture = "unet"
    """The network, one of the approach's own; by default `unet` for `segment`, `classifier` for
    `patch`, `yolo_grid` for `box`, `patch_core` for `novelty`."""
    encoder: Annotated[str, Field(max_length=200), AfterValidator(_plain_name)] = (
        "tf_efficientnet_lite0"
    )
    """Any timm backbone by name (`classifier` takes torchvision's too); `fcn` takes `resnet50` or
    `resnet101`; `segnet`, `pixel_net`, `all_conv` and `lenet` have none."""
    weights: Annotated[str, Field(max_length=4096)] = "auto"
    """`auto`: pretrained weights that are installed or cached; `none`: random weights; or the path
    of a `.safetensors` file or an earlier run."""
    decoder_channels: Annotated[tuple[Channels, ...], FROM_LIST, Field(max_length=5)] = (
        *(96, 48, 32, 24),
    )
    """Number of channels of each decoder stage of `unet` and `manet`, deepest first. Five stages
    reach full resolution; with fewer the scores are upsampled by 2, 4 ... and training is
    faster."""

    input_reduction: Literal[1, 2, 4] = 1
    """By how much the networks of `segment` see images reduced: by 2 they see means of 2 x 2
    pixels, in about a third of the time. What is thin, small or faint is found less."""
    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    """How `fcn` upsamples its scores: by interpolation, or by a learned transposed convolution."""


class LossConfig(_Section):
    """The weights of the loss terms of `segment`, whose weighted sum is minimized.

    `cross_entropy` makes the classes exclude each other and the background (softmax); `classes` is
    then ignored.
    """

    bce: NotNegative = 10.0
    """Weight of the binary cross-entropy of each class and pixel."""
    classes: NotNegative = 0.5
    """Weight of the cross-entropy over the classes on defect pixels. Above 0, the other terms learn
    whether there is a defect, and this term alone learns its class: a defect whose class is unclear
    is still found. At 0 each class is learned on its own, and classes may overlap."""
    dice: NotNegative = 1.0
    """Weight of the soft Dice loss of each class, pooled over the batch."""
    focal: NotNegative = 0.0
    """Weight of the focal loss (Lin et al. 2017)."""
    focal_gamma: NotNegative = 2.0
    """Focusing exponent of the focal loss: a larger value gives easy pixels less weight."""
    cross_entropy: NotNegative = 0.0
    """Weight of the cross-entropy over background and classes; cannot be combined with `bce`."""
    image: NotNegative = 0.5
    """Weight of the cross-entropy of whether a crop has a defect, from a head on deep features that
    judges images as a whole; 0 leaves the head out, and the score map alone says whether."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bce + self.dice + self.focal + self.cross_entropy == 0:
            raise ValueError(
                "all weights are 0; set at least one of bce, dice, focal, cross_entropy"
            )
        if self.cross_entropy and self.bce:
            raise ValueError("bce and cross_entropy cannot both be above 0; set loss.bce=0")
        return self


class DataConfig(_Section):
    """The training samples and how they are read."""

    crop: Side = 256
    """Side of the square training crops in pixels, at native resolution."""
    resize: Side | None = None
    """If set, whole images are resized to a square of this side instead of being cropped, in
    training and in inspection. Small defects may be lost: use it only to reproduce papers that
    resized."""
    defect_fraction: Fraction = 0.5
    """Fraction of the training crops that are centered near a defect."""
    class_balance: Fraction = 0.5
    """How often rare classes are drawn near a defect: with 0 all classes by the number of their
    images, with 0.5 by its root, with 1 equally often."""
    injection: Fraction = 0.0
    """Fraction of the other crops into which a real defect of another training image is pasted,
    where the surface looks alike; not for `patch`, with `data.resize` or for `localizer`."""
    hard_negatives: Fraction = 0.0
    """Fraction of the crops near no defect and without an injected one that are cut around good
    places which the network takes for defects. They are looked for after each epoch; not for
    `patch`, with `data.resize` or for `localizer`."""
    cache_mib: Annotated[int, Field(ge=0, le=2**20)] | None = None
    """Memory in MiB for decoded training images, all loader processes together; 0 caches none. By
    default a quarter of the free memory."""
    workers: Annotated[int, Field(ge=0, le=MAX_PROCESSES)] | None = None
    """Number of loader processes; by default one less than the number of processors, at most 8, or
    32 for a GPU."""


class PatchConfig(_Section):
    """The tiles of the approach `patch`."""

    tile: Annotated[int, Field(ge=16, le=512)] = 64
    """Side of the square tiles that are classified, in pixels."""
    stride: Annotated[int, Field(ge=1, le=512)] = 16
    """Pixels from one tile to the next when whole images are inspected."""
    context: Annotated[int, Field(ge=0, le=256)] = 16
    """Pixels around the tile on each side that `classifier` sees too. With 0, training pads tiles
    with zeros, but in inspection real pixels surround every tile."""
    reduction: Literal[8, 16, 32] = 16
    """Where the encoder of `classifier` is cut off: at feature maps of 1/8, 1/16 or 1/32 of the
    image's side. 1/16 is fine enough for textures and faster than 1/8."""
    min_coverage: Annotated[float, Field(gt=0.0, le=1.0)] = 2 / 3
    """A tile counts as defective when at least this fraction of it is covered by defects, or when
    it contains at least this fraction of a region, so that small and thin defects count too."""
    partial_tiles: Literal["skip", "good", "defective"] = "skip"
    """How tiles count that contain defect pixels, but fewer than `min_coverage` requires: `skip`
    leaves them out of training."""
    tiles_per_image: Annotated[int, Field(ge=1, le=4096)] = 16
    """Number of tiles cut from each image that is read; `train.batch_size` counts images."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stride > self.tile:
            raise ValueError(
                f"stride ({self.stride}) must not be larger than tile ({self.tile}): pixels "
                "between the tiles would not be inspected"
            )
        if self.tile > 16 * self.stride:
            raise ValueError(
                f"stride ({self.stride}) must be at least 1/16 of tile ({self.tile}): every pixel "
                "would be classified in more than 256 tiles"
            )
        return self


class BoxConfig(_Section):
    """The approach `box`: box regression, anchors and the selection of boxes."""

    loss: Literal["smooth_l1", "l1", "l2", "giou"] = "giou"
    """Regression loss of the boxes of `localizer` and `yolo_grid`; the other detectors have their
    own."""
    loss_weight: Positive = 2.0
    """Weight of the regression loss beside the classification loss. It changes the value of the
    loss, so compare runs by the metrics; `l1` and `l2` need a larger weight, since their values are
    smaller."""
    grid_stride: Literal[8, 16, 32] = 16
    """Side of a cell of `yolo_grid` in pixels."""
    anchors: Annotated[int, Field(ge=1, le=32)] = 5
    """Number of anchor boxes per cell of `yolo_grid`, found by k-means in the training boxes."""
    anchor_sizes: Annotated[tuple[AnchorSide, ...], FROM_LIST, Field(max_length=16)] = (
        *(12.0, 24.0, 48.0, 96.0, 192.0),
    )
    """Sides in pixels of the anchors of `faster_rcnn`, `mask_rcnn`, `ssd` and `retinanet`, one per
    level of their feature maps, finest first: small, since defects are small. `fcos` has no
    anchors, but as many levels."""
    nms_iou: Fraction = 0.4
    """Of boxes whose IoU is larger, only the one with the highest score is kept."""
    score_threshold: Fraction = 0.05
    """Boxes with a lower score are dropped, except the single box of `localizer`, whose score ranks
    images."""
    max_detections: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of boxes per image."""


class NoveltyConfig(_Section):
    """The approach `novelty`: it learns what good images look like, from these alone."""

    bank: Annotated[int, Field(ge=1, le=20_000)] = 1024
    """Number of features of good images that are kept, chosen so that none is far from all of them.
    A larger bank knows rarer kinds of good surface, and takes more time."""
    fuse: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_absolute)] | None = (
        None
    )
    """An earlier run of `segment`, `patch` or `box` on the same dataset, which is fused with
    `novelty` in one model: it finds what that run learned, and places that are new to both."""


class AugmentConfig(_Section):
    """Random augmentations of training samples. Use only changes that occur in production."""

    hflip: Fraction = 0.5
    """Probability of a left-right flip."""
    vflip: Fraction = 0.5
    """Probability of an up-down flip."""
    rot90: Fraction = 0.5
    """Probability of a rotation by a random multiple of 90 degrees."""
    affine: Fraction = 0.3
    """Probability of a small affine transform (limited by the next three)."""
    rotate: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    """Largest rotation in degrees."""
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Largest change of size: 0.15 means 0.85 to 1.15 times."""
    shift: Fraction = 0.05
    """Largest shift as a fraction of the side."""
    brightness_contrast: Fraction = 0.5
    """Probability of a change of brightness and contrast."""
    brightness: Fraction = 0.2
    """Largest change of brightness, as a fraction of the range."""
    contrast: Fraction = 0.3
    """Largest change of contrast, as a fraction."""
    noise: Fraction = 0.1
    """Probability of Gaussian noise."""
    blur: Fraction = 0.1
    """Probability of a slight Gaussian blur."""


class TrainConfig(_Section):
    """The training loop."""

    epochs: Count = 30
    """Number of epochs; with `max_time` the time limit decides instead."""
    max_time: Annotated[float, Field(gt=0.0, le=MAX_SECONDS)] | None = None
    """Wall-clock limit in seconds for the whole training, validation included."""
    samples_per_epoch: Count | None = None
    """Number of samples per epoch; by default two per training image, but at least 128."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Number of samples per step, of all processes together."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """`sgd` uses Nesterov momentum."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    encoder_lr_factor: Fraction = 0.3
    """Learning rate of the pretrained encoder as a fraction of `lr`; 0 keeps it frozen
    throughout."""
    freeze_stages: Annotated[int, Field(ge=0, le=100)] = 2
    """Number of stages of a pretrained encoder, first stage first, that stay frozen: they
    detect edges and spots, which are alike in all images. With 2, training is a quarter faster."""
    freeze_encoder_epochs: CountOrZero = 0
    """Number of epochs at the start in which the whole encoder is frozen."""
    weight_decay: NotNegative = 1e-2
    """Weight decay (not of biases and norms)."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of `sgd`."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """Schedule of the learning rate: `step` multiplies it by `step_factor` every `step_epochs`."""
    warmup: Fraction = 0.05
    """Fraction of training in which the learning rate rises from 0 (`cosine` and `constant`)."""
    step_epochs: Count = 7
    """Number of epochs between two steps of the `step` schedule."""
    step_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Factor of the `step` schedule."""
    clip_norm: Positive | None = 1.0
    """Maximum norm of the gradients; null switches clipping off."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    """Decay of the moving average of the weights that is validated and saved; 0 switches it off."""
    amp: Amp = "auto"
    """Reduced precision; `auto` takes bf16 or fp16 on a GPU, bf16 on a CPU that multiplies matrices
    in it (AMX), else none. Networks that find boxes take it only if told so, and never for
    boxes and losses."""
    patience: Count | None = None
    """Number of epochs without improvement, in at least two validations if it is above 1, after
    which training stops; null never stops early."""
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Number of folds: with few defective images, thresholds that rest on all of them. For each
    fold of the training and validation images a network is trained on the others and validated on
    it, and a last one is trained on all. `max_time` is the time of all of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folds and self.patience:
            raise ValueError(
                "folds and patience cannot both be set: the last training, of all images, has no "
                "validation that could stop it"
            )
        return self


class InferConfig(_Section):
    """How a trained network is applied to whole images."""

    tile: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Images with more than tile x tile pixels are split into tiles of this side."""
    overlap: Annotated[int, Field(ge=0, le=4096)] = 128
    """Overlap of neighboring tiles in pixels, at most 7/8 of `tile`; scores are blended there."""
    margin: Annotated[int, Field(ge=0, le=512)] = 32
    """Pixels by which `segment` reflects an image beyond its border, so that the network sees there
    what it sees elsewhere."""
    flip: bool = False
    """Whether `segment` also scores the mirrored image and takes the mean, in twice the time."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Reduced precision of the network that scores images, from validation on; the thresholds are
    chosen for it. Boxes keep 32 bits, and so do exported models. Not for `novelty`."""
    min_area: Annotated[int, Field(ge=0, le=2**28)] = 0
    """Regions with fewer pixels are left out, whatever validation chooses. It changes no image
    score, so no verdict."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 8 * self.overlap > 7 * self.tile:
            raise ValueError(
                f"overlap ({self.overlap}) must be at most 7/8 of tile ({self.tile}): every pixel "
                "would be computed in more than 64 tiles"
            )
        return self


class Config(_Section):
    """A training run."""

    approach: ApproachName = "segment"
    """The approach: `segment`, `patch`, `box` or `novelty`."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Seed of every random draw."""
    device: Device = "auto"
    """Where to compute; `auto` takes a GPU if there is one."""
    plan: bool = True
    """Whether settings that are not given are planned from the dataset, as `defectkit plan` shows.
    With `false` they have the defaults of this table."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    patch: PatchConfig = PatchConfig()
    box: BoxConfig = BoxConfig()
    novelty: NoveltyConfig = NoveltyConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    infer: InferConfig = InferConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_architecture(cls, content: Any) -> Any:
        """Choose the default architecture of the approach where none is named."""
        if not isinstance(content, Mapping):
            return content
        approach, model = content.get("approach"), content.get("model", {})
        unnamed = isinstance(model, Mapping) and "architecture" not in model
        own = next((own for name, own in ARCHITECTURES.items() if name == approach), None)
        if unnamed and own:
            named = {**model, "architecture": own[0]}
            return {**content, "model": named}
        return content

    @model_validator(mode="after")
    def _check(self) -> Self:
        own = ARCHITECTURES[self.approach]
        if self.model.architecture not in own:
            theirs = next(
                a for a, names in ARCHITECTURES.items() if self.model.architecture in names
            )
            raise ValueError(
                f"model.architecture '{self.model.architecture}' belongs to the approach {theirs}, "
                f"not to {self.approach}. Use --approach {theirs}, or one of: {', '.join(own)}"
            )
        if self.novelty.fuse and self.approach != "novelty":
            raise ValueError(
                f"novelty.fuse fuses novelty with an earlier run, but the approach is "
                f"{self.approach}. Use --approach novelty, or leave novelty.fuse out"
            )
        if self.infer.amp != "off" and self.approach == "novelty":
            raise ValueError(
                f"infer.amp is {self.infer.amp}, but novelty measures small distances, which takes "
                "32 bits. Leave infer.amp out"
            )
        if self.novelty.fuse and self.train.folds:
            raise ValueError(
                "train.folds and novelty.fuse cannot both be set: the run that is fused was "
                "trained on images of most folds. Train without --folds"
            )
        pixels = self.train.batch_size * self._sample_pixels
        if pixels > MAX_BATCH_PIXELS:
            raise ValueError(
                f"train.batch_size {self.train.batch_size} makes {pixels:,} pixels per training "
                f"step, more than the limit of {MAX_BATCH_PIXELS:,}. Use a smaller batch_size, or "
                "smaller or fewer crops or tiles"
            )
        return self

    @property
    def _sample_pixels(self) -> int:
        """The number of pixels of a training sample."""
        if self.approach == "patch":
            return self.patch.tiles_per_image * (self.patch.tile + 2 * self.patch.context) ** 2
        return (self.data.resize or self.data.crop) ** 2
