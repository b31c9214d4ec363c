"""Networks that score every pixel, by name: those of segmentation_models_pytorch, and ours.

Shapes: B images, C input channels (1 gray, 3 RGB, up to 16), K output channels.
"""

import copy
import math
from typing import Any, NamedTuple, Self, TypeVar, cast

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from scipy.special import logit
from segmentation_models_pytorch.base import SegmentationHead, SegmentationModel
from torch import nn

from defectkit.errors import ModelError
from defectkit.models.encoders import StateDict, load_into_encoder, normalization
from defectkit.models.network import Network, stage_ends
from defectkit.models.segmentation.heads import ClassHead, ImageHead
from defectkit.models.segmentation.pixel_net import PixelNet
from defectkit.models.segmentation.segnet import SegNet

ENCODER_STAGES = 5
DEFECT_PRIOR = 0.05
"""The probability of a defect that a pixel has before training."""
Module = TypeVar("Module", bound=nn.Module)
_TAKES_DECODER_CHANNELS = ("unet", "manet")
_WITHOUT_HEADS = ("dpt",)
"""Its encoder gives tokens, no maps of several sizes: what heads add is left out."""


class SegmenterOutput(NamedTuple):
    """The logits of every pixel, (B, K, H, W), and those of whole images, (B,), or None."""

    pixels: torch.Tensor
    images: torch.Tensor | None = None


class Segmenter(Network):
    """Scores every pixel, and where its architecture has the head for it, the image as a whole.

    With a ``reduction`` above 1 it sees the means of so many by so many pixels, and its scores are
    enlarged again.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        size_divisor: int,
        mean: float,
        std: float,
        encoder: nn.Module | None = None,
        stage_ends: tuple[str, ...] = (),
    ) -> None:
        super().__init__(mean=mean, std=std)
        self._set_encoder(encoder, stage_ends)
        self.body = body
        self.size_divisor = size_divisor
        self.reduction = 1
        self.interpolation = "bilinear"

    def reduce(self, factor: int) -> None:
        """Let it see images reduced by a factor; their sides must be divisible by more then."""
        self.reduction *= factor
        self.size_divisor *= factor

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        """(B, C, H, W) in [0, 255], uint8 or float -> logits."""
        images = self.normalize(images)
        if self.reduction == 1:
            return self.score(images)
        pixels, of_images = self.score(F.avg_pool2d(images, self.reduction))
        enlarged = F.interpolate(
            pixels, scale_factor=float(self.reduction), mode=self.interpolation
        )
        return SegmenterOutput(enlarged, of_images)

    def score(self, images: torch.Tensor) -> SegmenterOutput:
        """Normalized (B, C, H, W) -> logits."""
        outputs = self.body(images)
        if isinstance(outputs, dict):  # of torchvision
            outputs = outputs["out"]
        return SegmenterOutput(outputs)


class HeadedSegmenter(Segmenter):
    """A network of segmentation_models_pytorch with heads on its encoder's deep features.

    With ``class_head`` the body says *whether* in one channel, and the head *which*.
    """

    body: SegmentationModel

    def __init__(
        self,
        body: SegmentationModel,
        *,
        class_head: ClassHead | None,
        image_head: ImageHead | None,
        size_divisor: int,
        mean: float,
        std: float,
        encoder: nn.Module | None,
        stage_ends: tuple[str, ...],
    ) -> None:
        super().__init__(
            body,
            size_divisor=size_divisor,
            mean=mean,
            std=std,
            encoder=encoder,
            stage_ends=stage_ends,
        )
        self.class_head = class_head
        self.image_head = image_head

    def without_classes(self) -> Self:
        """Return it without the head of the classes; all else is shared."""
        return _with_modules(self, class_head=None)

    def first_blocks(self, reduction: int) -> nn.ModuleList | None:
        """Return the blocks of its decoder that come before 1 / ``reduction`` of an image's side.

        The last of them gives a map of that size. None if it has no such blocks, or no others.
        """
        blocks = getattr(self.body.decoder, "blocks", None)
        count = int(math.log2(self.body.encoder.output_stride / reduction))
        if not isinstance(blocks, nn.ModuleList) or not 0 < count < len(blocks):
            return None
        return blocks[:count]

    def ended_after(self, blocks: nn.ModuleList, head: nn.Module) -> Self:
        """Return it with these first blocks of its decoder alone, and with another head.

        It has no head of the classes, and enlarges what it sees reduced without interpolation,
        which would take a quarter of its time; all else is shared.
        """
        decoder = _with_modules(self.body.decoder, blocks=blocks)
        body = _with_modules(self.body, decoder=decoder, segmentation_head=head)
        ended = _with_modules(self.without_classes(), body=body)
        ended.interpolation = "nearest"
        return ended

    def score(self, images: torch.Tensor) -> SegmenterOutput:
        """Normalized (B, C, H, W) -> logits."""
        features = self.body.encoder(images)
        pixels = self.body.segmentation_head(self.body.decoder(features))
        of_images = None
        if self.image_head is not None:
            of_images = self.image_head(features, pixels.amax(dim=1, keepdim=True))
        if self.class_head is not None:
            pixels = torch.cat([pixels, self.class_head(features, pixels.shape[2:])], dim=1)
        return SegmenterOutput(pixels, of_images)


def _with_modules(module: Module, **modules: nn.Module | None) -> Module:
    """Return a module with others in place of these of its own; all else is shared."""
    other = copy.copy(module)
    other._modules = {**module._modules, **modules}
    return other


def build_segnet(*, in_channels: int, out_channels: int) -> Segmenter:
    """SegNet; its batch norm on the input completes the normalization."""
    body = SegNet(in_channels=in_channels, out_channels=out_channels)
    return Segmenter(body, size_divisor=SegNet.size_divisor, mean=0.0, std=255.0)


def build_pixel_net(*, in_channels: int, out_channels: int) -> Segmenter:
    """The sliding-window pixel classifier: the historical baseline, without pretrained weights."""
    body = PixelNet(in_channels=in_channels, out_channels=out_channels)
    return Segmenter(body, size_divisor=PixelNet.size_divisor, mean=127.5, std=63.75)


def build_smp(
    *,
    architecture: str,
    encoder: str,
    in_channels: int,
    out_channels: int,
    decoder_channels: tuple[int, ...],
    state: StateDict | None,
    class_head: bool = False,
    image_window: int | None = None,
) -> Segmenter:
    """Any architecture of segmentation_models_pytorch on any timm encoder.

    ``decoder_channels`` applies to ``unet`` and ``manet``; the others have their own defaults. With
    ``class_head`` all channels but the first, "any defect", come from deep features. With
    ``image_window`` windows of this side in pixels are judged as a whole, too. ``dpt`` has neither.

    Raises:
        ModelError: the encoder is unknown or does not fit the architecture.
    """
    class_head &= architecture not in _WITHOUT_HEADS
    body = _build_body(
        architecture=architecture,
        encoder=encoder,
        in_channels=in_channels,
        out_channels=1 if class_head else out_channels,
        decoder_channels=decoder_channels,
    )
    if class_head or out_channels == 1:
        _start_at_prior(body.segmentation_head)
    if state is not None:
        load_into_encoder(body.encoder.model, state)
    mean, std = normalization(encoder)
    common: dict[str, Any] = {
        # PAN halves its deepest map, at 1/16 of the image, three times more.
        "size_divisor": 128 if architecture == "pan" else max(32, body.encoder.output_stride),
        "mean": mean,
        "std": std,
        "encoder": body.encoder.model if state else None,
        "stage_ends": stage_ends(body.encoder.model),
    }
    if architecture in _WITHOUT_HEADS:
        return Segmenter(body, **common)
    channels = body.encoder.out_channels
    # Dilated encoders stop to shrink their maps at their stride.
    reduction = min(2 ** (len(channels) - 2), body.encoder.output_stride)
    return HeadedSegmenter(
        body,
        class_head=ClassHead(channels, out_channels - 1) if class_head else None,
        image_head=(
            ImageHead(channels, window=image_window, reduction=reduction) if image_window else None
        ),
        **common,
    )


def _start_at_prior(head: nn.Module) -> None:
    """Set the bias of the only output, whether there is a defect (Lin et al. 2017, focal loss).

    At 0 nearly all pixels pull it down from the start, by features that are active on the good
    surface; on defects the last ReLU then gives 0, and no gradient raises their score above 0.5.
    """
    last = [one for one in head.modules() if isinstance(one, nn.Conv2d)][-1]
    nn.init.constant_(cast(torch.Tensor, last.bias), logit(DEFECT_PRIOR))


def _build_body(
    *,
    architecture: str,
    encoder: str,
    in_channels: int,
    out_channels: int,
    decoder_channels: tuple[int, ...],
) -> Any:
    options = {}
    if architecture in _TAKES_DECODER_CHANNELS:
        missing = ENCODER_STAGES - len(decoder_channels)
        if not 0 <= missing < ENCODER_STAGES:
            raise ModelError(
                f"model.decoder_channels has {len(decoder_channels)} entries; give 1 to "
                f"{ENCODER_STAGES}."
            )
        options = {"decoder_channels": decoder_channels + (decoder_channels[-1],) * missing}
    try:
        body = smp.create_model(
            architecture,
            encoder_name=f"tu-{encoder}",
            encoder_weights=None,
            in_channels=in_channels,
            classes=out_channels,
            **options,
        )
    except (RuntimeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"{architecture} cannot be built on the encoder '{encoder}' ({error}). "
            "List names with: python -c 'import timm; print(*timm.list_models())'."
        ) from error
    if options and missing:
        # A decoder without its last stages ends below full size, at a third of the cost of a U-Net
        # with all five; the logits are then upsampled.
        body.decoder.blocks = body.decoder.blocks[: len(decoder_channels)]
        body.segmentation_head = SegmentationHead(
            decoder_channels[-1], out_channels, kernel_size=3, upsampling=2**missing
        )
    return body
