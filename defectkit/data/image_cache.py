"""Decoded training images in memory, within a budget: decoding takes longer than cutting a crop."""

from torch.utils.data import get_worker_info

from defectkit.arrays import Image
from defectkit.data.dataset import ImageRecord
from defectkit.memory import free_memory

MIB = 2**20
FREE_FRACTION = 0.25
"""Fraction of the free memory that is taken where the budget is not given."""
UNKNOWN_BUDGET = 256 * MIB
"""The budget in bytes where the system does not tell what is free."""


class ImageCache:
    """The decoded images of one process, as many as fit; what came in first stays.

    Samples draw images in turn, so that dropping the oldest would drop what is needed next. Loader
    processes have a cache each and share the budget that the images they inherit leave: these are
    in memory once. Images must not be written to.
    """

    def __init__(self, mib: int | None) -> None:
        """Take ``mib`` MiB at most, by default a quarter of the memory that is free now."""
        self.budget = _default_budget() if mib is None else mib * MIB
        self.taken = 0
        self._inherited: int | None = None
        self._images: dict[str, Image] = {}

    def __reduce__(self) -> tuple[type["ImageCache"], tuple[int]]:
        # A process that is not forked starts with no image.
        return ImageCache, (self.budget // MIB,)

    def read(self, record: ImageRecord, channels: int) -> Image:
        """Return the pixels as ``record.read_image(channels)`` does, read-only.

        All calls are for images of one dataset, with the same ``channels``.
        """
        image = self._images.get(record.image_id)
        if image is None:
            image = record.read_image(channels)
            image.flags.writeable = False
            if self.taken + image.nbytes <= self._limit():
                self._images[record.image_id] = image
                self.taken += image.nbytes
        return image

    def _limit(self) -> int:
        """Return the bytes that the images of this process may take, inherited ones included."""
        worker = get_worker_info()
        if worker is None:
            return self.budget
        if self._inherited is None:  # the first call in this process
            self._inherited = self.taken
        return self._inherited + (self.budget - self._inherited) // worker.num_workers


def _default_budget() -> int:
    free = free_memory()
    return UNKNOWN_BUDGET if free is None else int(FREE_FRACTION * free)
