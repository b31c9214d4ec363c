"""Failures of training that are no mistakes: too little memory, a killed loader process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from defectkit.config import Config
from defectkit.errors import MemoryShortageError, WorkerError


@contextmanager
def explain_failures(config: Config) -> Iterator[None]:
    """Turn a lack of memory and the end of a loader process into errors with a way out.

    Raises:
        MemoryShortageError: the machine or its GPU has too little memory.
        WorkerError: a loader process was killed, or crashed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if _is_out_of_memory(error):
            half = max(config.train.batch_size // 2, 1)
            raise MemoryShortageError(
                f"out of memory ({_first_line(text) or 'MemoryError'}). Start a new "
                f"run with smaller batches (--set train.batch_size={half}) or crops (--set "
                "data.crop=...); or free some memory and continue with --resume."
            ) from error
        if text.startswith("DataLoader worker"):
            raise WorkerError(
                f"a loader process died ({_first_line(text)}), most likely for lack of memory. "
                "Continue with --resume and fewer of them: --set data.workers=0 needs none."
            ) from error
        raise


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Of torch's allocator for the CPU, and of numpy's own MemoryError out of a loader process.
    texts = ("DefaultCPUAllocator", "MemoryError in DataLoader worker")
    return any(text in str(error) for text in texts)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
