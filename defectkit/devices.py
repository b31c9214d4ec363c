"""The device to compute on, and what depends on it."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, get_args

from defectkit.errors import ConfigError
from defectkit.vocabulary import Device

if TYPE_CHECKING:
    import torch


def choose_device(wanted: Device) -> "torch.device":
    """Return the device that ``wanted`` names; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: the device is none of these, or not on this machine.
    """
    import torch

    if wanted not in get_args(Device):
        raise ConfigError(f"{wanted!r} is no device. Give one of {', '.join(get_args(Device))}.")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next((name for name, there in available.items() if there), "cpu"))
    if not available.get(wanted, True):
        raise ConfigError(
            f"there is no device '{wanted}' on this machine. Use --device cpu or auto."
        )
    return torch.device(wanted)


def describe_device(device: "torch.device") -> str:
    """Return a readable name of the device, for example ``cpu (2 threads)``."""
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'' if threads == 1 else 's'})"


def autocast_dtype(
    amp: Literal["auto", "off", "bf16", "fp16"], device: "torch.device"
) -> "torch.dtype | None":
    """Return the precision on a device that ``train.amp`` or ``infer.amp`` names; None: full."""
    import torch

    if amp == "auto":
        if device.type == "cpu":
            return torch.bfloat16 if _multiplies_bfloat16() else None
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def computing_in(
    dtype: "torch.dtype | None", device: "torch.device"
) -> AbstractContextManager[object]:
    """Compute most layers in ``dtype``, as ``torch.autocast`` does; None changes nothing."""
    import torch

    return torch.autocast(device.type, dtype) if dtype is not None else nullcontext()


def _multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies matrices in bfloat16 faster than in float32 (AMX)."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # an earlier release of torch
        return False
    return bool(capabilities().get("amx_bf16", False))


def usable_processors() -> int:
    """Return the number of processors this process may use; a container may have fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
