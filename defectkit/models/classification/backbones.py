"""Classifiers of timm and torchvision without their last layer.

Shapes: N tiles, C input channels (1 gray, 3 RGB, up to 16), F features.
"""

from typing import Any, cast

import timm
import torch
from torch import nn
from torchvision import models

from defectkit.errors import ModelError

MAX_TILE = 512
"""Largest side of tiles that is tried to find one that a network takes."""


def build_backbone(
    name: str, *, in_channels: int, tile: int, context: int
) -> tuple[nn.Module, int]:
    """Return a network that turns tiles with their context into features (N, F), and F.

    Raises:
        ModelError: neither timm nor torchvision knows the name, or the network needs tiles of
            another size.
    """
    if timm.is_model(name):
        body = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=0)
    else:
        body = _from_torchvision(name, in_channels)
    side = tile + 2 * context
    channels = _count_features(body, in_channels, side)
    if channels is None:
        sizes = range(side + 16, MAX_TILE + 1, 16)
        fits = next((size for size in sizes if _count_features(body, in_channels, size)), None)
        way_out = f"Set patch.tile={fits - 2 * context}." if fits else "Use another encoder."
        raise ModelError(
            f"{name} cannot classify {side}x{side} pixels (patch.tile={tile} and patch.context="
            f"{context} on both sides). {way_out}"
        )
    return body.train(), channels


def _count_features(body: nn.Module, in_channels: int, side: int) -> int | None:
    """Return the number of features of tiles of a side; None if the network does not take them."""
    try:
        with torch.no_grad():
            shape = body.eval()(torch.zeros(1, in_channels, side, side)).shape
    except (RuntimeError, AssertionError, ValueError):
        return None
    return int(shape[1])


def _from_torchvision(name: str, in_channels: int) -> nn.Module:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    if name not in models.list_models(module=models):
        raise ModelError(
            f"neither timm nor torchvision knows a classifier '{name}'. List names with: python -c "
            "'import timm, torchvision; print(*timm.list_models(), "
            "*torchvision.models.list_models(module=torchvision.models))'."
        )
    body = cast(nn.Module, models.get_model(name, weights=None, **options))
    layers = list(body.named_modules())
    last = next((path for path, layer in reversed(layers) if isinstance(layer, nn.Linear)), None)
    if last is None:
        raise ModelError(f"{name} does not end in a linear layer. Use another encoder.")
    _replace(body, last, nn.Identity())
    path, first = next((path, layer) for path, layer in layers if isinstance(layer, nn.Conv2d))
    if in_channels != first.in_channels:
        _replace(body, path, _with_channels(first, in_channels))
    return body


def _with_channels(layer: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        layer.out_channels,
        cast(tuple[int, int], layer.kernel_size),
        stride=cast(tuple[int, int], layer.stride),
        padding=cast(tuple[int, int], layer.padding),
        bias=layer.bias is not None,
    )


def _replace(body: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(body.get_submodule(parent), name, layer)
