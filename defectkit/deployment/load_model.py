"""Loads a model, whether it was trained here or exported for the line."""

from pathlib import Path

from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ModelError
from defectkit.models.model_folder import model_folder, read_model_info
from defectkit.process_settings import own_torch_settings
from defectkit.vocabulary import Device


def load_model(path: Path | str, *, device: Device = "auto") -> LoadedModel:
    """Load a run, its ``model/`` folder, or an exported folder or cascade, which need no torch.

    Raises:
        ModelError: a file is missing, damaged, changed, or of another format version; or it is
            the first model of a cascade.
        ConfigError: the device is not on this machine.
        MissingPackageError: what computes the model is not installed.
    """
    folder = model_folder(path)
    exported = read_model_info(folder).get("exported")
    if isinstance(exported, dict) and exported.get("first") is not None:
        from defectkit.deployment.cascade import Cascade

        return Cascade.load(folder, device=device)
    if isinstance(exported, dict) and exported.get("looks"):
        raise ModelError(
            f"{folder} is the first model of a cascade, which only tells what is surely good. Give "
            f"{folder.parent}."
        )
    if exported is not None:
        from defectkit.deployment.runtime import ExportedModel

        return ExportedModel.load(folder, device=device)
    with own_torch_settings():
        from defectkit.deployment.bundle import TrainedModel

        return TrainedModel.load(folder, device=device)
