"""Classifiers of tiles by name: encoders of timm, run densely, or networks for single tiles.

Shapes: B images, C input channels (1 gray, 3 RGB, up to 16), K outputs, H and W in pixels.
"""

from typing import cast

import torch
import torch.nn.functional as F
from timm import is_model
from timm.models import FeatureInfo
from torch import nn

from defectkit.errors import ModelError
from defectkit.models.classification.backbones import build_backbone
from defectkit.models.classification.tile_classifier import TileClassifier
from defectkit.models.encoders import StateDict, build_features, load_into_encoder, normalization

DROPOUT = 0.2


class DenseClassifier(TileClassifier):
    """A linear layer on an encoder's map, averaged over the tile's own window.

    The average and the layer are both linear, so the layer comes first: then an image costs one
    pass, and each of its tiles only a mean over K channels.

    The encoder pads its maps with zeros. A tile on its own has such a border around its context,
    where a tile in an image has its real neighbors; as far as the border has an effect the two
    differ. The context keeps it away from the tile, so that inspection sees what training saw: with
    16 pixels the scores of a trained default differ by 0.01 in the mean and 99 % of them by less
    than 0.15, with 32 by half of that. Encoders that average over all of their input
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
        cells = self.head(self.dropout(self.features(self.normalize(images))[-1]))
        edge = self.context // self.stride
        own = cells[:, :, edge : cells.shape[2] - edge, edge : cells.shape[3] - edge]
        return F.avg_pool2d(own, self.tile // self.stride, stride=1)


class SingleTileClassifier(TileClassifier):
    """A classifier of single tiles, such as AlexNet with its fully connected layers."""

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
    state: StateDict | None,
) -> TileClassifier:
    """Any timm encoder, cut off at ``reduction``, or else a whole network with a new last layer.

    Whole networks are those that torchvision alone has (AlexNet, GoogLeNet ...), and those of timm
    whose map does not lie on a grid of the image (Inception, transformers): they classify single
    tiles with their context.

    Raises:
        ModelError: neither timm nor torchvision knows the name, or ``tile`` or ``context`` does not
            fit the network.
    """
    mean, std = normalization(encoder)
    features = _build_grid_encoder(encoder, in_channels, reduction) if is_model(encoder) else None
    if features is None:
        backbone, channels = build_backbone(
            encoder, in_channels=in_channels, tile=tile, context=context
        )
        if state is not None:
            load_into_encoder(backbone, state)
        return SingleTileClassifier(
            backbone,
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
    return DenseClassifier(
        features,
        tile=tile,
        context=context,
        stride=reduction,
        out_channels=out_channels,
        mean=mean,
        std=std,
        pretrained=state is not None,
    )


def _build_grid_encoder(encoder: str, in_channels: int, reduction: int) -> nn.Module | None:
    """Return the encoder if each cell of its map stands for a square of the image, else None."""
    side = 8 * reduction
    try:
        features = build_features(
            encoder, in_channels=in_channels, reductions=(reduction,), state=None
        )
        with torch.no_grad():
            cells = features.eval()(torch.zeros(1, in_channels, side, side))[-1]
    except (ModelError, RuntimeError, AssertionError):
        return None
    info = cast(FeatureInfo, features.feature_info)
    # A transformer's layers have maps of one size: the first of them alone would be too little.
    one_size = [stage["reduction"] for stage in info.info].count(reduction) > 1
    fits = cells.shape == (1, info.channels()[-1], 8, 8)
    return features.train() if fits and not one_size else None


def _check_divides(reduction: int, *, tile: int, context: int) -> None:
    for key, value, smallest in (("tile", tile, reduction), ("context", context, 0)):
        if value % reduction:
            below = value // reduction * reduction
            sizes = sorted({max(below, smallest), below + reduction})
            raise ModelError(
                f"patch.{key}={value} is not divisible by patch.reduction={reduction}. "
                f"Use {' or '.join(map(str, sizes))}."
            )
