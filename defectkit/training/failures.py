"""Failures of training that are no mistakes: too little memory, a killed loader process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from defectkit import ranks
from defectkit.approaches.box_samples import resize_side
from defectkit.config import Config
from defectkit.errors import (
    DefectkitError,
    MemoryShortageError,
    WorkerError,
    first_line,
    is_out_of_memory,
)
from defectkit.training.loader import NO_WORKERS

CROP_STEP = 128
"""The side of a proposed crop is a multiple of it: every network takes such a side."""
SMALLEST_TILE = 64
"""The smallest ``infer.tile``."""
NO_CACHE = "--set data.cache_mib=0"
"""The setting that keeps no decoded image in memory."""


@contextmanager
def explain_failures(config: Config) -> Iterator[None]:
    """Turn a lack of memory and the end of a loader process into errors with a way out.

    Raises:
        MemoryShortageError: the machine or its GPU has too little memory.
        WorkerError: a loader process was killed, crashed, or found no shared memory; or another
            process of the training has ended.
    """
    with _explain_memory_shortage(_way_out(needs_less_memory(config), config)):
        try:
            with ranks.explain_lost_process():
                yield
        except RuntimeError as error:
            cached = f"; or with fewer images in memory: {NO_CACHE}" if _caches(config) else ""
            text = str(error)
            if text.startswith("DataLoader worker"):
                raise WorkerError(
                    f"a loader process died ({first_line(error)}), most likely for lack of memory. "
                    f"Continue with --resume and fewer of them: {NO_WORKERS} needs none{cached}."
                ) from error
            if "shared memory" in text or "unable to write to file </torch" in text:
                raise WorkerError(
                    f"shared memory is full ({text.strip().splitlines()[-1]}). "
                    f"Continue with --resume and without loader processes: {NO_WORKERS}."
                ) from error
            raise


def explain_failed_validation(config: Config) -> AbstractContextManager[None]:
    """As ``explain_failures``, for validation: it needs memory for whole images."""
    tile = config.infer.tile // 2
    allowed = tile >= SMALLEST_TILE and tile > config.infer.overlap
    return _explain_memory_shortage(_way_out(f"infer.tile={tile}" if allowed else None, config))


def needs_less_memory(config: Config) -> str | None:
    """Return the setting with which a step of training needs half the memory, and still works.

    None where nothing can be halved. Batch normalization needs two values for each channel: no
    batch of one is proposed, and none with a crop that could be too small for it.
    """
    batch_size, tiles = config.train.batch_size, config.patch.tiles_per_image
    if batch_size >= 4:
        return f"train.batch_size={batch_size // 2}"
    if config.approach == "patch":
        return f"patch.tiles_per_image={tiles // 2}" if batch_size * (tiles // 2) >= 2 else None
    resize = resize_side(config)
    key = "resize" if resize else "crop"
    side = (resize or config.data.crop) // 2 // CROP_STEP * CROP_STEP
    return f"data.{key}={side}" if side * batch_size >= 2 * CROP_STEP else None


@contextmanager
def _explain_memory_shortage(way_out: str) -> Iterator[None]:
    try:
        yield
    except DefectkitError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryShortageError(f"out of memory ({first_line(error)}). {way_out}") from error
        raise


def _way_out(setting: str | None, config: Config) -> str:
    less = f"--set {setting}" if setting else "a smaller network, such as another model.encoder"
    cached = f", such as that of cached images ({NO_CACHE})," if _caches(config) else ""
    return (
        f"Start a new run with {less}; or free some memory{cached} and try again, with --resume "
        "where an epoch is finished."
    )


def _caches(config: Config) -> bool:
    """Return whether decoded images are kept in memory."""
    return config.data.cache_mib != 0
