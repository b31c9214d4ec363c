"""The model folder: ``model.safetensors`` and ``model.json``, from training to inspection."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from defectkit import __version__
from defectkit.approaches.interface import Approach
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import ImageSize
from defectkit.config.load import MAX_MISTAKES
from defectkit.data.images import ImageSource, read_given
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.approach_entries import describe_approach, read_approach
from defectkit.deployment.model_info import ModelInfo
from defectkit.devices import choose_device
from defectkit.errors import ConfigError, ImageError, ModelError
from defectkit.evaluation.operating_points import Thresholds
from defectkit.files import sha256_bytes, write_bytes, write_json
from defectkit.findings import Finding
from defectkit.labels.scope import EVERYWHERE, Scope, decode_roi
from defectkit.models.model_folder import (
    model_folder,
    read_model,
    read_model_info,
    read_model_weights,
)
from defectkit.models.network import Network
from defectkit.models.weight_shapes import check_shapes
from defectkit.process_settings import is_forked, own_thread_settings
from defectkit.seals import FORMAT_VERSION, add_seal, seal_of, warn_if_not_sealed
from defectkit.versions import installed_versions, warn_of_other_versions
from defectkit.vocabulary import Device


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network with all it needs for verdicts; ``info`` is the content of ``model.json``."""

    approach: Approach
    network: Network
    thresholds: Thresholds
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path | str, *, device: Device = "auto") -> Self:
        """Load the model of a run, or a ``model/`` folder, onto a device.

        Raises:
            ModelError: a file is missing, damaged, changed, or of another format version.
        """
        folder = model_folder(path)
        info = read_model_info(folder)
        warn_if_not_sealed(info, what=str(folder), way_out="Train again")
        try:
            ModelInfo.model_validate(info)
            PixelFormat.from_dict(info.get("pixels"))
            approach = read_approach(info, name=str(folder / "model.json"))
            check_shapes(folder / "model.safetensors", approach.network)
            state = _check_finite(load(read_model_weights(folder, info)))
            network = approach.network()
            network.load_state_dict(state)
            thresholds = Thresholds.from_dict(info["thresholds"])
        except ValidationError as error:
            found = error.errors()[:MAX_MISTAKES]
            wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found]
            raise ModelError(
                f"{folder} cannot be used by this version of defectkit: {'; '.join(wrong)}"
            ) from None
        except (
            TypeError,
            ValueError,
            RuntimeError,
            SafetensorError,
            ConfigError,
        ) as error:
            raise ModelError(
                f"{folder} cannot be used by this version of defectkit: {error}"
            ) from error
        warn_of_other_versions(info.get("versions", {}), what=str(folder))
        network = network.to(choose_device(device)).to(memory_format=torch.channels_last).eval()
        return cls(approach, network, thresholds, info)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    def scope_for(self, size: ImageSize) -> Scope:
        """Return the scope of images of (height, width): the model's own region to inspect.

        Raises:
            ImageError: the model has one, but for images of another size.
        """
        roi = self.info.get("roi")
        if not isinstance(roi, dict):
            return EVERYWHERE
        if size != (roi["height"], roi["width"]):
            raise ImageError(
                f"the model has a region to inspect in images of {roi['width']}x{roi['height']} "
                f"pixels, but this image has {size[1]}x{size[0]}. Inspect such images on "
                "their own, with inspect --roi X,Y,W,H."
            )
        return Scope(roi=decode_roi(roi["shape"], size))

    @property
    def out_of_fold(self) -> tuple[list[float], list[bool]] | None:
        """Scores and truth of the images it was trained on, by networks that never saw them.

        Only a model that was trained with folds has them: thresholds are chosen by these.
        """
        kept = self.info.get("out_of_fold")
        return (kept["scores"], kept["defective"]) if kept else None

    @property
    def pixels(self) -> PixelFormat:
        """How images are read: as those that it was trained on."""
        return PixelFormat.from_dict(self.info.get("pixels"))

    def find(self, image: ImageSource, scope: Scope | None = None) -> Finding:
        """Return the finding of one image of any size: an array, an image of Pillow, or a path.

        An array is (H, W) gray, (H, W, 3) RGB, or (H, W, C) where the training images had other
        channels: uint8, or the stored values of a camera of more bits where the training images had
        these.

        Nothing is found outside of ``scope``, by default that of ``scope_for``.

        Raises:
            ImageError: it is none of these, empty, or cannot be read; or as ``scope_for``.
            ModelError: as ``find_all``.
        """
        return self.find_all([image], None if scope is None else [scope])[0]

    def find_all(
        self, images: Sequence[ImageSource], scopes: Sequence[Scope] | None = None
    ) -> list[Finding]:
        """Return the findings of several images; those of equal size share a batch.

        Nothing is found outside of the ``scopes``, one for each image, by default those of
        ``scope_for``.

        Raises:
            ImageError: an image cannot be taken, as for ``find``.
            ModelError: this process is a fork, and the model is on a GPU.
        """
        if is_forked() and self.device.type != "cpu":
            raise ModelError(
                "a GPU cannot be used in a process that was forked. Load the model with "
                "device='cpu', or start processes by the method 'spawn'."
            )
        with own_thread_settings():
            ready = [read_given(one, self.approach.channels, self.pixels) for one in images]
            if scopes is None:
                scopes = [self.scope_for(image.shape[:2]) for image in ready]
            return self.approach.find(self.network, ready, scopes)


def save_model(
    folder: Path,
    *,
    approach: Approach,
    network: Network,
    tuning: Tuning,
    thresholds: Thresholds,
    facts: dict[str, Any],
) -> None:
    """Write a model folder; ``facts`` are further entries of ``model.json``.

    The weights are written before the JSON that has their hash: a crash between the two leaves a
    folder that is known to be damaged, never weights with another model's thresholds.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    weights = save(state)
    write_bytes(folder / "model.safetensors", weights)
    info = {
        "format_version": FORMAT_VERSION,
        "defectkit": __version__,
        "classes": list(approach.classes),
        "channels": approach.channels,
        "thresholds": thresholds.to_dict(),
        "sha256": sha256_bytes(weights),
        **facts,
        **describe_approach(approach, tuning),
        "versions": installed_versions(),
    }
    write_json(folder / "model.json", add_seal(info))


def replace_thresholds(
    path: Path | str, model: TrainedModel, thresholds: Thresholds, warnings: Sequence[str]
) -> TrainedModel:
    """Return ``model`` with other thresholds and the warnings about them, and keep both on disk.

    Args:
        path: the run or the model folder that ``model`` was loaded from.
        model: the model.
        thresholds: the new thresholds.
        warnings: sentences, as from ``choose_thresholds``.

    Raises:
        ModelError: the folder is damaged, or has another model by now.
    """
    folder = model_folder(path)
    info, _ = read_model(folder)
    if seal_of(info) != seal_of(model.info):
        raise ModelError(
            f"{folder} was written again while the thresholds were chosen, so they are those of "
            "another model. Choose them again."
        )
    changed = {"thresholds": thresholds.to_dict(), "warnings": list(warnings)}
    info = add_seal({**info, **changed, "format_version": FORMAT_VERSION})
    write_json(folder / "model.json", info)
    return replace(model, thresholds=thresholds, info=info)


def _check_finite(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise ValueError(f"the weight '{name}' has values that are not finite")
    return state
