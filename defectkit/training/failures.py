"""Failures of training that are no mistakes: too little memory, a killed loader process."""

from collections.abc import Iterator
from contextlib import contextmanager

from defectkit.config import Config
from defectkit.errors import MemoryShortageError, WorkerError, first_line, is_out_of_memory


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
        if is_out_of_memory(error):
            half = config.train.batch_size // 2
            batches = f"smaller batches (--set train.batch_size={half}), " if half else ""
            raise MemoryShortageError(
                f"out of memory ({first_line(error)}). Start a new run with {batches}smaller "
                "crops or tiles (data.crop, patch.tile) or a smaller encoder (model.encoder); or "
                "free some memory and continue with --resume."
            ) from error
        if str(error).startswith("DataLoader worker"):
            raise WorkerError(
                f"a loader process died ({first_line(error)}), most likely for lack of memory. "
                "Continue with --resume and fewer of them: --set data.workers=0 needs none."
            ) from error
        raise
