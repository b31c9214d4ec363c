"""Encoders of timm: as extractors of feature maps, with weights loaded into them."""

import warnings
from typing import cast

import timm
import torch
from torch import nn

from defectkit.errors import DefectkitWarning, ModelError

StateDict = dict[str, torch.Tensor]
"""Weights by name, as ``torch.nn.Module.state_dict`` gives them."""


def build_features(
    name: str, *, in_channels: int, reductions: tuple[int, ...], state: StateDict | None
) -> nn.Module:
    """Return timm's ``name`` as an extractor of feature maps, without its deeper stages.

    Called on (B, C, H, W) it returns a list of maps (B, channels, H / reduction, W / reduction),
    one for each of ``reductions``, which ascend; ``feature_info.channels()`` are their channels.

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
    # Some of timm's extractors run all stages, whichever maps are asked for.
    parts, _, last = features.feature_info.module_name()[-1].partition(".")
    if parts == "blocks" and hasattr(features, "blocks"):
        features.blocks = features.blocks[: int(last) + 1]
    if state is not None:
        load_into_encoder(features, state)
    return cast(nn.Module, features)


def load_into_encoder(encoder: nn.Module, state: StateDict) -> None:
    """Load ``state`` into an encoder of any number of input channels.

    Where these are not three, each gets its share of the sum of the first convolution's weights
    over the three: that gives the same as an image of three equal channels. Where ``state`` ends
    before the encoder does, the deeper stages keep their random weights, with a warning.

    Raises:
        ModelError: tensors are missing between others, or have other shapes.
    """
    known = plain_names(state)
    own = encoder.state_dict()
    chosen = {}
    for key, tensor in own.items():
        given = known.get(_plain_name(key))
        if given is None:
            continue
        if given.ndim == tensor.ndim == 4 and tensor.shape[1] != given.shape[1] == 3:
            channels = tensor.shape[1]
            given = (given.sum(dim=1, keepdim=True) / channels).repeat(1, channels, 1, 1)
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


def plain_names(state: StateDict) -> StateDict:
    """Return the weights under names with dots alone, so that they can be compared.

    timm's feature extractors write some dots of a name as underscores (stages_0, stages.0).
    """
    return {_plain_name(key): tensor for key, tensor in state.items()}


def _plain_name(key: str) -> str:
    return key.replace("_", ".")


def normalization(name: str) -> tuple[float, float]:
    """Return the (mean, standard deviation), in [0, 255], that timm's ``name`` was trained with.

    They are averaged over the three channels, so that gray and color are treated alike.
    """
    config = timm.get_pretrained_cfg(name)
    mean, std = (
        (config.mean, config.std) if config else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return 255.0 * sum(mean) / 3, 255.0 * sum(std) / 3
