"""The settings of a training run: frozen models, the one place where defaults live."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from defectkit.vocabulary import ApproachName, Device

PatchArchitecture = Literal["classifier", "all_conv", "lenet"]
BoxArchitecture = Literal[
    "yolo_grid", "localizer", "faster_rcnn", "mask_rcnn", "ssd", "retinanet", "fcos",
    "fast_rcnn", "rcnn",
]  # fmt: skip
SegmentArchitecture = Literal[
    "unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan",
    "deeplabv3", "deeplabv3plus", "upernet", "segformer", "dpt", "fcn", "segnet", "pixel_net",
]  # fmt: skip
Architecture = Literal[PatchArchitecture, BoxArchitecture, SegmentArchitecture]
# The first of each is its default.
ARCHITECTURES: dict[ApproachName, tuple[str, ...]] = {
    "patch": get_args(PatchArchitecture),
    "box": get_args(BoxArchitecture),
    "segment": get_args(SegmentArchitecture),
}
# They have nothing that could be pretrained: `model.encoder` does not concern them.
WITHOUT_ENCODER = ("segnet", "pixel_net", "all_conv", "lenet")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
FROM_LIST = Field(strict=False)  # YAML and JSON have no tuples


def _plain_name(name: str) -> str:
    # timm takes addresses too (hf-hub:..., local-dir:...): a model folder that names one would make
    # whoever loads it ask the network, or read what lies there.
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r} is no plain name such as resnet18; addresses are not followed")
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
    """The network, one of the approach's own: by default `unet` for `segment`, `classifier` for
    `patch`, `yolo_grid` for `box`."""
    encoder: Annotated[str, AfterValidator(_plain_name)] = "tf_efficientnet_lite0"
    """Any timm backbone by name (`classifier` takes torchvision's too); `fcn` takes `resnet50` or
    `resnet101`; `segnet`, `pixel_net`, `all_conv` and `lenet` have none."""
    weights: str = "auto"
    """`auto`: pretrained weights that are installed or cached; `none`: random; or the path of a
    `.safetensors` file or an earlier run."""
    decoder_channels: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], FROM_LIST] = (
        96,
        48,
        32,
        24,
    )
    """Channels of the decoder stages of `unet` and `manet`, from the deepest up. Five stages reach
    full size; with fewer the result is enlarged by 2, 4 ... and training is faster."""

    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    """How `fcn` enlarges its scores: by interpolation, or by a transposed convolution that
    learns."""


class LossConfig(_Section):
    """The weights of the loss terms of `segment`, whose weighted sum is minimized.

    `cross_entropy` makes the classes exclude each other and the background (softmax); `classes` is
    then not asked.
    """

    bce: NotNegative = 10.0
    """Binary cross-entropy of each class and pixel."""
    classes: NotNegative = 0.5
    """Cross-entropy over the classes at the pixels of defects. Above 0 the other terms ask whether
    there is any defect, and this one alone which: doubt between two classes then hides none. At 0
    each class is asked on its own, so that classes may overlap."""
    dice: NotNegative = 1.0
    """Soft Dice of each class, pooled over the batch."""
    focal: NotNegative = 0.0
    """Focal loss (Lin et al. 2017)."""
    focal_gamma: NotNegative = 2.0
    """How strongly the focal loss turns away from easy pixels."""
    cross_entropy: NotNegative = 0.0
    """Cross-entropy over background and classes; cannot be mixed with `bce`."""

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
    """What the network sees."""

    crop: Annotated[int, Field(ge=32, le=4096)] = 256
    """Side of the square training crops in pixels, at native resolution."""
    resize: Annotated[int, Field(ge=32, le=4096)] | None = None
    """If set, whole images are resized to this square instead of being cropped, in training and in
    inspection. Small defects suffer: meant for following papers that did so."""
    defect_fraction: Fraction = 0.5
    """The part of the training crops that are centered near a defect."""
    workers: Annotated[int, Field(ge=0, le=64)] | None = None
    """Loader processes; by default one less than the processors, at most 8."""


class PatchConfig(_Section):
    """The tiles of the approach `patch`."""

    tile: Annotated[int, Field(ge=16, le=512)] = 64
    """Side of the square tiles that are classified, in pixels."""
    stride: Annotated[int, Field(ge=1, le=512)] = 16
    """Pixels from one tile to the next when whole images are looked at."""
    context: Annotated[int, Field(ge=0, le=256)] = 16
    """Pixels that `classifier` sees around the tile on each side. With none it would learn from
    tiles with empty surroundings and then look at images that have none of those."""
    reduction: Literal[8, 16, 32] = 16
    """Where the encoder of `classifier` is cut off: at maps of 1/8, 1/16 or 1/32 of the image's
    side. What makes a texture is seen at 1/16, and it costs less."""
    min_coverage: Annotated[float, Field(gt=0.0, le=1.0)] = 2 / 3
    """A tile is defective when at least this part of it is defect, or when it holds at least this
    part of a whole defect, so that small and thin defects count too."""
    partial_tiles: Literal["skip", "good", "defective"] = "skip"
    """How tiles that hold less of a defect count: left out of training, good or defective."""
    tiles_per_image: Annotated[int, Field(ge=1)] = 16
    """Tiles that are cut from each image that is read; `train.batch_size` counts images."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stride > self.tile:
            raise ValueError(
                f"stride ({self.stride}) must not be larger than tile ({self.tile}): pixels "
                "between the tiles would not be looked at"
            )
        return self


class BoxConfig(_Section):
    """The approach `box`: how boxes are regressed, weighed and thinned out."""

    loss: Literal["smooth_l1", "l1", "l2", "giou"] = "giou"
    """What a wrong box of `localizer` and `yolo_grid` costs; the other detectors have their own."""
    loss_weight: Positive = 2.0
    """How much that counts beside the classification loss. It changes the loss itself, so judge it
    by the metrics, not by the loss; `l1` and `l2` want more, since the numbers are smaller."""
    grid_stride: Literal[8, 16, 32] = 16
    """Pixels a cell of `yolo_grid`."""
    anchors: Annotated[int, Field(ge=1, le=32)] = 5
    """Box shapes a cell of `yolo_grid`, found by k-means in the training boxes."""
    anchor_sizes: Annotated[tuple[Positive, ...], FROM_LIST] = (12.0, 24.0, 48.0, 96.0, 192.0)
    """Sides in pixels of the anchors of `faster_rcnn`, `mask_rcnn`, `ssd` and `retinanet`, one for
    each level of their feature maps, from the finest: small, since defects are. `fcos` has no
    anchors, but as many levels."""
    nms_iou: Fraction = 0.4
    """Of boxes that overlap more than this only the best is kept."""
    score_threshold: Fraction = 0.05
    """Boxes with a lower score are dropped, but for the one of `localizer`: its scores rank
    images."""
    max_detections: Annotated[int, Field(ge=1)] = 100
    """Largest number of boxes in an image."""


class AugmentConfig(_Section):
    """Random changes of the training samples. Choose what really happens on the line."""

    hflip: Fraction = 0.5
    """Probability of a left-right flip."""
    vflip: Fraction = 0.5
    """Probability of an up-down flip."""
    rot90: Fraction = 0.5
    """Probability of a turn by a random multiple of 90 degrees."""
    affine: Fraction = 0.3
    """Probability of a small affine change (the limits are the next three)."""
    rotate: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    """Largest turn in degrees."""
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Largest change of size: 0.15 means 0.85 to 1.15 times."""
    shift: Fraction = 0.05
    """Largest shift as a part of the side."""
    brightness_contrast: Fraction = 0.5
    """Probability of a change of brightness and contrast."""
    brightness: Fraction = 0.2
    """Largest change of brightness, as a part of the range."""
    contrast: Fraction = 0.3
    """Largest change of contrast."""
    noise: Fraction = 0.1
    """Probability of Gaussian noise."""
    blur: Fraction = 0.1
    """Probability of a slight Gaussian blur."""


class TrainConfig(_Section):
    """The loop."""

    epochs: Annotated[int, Field(ge=1)] = 30
    """Epochs; with `--max-time` the clock decides instead."""
    max_time: Positive | None = None
    """Wall-clock seconds for the whole of training, validation included."""
    samples_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Crops an epoch; by default two for each training image, but at least 128."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Crops a step."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """`sgd` uses Nesterov momentum."""
    lr: Positive = 1e-3
    """The highest learning rate."""
    encoder_lr_factor: Fraction = 0.3
    """The pretrained encoder learns at this part of `lr`; 0 keeps it frozen throughout."""
    freeze_stages: Annotated[int, Field(ge=0)] = 2
    """So many stages of a pretrained encoder, from the image down, never learn: edges and spots
    look alike everywhere, and training is a quarter faster with 2."""
    freeze_encoder_epochs: Annotated[int, Field(ge=0)] = 0
    """The encoder is frozen for so many epochs at the start."""
    weight_decay: NotNegative = 1e-2
    """Decay of weights (not of biases and norms)."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of `sgd`."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the rate falls: `step` multiplies it by `step_factor` every `step_epochs`."""
    warmup: Fraction = 0.05
    """The part of training in which the rate rises from 0 (`cosine` and `constant`)."""
    step_epochs: Annotated[int, Field(ge=1)] = 7
    """Epochs between two steps of the `step` schedule."""
    step_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Factor of the `step` schedule."""
    clip_norm: Positive | None = 1.0
    """Gradients are scaled down to this norm; null switches it off."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    """Decay of the moving average of weights that is validated and kept; 0 switches it off."""
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """Reduced precision: by default bf16 or fp16 on a GPU, off on a CPU."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop when validation has not improved for so many epochs; null never does."""


class InferConfig(_Section):
    """How a trained network looks at whole images."""

    tile: Annotated[int, Field(ge=64)] = 1024
    """Images with more than tile x tile pixels are cut into tiles of this side."""
    overlap: Annotated[int, Field(ge=0)] = 128
    """Overlap of neighboring tiles in pixels, blended."""
    min_area: Annotated[int, Field(ge=0)] = 0
    """Regions of fewer pixels are not reported. A hidden minimum is an escape: 0 by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap >= self.tile:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than tile ({self.tile})")
        return self


class Config(_Section):
    """A training run."""

    approach: ApproachName = "segment"
    """Which of the approaches."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Every random draw is keyed by it."""
    device: Device = "auto"
    """`auto` takes a GPU where there is one."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    patch: PatchConfig = PatchConfig()
    box: BoxConfig = BoxConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    infer: InferConfig = InferConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_architecture(cls, content: Any) -> Any:
        """Where none is named, take the approach's own default."""
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
                f"not to {self.approach}. Say --approach {theirs}, or take one of: {', '.join(own)}"
            )
        return self
