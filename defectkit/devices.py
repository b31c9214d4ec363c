"""The device to compute on, and what depends on it."""

import os
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, get_args

from defectkit.errors import ConfigError, DefectkitWarning
from defectkit.vocabulary import Amp, Device

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
            f"torch {torch.__version__} finds no device '{wanted}' on this machine. Use --device "
            "cpu or auto. If there is one, install a torch that was built for it."
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


def autocast_dtype(amp: Amp, device: "torch.device") -> "torch.dtype | None":
    """Return the precision on a device that ``train.amp`` or ``infer.amp`` names; None: full."""
    import torch

    if amp == "auto":
        if device.type == "cpu":
            return torch.bfloat16 if _multiplies_bfloat16() else None
        if device.type != "cuda":
            return None
        # Emulated, as on a T4, bfloat16 is slower than float32.
        natively = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if natively else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def computing_in(amp: Amp, device: "torch.device") -> AbstractContextManager[object]:
    """Compute most layers in the precision that ``amp`` names, as ``torch.autocast`` does."""
    import torch

    dtype = autocast_dtype(amp, device)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def warn_of_slow_precision(name: str, amp: Amp, device: "torch.device") -> None:
    """Warn where a device computes in ``amp``, the value of a setting, more slowly than in 32 bits.

    Args:
        name: the setting, ``train.amp`` or ``infer.amp``.
        amp: its value; ``auto`` and ``off`` are never slow.
        device: where it is computed.
    """
    if _is_slow(amp, device):
        warnings.warn(
            f"{name} is {amp}, in which {describe_device(device)} computes more slowly than in 32 "
            f"bits. Train with --set {name}=off.",
            DefectkitWarning,
            stacklevel=3,
        )


def _is_slow(amp: Amp, device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return amp == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    known = _capabilities()
    if known.get("architecture") != "x86_64":
        return False  # nothing is known of it
    fast = {"bf16": ("amx_bf16", "avx512_bf16"), "fp16": ("amx_fp16",)}
    return amp in fast and not any(known.get(one, False) for one in fast[amp])


def _multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies matrices in bfloat16 faster than in float32 (AMX)."""
    return bool(_capabilities().get("amx_bf16", False))


def _capabilities() -> Mapping[str, Any]:
    """Return what the processor can do, by the names that torch gives it."""
    import torch

    known = getattr(torch.cpu, "get_capabilities", None)  # Earlier releases of torch lack it.
    return known() if known else {}


def usable_processors() -> int:
    """Return the number of processors this process may use; a container may have fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
