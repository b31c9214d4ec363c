"""``model/``: ``model.safetensors`` and ``model.json``, written by training, read by inspection."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from defectkit import __version__
from defectkit.approaches.build import build_approach
from defectkit.approaches.interface import Approach
from defectkit.approaches.score_maps import finding_mask
from defectkit.config import Config, make_config
from defectkit.data.images import convert_channels
from defectkit.devices import choose_device
from defectkit.errors import ConfigError, ModelError
from defectkit.evaluation.operating_points import Thresholds
from defectkit.files import read_json, read_limited, sha256_bytes, write_bytes, write_json
from defectkit.findings import Finding
from defectkit.models.network import Network
from defectkit.vocabulary import Device

FORMAT_VERSION = 1
MAX_WEIGHT_BYTES = 2**32
"""Larger weights are none of ours: 4 GiB."""


class _Info(BaseModel):
    """What ``model.json`` must hold, beside the configuration and what may be added to it."""

    model_config = ConfigDict(strict=True)

    classes: Annotated[list[str], Field(min_length=1)]
    channels: Literal[1, 3]
    pixel_threshold: Annotated[float, Field(ge=0.0, le=1.0)]
    thresholds: dict[str, float | str]
    config: dict[str, Any]
    epoch: int
    dataset: str = ""
    warnings: list[str] = []


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network with everything it needs to give verdicts."""

    approach: Approach
    network: Network
    thresholds: Thresholds
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path | str, *, device: Device = "auto") -> Self:
        """Read a run or its ``model/`` folder onto a device.

        Raises:
            ModelError: a file is missing, damaged, or of another format version.
        """
        folder = model_folder(path)
        info, weights = _read(folder)
        try:
            _Info.model_validate(info)
            state = _finite(load(weights))
            approach = build_approach(
                _without_weights(make_config(info["config"], name=str(folder / "model.json"))),
                classes=tuple(info["classes"]),
                channels=info["channels"],
                pixel_threshold=info["pixel_threshold"],
            )
            network = approach.network()
            network.load_state_dict(state)
            thresholds = Thresholds.from_dict(info["thresholds"])
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise ModelError(f"{folder} does not fit this defectkit: {'; '.join(wrong)}") from None
        except (TypeError, ValueError, RuntimeError, SafetensorError, ConfigError) as error:
            raise ModelError(f"{folder} does not fit this defectkit: {error}") from error
        network = network.to(choose_device(device)).to(memory_format=torch.channels_last).eval()
        return cls(approach, network, thresholds, info)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def mask(self, finding: Finding) -> npt.NDArray[np.bool_]:
        """Return the (H, W) mask of a finding's regions."""
        return finding_mask(
            finding,
            pixel_threshold=self.approach.pixel_threshold,
            min_area=self.approach.config.infer.min_area,
        )

    def find(self, image: npt.NDArray[np.uint8]) -> Finding:
        """Look at one image, (H, W) gray or (H, W, 3) RGB uint8, of any size."""
        return self.find_all([image])[0]

    def find_all(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Finding]:
        """Look at several images; those of equal size share a batch.

        Raises:
            ValueError: an image is not uint8, is empty, or is neither gray nor RGB.
        """
        for image in images:
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
            if image.dtype != np.uint8 or not fits or 0 in image.shape:
                raise ValueError(
                    "an image must be (H, W) or (H, W, 3) uint8 but got "
                    f"{image.shape} {image.dtype}"
                )
        ready = [convert_channels(image, self.approach.channels) for image in images]
        return self.approach.find(self.network, ready)


def save_model(
    folder: Path,
    *,
    approach: Approach,
    network: Network,
    pixel_threshold: float,
    thresholds: Thresholds,
    facts: dict[str, Any],
) -> None:
    """Write a model folder; ``facts`` are further entries of ``model.json``.

    The weights are written before the JSON that holds their hash: a crash between the two leaves a
    folder that says it is damaged, never one that gives the verdicts of a mixture.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    weights = save(state)
    write_bytes(folder / "model.safetensors", weights)
    write_json(
        folder / "model.json",
        {
            "format_version": FORMAT_VERSION,
            "defectkit": __version__,
            "classes": list(approach.classes),
            "channels": approach.channels,
            "pixel_threshold": pixel_threshold,
            "thresholds": thresholds.to_dict(),
            "sha256": sha256_bytes(weights),
            **facts,
            "config": approach.config.model_dump(mode="json"),
        },
    )


def set_thresholds(path: Path | str, thresholds: Thresholds, warnings: Sequence[str]) -> None:
    """Replace the operating point of a model folder, and what is to be said of it."""
    folder = model_folder(path)
    info, _ = _read(folder)
    changes = {"thresholds": thresholds.to_dict(), "warnings": list(warnings)}
    write_json(folder / "model.json", {**info, **changes})


def is_whole(folder: Path) -> bool:
    """Whether a model folder is there and its parts belong together."""
    try:
        _read(folder)
    except ModelError:
        return False
    return True


def model_folder(path: Path | str) -> Path:
    """Return the model folder of a run, or ``path`` itself if it is one.

    Raises:
        ModelError: there is no model.
    """
    given = Path(path)
    for folder in (given, given / "model"):
        if (folder / "model.json").is_file():
            return folder
    raise ModelError(
        f"{path} holds no model (no model.json in it or in its model/ folder). "
        "Train one with 'defectkit train', or give the path of a run."
    )


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    try:
        info = read_json(folder / "model.json")
        version = info["format_version"]
        weights = read_limited(folder / "model.safetensors", MAX_WEIGHT_BYTES)
        recorded = info["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} is damaged ({type(error).__name__}: {error}).") from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{folder} has format version {version}; this defectkit reads {FORMAT_VERSION}."
        )
    if sha256_bytes(weights) != recorded:
        raise ModelError(
            f"{folder / 'model.safetensors'} is damaged: its SHA-256 differs. Copy it anew."
        )
    return info, weights


def _finite(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise ValueError(f"the weight '{name}' holds values that are not finite")
    return state


def _without_weights(config: Config) -> Config:
    # The trained weights follow: nothing pretrained is looked for.
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": "none"})})
