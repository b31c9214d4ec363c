"""The files of a model folder, read and checked before anything is built from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defectkit.errors import ModelError, refusal
from defectkit.files import read_limited, sha256_bytes
from defectkit.seals import SealError, read_sealed

MAX_WEIGHT_BYTES = 2**32
"""4 GiB: larger files of weights are refused, since defectkit writes none."""


def model_folder(path: Path | str) -> Path:
    """Return the model folder of a run, or ``path`` itself if it is one.

    Raises:
        ModelError: there is no model.
    """
    if not isinstance(path, str | Path):
        raise ModelError(f"a model is the path of a run or model folder, but got {path!r:.200}.")
    given = Path(path)
    for folder in (given, given / "model"):
        if (folder / "model.json").is_file():
            return folder
    if given.is_file():
        raise ModelError(f"{path} is a file. Give its folder, {given.parent}, or the run.")
    if not given.exists():
        raise ModelError(f"{path} does not exist. Check the path, or train with 'defectkit train'.")
    raise ModelError(
        f"{path} has no model (no model.json in it or in its model/ folder). "
        "Train one with 'defectkit train', or give the path of a run."
    )


def read_model_info(folder: Path) -> dict[str, Any]:
    """Return the content of ``model.json`` in a model folder; its seal is checked.

    Raises:
        ModelError: it is missing, damaged, changed, or of another format version.
    """
    try:
        return read_sealed(folder / "model.json")
    except SealError as error:
        raise ModelError(f"{folder} is damaged: {error}. Copy it again, or train again.") from error
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def read_model(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the content of ``model.json`` and the bytes of the weights that belong to it.

    Raises:
        ModelError: a file is missing, damaged, changed, or of another format version.
    """
    info = read_model_info(folder)
    return info, read_model_weights(folder, info)


def read_model_weights(folder: Path, info: Mapping[str, Any]) -> bytes:
    """Return the bytes of the weights that belong to ``info``, the content of ``model.json``.

    Raises:
        ModelError: they are missing, damaged or changed.
    """
    return read_model_file(folder, "model.safetensors", info.get("sha256"))


def read_model_file(folder: Path, name: str, recorded: object) -> bytes:
    """Return the bytes of a file of a model folder, whose SHA-256 ``model.json`` has ``recorded``.

    Raises:
        ModelError: it is missing, damaged or changed.
    """
    try:
        content = read_limited(folder / name, MAX_WEIGHT_BYTES)
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    if recorded is None:
        raise _damaged(folder, KeyError("sha256"))
    if sha256_bytes(content) != recorded:
        raise ModelError(f"{folder / name} is damaged: its SHA-256 differs. Copy it again.")
    return content


def warnings_of(info: Mapping[str, Any]) -> list[str]:
    """Return the warnings about what was chosen on validation: the thresholds and the tuning."""
    return [*info.get("warnings", ()), *info.get("tuning_warnings", ())]


def _damaged(folder: Path, error: Exception) -> ModelError:
    if isinstance(error, FileNotFoundError):
        return ModelError(f"{error.filename} is missing. Copy it again, or train again.")
    return ModelError(
        refusal(error)
        or f"{folder} is damaged ({type(error).__name__}: {error}). Copy it again, or train again."
    )
