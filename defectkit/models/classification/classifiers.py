"""Classifiers of tiles by name: any encoder of timm, run densely, or any whole network.

Shapes: B images, C input channels (1 gray, 3 RGB), K outputs, H and W in pixels.
"""

from typing import cast

import torch
import torch.nn.functional as F
from timm import is_model
from timm.models import FeatureInfo
from torch import nn

from defectkit.errors import ModelError
from defectkit.models.classification.dense import TileNetwork
from defectkit.models.classification.whole_networks import build_whole
from defectkit.models.encoders import State, build_features, load_into_encoder, normalization

DROPOUT = 0.2


class EncoderClassifier(TileNetwork):
    """A linear layer on an encoder's map, averaged over the tile's own window.

    The average and the layer are both linear, so the layer comes first: then an image costs one
    pass, and every tile of it no more than a mean over K channels.

    The encoder pads its maps with zeros. A tile alone has such a border around its context, a tile
    in an image has its real neighbors there; the two differ as far as the border is felt. The
    context keeps it away from the tile, and is why training sees what inspection sees: with 16
    pixels the scores of a trained default differ by 0.01 in the mean and 99 % of them by less than
    0.15, with 32 by half of that. Encoders that look at all of their input at once
    (squeeze-and-excitation) differ everywhere.
    """

    def __init__(
        self,
        features: nn.Module,
        *,
        tile: int,
        context: int,
        stride: int,
        out_channels: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.tile, self.context, self.stride = tile, context, stride
        (channels,) = cast(FeatureInfo, features.feature_info).channels()
        self.dropout = nn.Dropout2d(DROPOUT)  # whole channels, as if the mean came before it
        self.head = nn.Conv2d(channels, out_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [0, 255], uint8 or float -> logits (B, K, h, w) of the tiles."""
        assert self.stride is not None
        places = self.head(self.dropout(self.features(self.normalize(images))[-1]))
        edge = self.context // self.stride
        own = places[:, :, edge : places.shape[2] - edge, edge : places.shape[3] - edge]
        return F.avg_pool2d(own, self.tile // self.stride, stride=1)


class WholeClassifier(TileNetwork):
    """A classifier that takes whole tiles alone, such as AlexNet with its dense layers."""

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: int,
        tile: int,
        context: int,
        out_channels: int,
        mean: float,
        std: float,
        pretrained: bool,
    ) -> None:
        super().__init__(mean=mean, std=std, features=features, pretrained=pretrained)
        self.tile, self.context = tile, context
        self.head = nn.Linear(channels, out_channels)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """(B, C, size, size) in [0, 255], uint8 or float -> logits (B, K, 1, 1)."""
        logits = self.head(self.features(self.normalize(tiles)))
        return cast(torch.Tensor, logits)[:, :, None, None]


def build_classifier(
    *,
    encoder: str,
    tile: int,
    context: int,
    reduction: int,
    in_channels: int,
    out_channels: int,
    state: State | None,
) -> TileNetwork:
    """Any timm encoder, cut off at ``reduction``, or else a whole classifier with a new last layer.

    Whole are torchvision's own networks (AlexNet, GoogLeNet ...) and those of timm whose map does
    not lie on a grid of the image (Inception, transformers): they judge the tile and its context as
    one.

    Raises:
        ModelError: nobody knows the name, or ``tile`` or ``context`` does not fit the network.
    """
    mean, std = normalization(encoder)
    features = _build_grid(encoder, in_channels, reduction) if is_model(encoder) else None
    if features is None:
        whole, channels = build_whole(encoder, in_channels=in_channels, tile=tile, context=context)
        if state is not None:
            load_into_encoder(whole, state)
        return WholeClassifier(
            whole,
            channels=channels,
            tile=tile,
            context=context,
            out_channels=out_channels,
            mean=mean,
            std=std,
            pretrained=state is not None,
        )
    _check_divides(reduction, tile=tile, context=context)
    if state is not None:
        load_into_encoder(features, state)
    return EncoderClassifier(
        features,
        tile=tile,
        context=context,
        stride=reduction,
        out_channels=out_channels,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )


def _build_grid(encoder: str, in_channels: int, reduction: int) -> nn.Module | None:
    """Return the encoder if each place of its map stands for a square of the image, else None."""
    side = 8 * reduction
    try:
        features = build_features(
            encoder, in_channels=in_channels, reductions=(reduction,), state=None
        )
        with torch.no_grad():
            places = features.eval()(torch.zeros(1, in_channels, side, side))[-1]
    except (ModelError, RuntimeError, AssertionError):
        return None
    info = cast(FeatureInfo, features.feature_info)
    # A transformer's layers are all of one size: the first of them alone would be too little.
    alike = [stage["reduction"] for stage in info.info].count(reduction) > 1
    fits = places.shape == (1, info.channels()[-1], 8, 8)
    return features.train() if fits and not alike else None


def _check_divides(reduction: int, *, tile: int, context: int) -> None:
    for key, value, least in (("tile", tile, reduction), ("context", context, 0)):
        if value % reduction:
            below = value // reduction * reduction
            sizes = sorted({max(below, least), below + reduction})
            raise ModelError(
                f"patch.{key}={value} cannot be divided by patch.reduction={reduction}. "
                f"Take {' or '.join(map(str, sizes))}."
            )
