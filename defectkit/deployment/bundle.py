"""The model folder: ``model.safetensors`` and ``model.json``, from training to inspection."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from defectkit import __version__
from defectkit.approaches.interface import Approach
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Image
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.approach_entries import describe_approach, read_approach
from defectkit.deployment.loaded_model import LoadedModel, cannot_be_used
from defectkit.deployment.model_info import ModelInfo
from defectkit.devices import choose_device, describe_device, warn_of_slow_precision
from defectkit.errors import ConfigError, ModelError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import sha256_bytes, write_bytes, write_json
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.model_folder import (
    model_folder,
    read_model_info,
    read_model_weights,
)
from defectkit.models.network import Network
from defectkit.models.weight_shapes import check_shapes
from defectkit.process_settings import is_forked, own_thread_settings, own_torch_settings
from defectkit.seals import FORMAT_VERSION, add_seal, seal_of, warn_if_not_sealed
from defectkit.versions import installed_versions, warn_of_other_versions
from defectkit.vocabulary import Device


@dataclass(frozen=True, eq=False)
class TrainedModel(LoadedModel):
    """A network with all it needs for verdicts; ``info`` is the content of ``model.json``."""

    approach: Approach
    network: Network
    thresholds: Thresholds
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path | str, *, device: Device = "auto") -> Self:
        """Load the model of a run, or a ``model/`` folder, onto a device.

        Raises:
            ModelError: a file is missing, damaged, changed, or of another format version; or the
                model was exported.
        """
        folder = model_folder(path)
        info = read_model_info(folder)
        if "exported" in info:
            raise ModelError(
                f"{folder} is an exported model, which is for inspect, evaluate and load alone. "
                "Give the run that it was exported from."
            )
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
        except (
            TypeError,
            ValueError,
            RuntimeError,
            SafetensorError,
            ConfigError,
        ) as error:
            raise cannot_be_used(folder, error) from error
        warn_of_other_versions(info.get("versions", {}), what=str(folder))
        chosen = choose_device(device)
        warn_of_slow_precision("infer.amp", approach.config.infer.amp, chosen)
        network = network.to(chosen).to(memory_format=torch.channels_last).eval()
        return cls(approach, network, thresholds, info)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @property
    def device_name(self) -> str:
        """Where it computes, and with which numbers if not of 32 bits, for people to read."""
        amp = self.approach.config.infer.amp
        return describe_device(self.device) + (f", {amp}" if amp != "off" else "")

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes of a score map's layers."""
        return self.approach.found_classes

    @property
    def threads(self) -> int:
        """Number of threads that compute on a CPU."""
        return torch.get_num_threads()

    @property
    def tuning(self) -> Tuning:
        """How findings are made from scores, as chosen on validation."""
        return self.approach.tuning

    def with_thresholds(self, thresholds: Thresholds, info: dict[str, Any]) -> Self:
        """Return the model with other thresholds, and with the ``model.json`` that has them."""
        return replace(self, thresholds=thresholds, info=info)

    def in_32_bits(self) -> Self:
        """Return the model as one that scores images in 32 bits, whatever ``infer.amp`` says."""
        config = self.approach.config
        if config.infer.amp == "off":
            return self
        infer = config.infer.model_copy(update={"amp": "off"})
        approach: Any = self.approach  # a dataclass, and one with a config of its own
        config = config.model_copy(update={"infer": infer})
        return replace(self, approach=replace(approach, config=config))

    def own_settings(self) -> AbstractContextManager[None]:
        """Use our settings of torch; afterwards all is as before."""
        return own_torch_settings()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        if is_forked() and self.device.type != "cpu":
            raise ModelError(
                "a GPU cannot be used in a process that was forked. Load the model with "
                "device='cpu', or start processes by the method 'spawn'."
            )
        with own_thread_settings():
            yield

    def _find_ready(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        return self.approach.find(self.network, images, scopes)


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
    path: Path | str, model: LoadedModel, thresholds: Thresholds, warnings: Sequence[str]
) -> LoadedModel:
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
    info = read_model_info(folder)
    if isinstance(model, TrainedModel):
        read_model_weights(folder, info)
    if seal_of(info) != seal_of(model.info):
        raise ModelError(
            f"{folder} was written again while the thresholds were chosen, so they are those of "
            "another model. Choose them again."
        )
    changed = {"thresholds": thresholds.to_dict(), "warnings": list(warnings)}
    info = add_seal({**info, **changed, "format_version": FORMAT_VERSION})
    write_json(folder / "model.json", info)
    return model.with_thresholds(thresholds, info)


def _check_finite(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise ValueError(f"the weight '{name}' has values that are not finite")
    return state
