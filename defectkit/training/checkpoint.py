"""Checkpoints: the whole state of a run after an epoch, without pickle.

An epoch has two files: ``epoch-0007.safetensors`` (tensors) and ``epoch-0007.json`` (numbers, the
SHA-256 of the first file, and a seal over all that). The JSON is written last: without
it there is no checkpoint.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from defectkit.errors import DefectkitWarning, TrainingError
from defectkit.files import read_limited, sha256_bytes, write_bytes, write_json
from defectkit.seals import SealError, add_seal, is_sealed, read_sealed

KEPT_EPOCHS = 2
"""Number of checkpoints that stay on disk."""

MAX_TENSOR_BYTES = 2**34
"""16 GiB: four times the limit of a model, for its moving average and the optimizer."""

Tensors = dict[str, torch.Tensor]


def save_checkpoint(
    folder: Path,
    *,
    epoch: int,
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    numbers: Mapping[str, Any],
) -> None:
    """Write the checkpoint of ``epoch`` and remove all but the last two."""
    tensors: Tensors = {}
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    groups, optimizer_tensors, optimizer_numbers = _flatten(optimizer.state_dict())
    tensors |= optimizer_tensors
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    stem = folder / f"epoch-{epoch:04d}"
    write_bytes(stem.with_suffix(".safetensors"), content)
    facts = {
        "epoch": epoch,
        "sha256": sha256_bytes(content),
        "optimizer_groups": groups,
        "optimizer_numbers": optimizer_numbers,
        **numbers,
    }
    write_json(stem.with_suffix(".json"), add_seal(facts))
    kept = {path.stem for path in _checkpoints(folder)[-KEPT_EPOCHS:]}
    for path in sorted(folder.glob("epoch-*")):  # The JSON comes first.
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether ``folder`` has a checkpoint, even a damaged one."""
    return bool(_checkpoints(folder))


def load_checkpoint(
    folder: Path,
    *,
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:
    """Restore the newest intact checkpoint in place and return its numbers.

    Where it is damaged, the one before it is taken, with a warning.

    Raises:
        TrainingError: there is no intact checkpoint, or it does not fit the network.
    """
    damaged = []
    for path in reversed(_checkpoints(folder)):
        try:
            numbers, content = _read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(path.stem)
            continue
        if damaged:
            warnings.warn(
                f"{folder} is damaged ({', '.join(damaged)}): continuing from {path.stem}.",
                DefectkitWarning,
                stacklevel=2,
            )
        try:
            _restore(load(content), numbers, modules, optimizer)
        except (RuntimeError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise TrainingError(
                f"{path.with_suffix('.safetensors')} does not fit the network of this run "
                f"({str(error).splitlines()[0]}). Its pretrained weights may be missing here."
            ) from error
        return numbers
    raise TrainingError(
        f"{folder} has no intact checkpoint"
        + (f" (damaged: {', '.join(damaged)})" if damaged else "")
        + ". Start a new run without --resume and with another --out."
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Return the JSON files of all checkpoints, from the oldest to the newest."""
    return sorted(folder.glob("epoch-*.json"), key=lambda path: (len(path.name), path.name))


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the numbers and the tensors' bytes of a checkpoint; any error means damage."""
    numbers = read_sealed(path)
    if not is_sealed(numbers):
        raise SealError(f"{path.name} has no seal")
    content = read_limited(path.with_suffix(".safetensors"), MAX_TENSOR_BYTES)
    if numbers["sha256"] != sha256_bytes(content):
        raise ValueError("the SHA-256 of the tensors differs")
    return numbers, content


def _restore(
    tensors: Tensors,
    numbers: Mapping[str, Any],
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
) -> None:
    for name, module in modules.items():
        module.load_state_dict(_with_prefix(tensors, f"{name}."))
    # How a step is computed is no state: files of earlier versions say otherwise.
    own = [
        {key: group.get(key) for key in ("fused", "foreach")} for group in optimizer.param_groups
    ]
    groups = [
        {**saved, **ours} for saved, ours in zip(numbers["optimizer_groups"], own, strict=True)
    ]
    scalars = numbers["optimizer_numbers"]
    optimizer_tensors = _with_prefix(tensors, "optimizer.")
    optimizer.load_state_dict(_unflatten(groups, optimizer_tensors, scalars))
    _lay_as_weights(optimizer)


def _lay_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give the tensors of the state the memory format of their weights, as they had when made.

    A file has them row by row. A fused step goes through memory as it lies, so that on a CPU it
    would give each weight the moments of another one, and say nothing.
    """
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                entry[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _flatten(state: dict[str, Any]) -> tuple[list[dict[str, Any]], Tensors, dict[str, Any]]:
    tensors: Tensors = {}
    numbers: dict[str, Any] = {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            name = f"optimizer.{index}.{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            else:
                numbers[name] = value
    return state["param_groups"], tensors, numbers


def _unflatten(
    groups: list[dict[str, Any]], tensors: Tensors, numbers: dict[str, Any]
) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    flat = {**tensors, **{k.removeprefix("optimizer."): v for k, v in numbers.items()}}
    for name, value in flat.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": groups}
