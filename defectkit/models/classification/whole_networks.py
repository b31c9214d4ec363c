"""Whole classifiers of timm and torchvision without their last layer, and torchvision's weights.

Shapes: N tiles, C input channels (1 gray, 3 RGB), F features.
"""

import io
import warnings
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import nn
from torchvision import models

from defectkit.errors import DefectkitWarning, ModelError
from defectkit.files import sha256_bytes
from defectkit.models.encoders import State, encoder_weights

LARGEST = 512
"""Tiles up to this side are tried to find one that a network takes."""


def build_whole(name: str, *, in_channels: int, tile: int, context: int) -> tuple[nn.Module, int]:
    """Return a network that turns tiles and their context into features (N, F), and F.

    Raises:
        ModelError: nobody knows the name, or the network wants another size of tiles.
    """
    if timm.is_model(name):
        body = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=0)
    else:
        body = _from_torchvision(name, in_channels)
    side = tile + 2 * context
    channels = _features(body, in_channels, side)
    if channels is None:
        sizes = range(side + 16, LARGEST + 1, 16)
        fits = next((size for size in sizes if _features(body, in_channels, size)), None)
        way_out = f"Set patch.tile={fits - 2 * context}." if fits else "Take another encoder."
        raise ModelError(
            f"{name} cannot look at {side}x{side} pixels (patch.tile={tile} and patch.context="
            f"{context} on both sides). {way_out}"
        )
    return body.train(), channels


def classifier_weights(weights: str, name: str, *, allow_download: bool) -> State | None:
    """Return the weights that ``model.weights`` says for ``name`` of timm or torchvision.

    Raises:
        ModelError: a path leads to no weights, or a download failed.
    """
    if weights != "auto" or timm.is_model(name):
        return encoder_weights(weights, name, allow_download=allow_download)
    return _torchvision_state(name, allow_download=allow_download)


def _features(body: nn.Module, in_channels: int, side: int) -> int | None:
    """How many features the network has of tiles of a side; None if it does not take them."""
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
        raise ModelError(f"{name} does not end in a linear layer. Take another encoder.")
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


def _torchvision_state(name: str, *, allow_download: bool) -> State | None:
    if name not in models.list_models(module=models):
        return None  # building it says so
    url = models.get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not file.is_file():
        if not allow_download:
            warnings.warn(
                f"no pretrained weights for {name}: looked for {file}. Training starts from random "
                "weights and needs more time and images. Give a file with model.weights=PATH, or "
                "allow the network with --allow-download.",
                DefectkitWarning,
                stacklevel=2,
            )
            return None
        _download(url, file)
    content = file.read_bytes()
    if not sha256_bytes(content).startswith(file.stem.rpartition("-")[2]):
        raise ModelError(f"{file} is damaged: its SHA-256 differs from its name. Delete it.")
    # A third party's pickle: only after its hash is known, and never more than tensors.
    return cast(State, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _download(url: str, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"downloading {url} failed ({type(error).__name__}: {error}). Drop --allow-download, "
            "or give a file with model.weights=PATH."
        ) from error
