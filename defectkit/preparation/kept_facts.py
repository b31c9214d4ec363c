"""The facts of images, kept on disk as they come: what was read once is not read again.

``facts.csv`` gets a row for each image that is examined. Its key is the hash of all that the facts
depend on: the rows and corrections of the image, how they are read, the size and the time of its
file, or the size and the hash of its object of a store, and the version of defectkit and of its
packages. So facts that do not fit any more are never
taken, whatever was changed meanwhile.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from defectkit.data.pixel_format import PixelFormat
from defectkit.files import sha256_bytes
from defectkit.growing_csv import GrowingCsv, read_whole_rows
from defectkit.labels.read_options import ReadOptions
from defectkit.labels.rle_convention import RleConvention
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.examine import examine_image
from defectkit.preparation.facts_records import read_facts, write_facts
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.worker_pool import WorkerPool
from defectkit.versions import describe_software

FACTS = "facts.csv"
COLUMNS = ("key", "facts", "check")


class KeptFacts:
    """Examines images, and keeps what it finds out in ``facts.csv``.

    Attributes:
        taken: number of images whose facts were there already.
    """

    def __init__(self, *, convention: RleConvention, options: ReadOptions) -> None:
        """Read nothing yet.

        Args:
            convention: that of the run-length encodings.
            options: how labels are read.
        """
        self.taken = 0
        self._examine = partial(examine_image, convention=convention, options=options)
        self._common = repr((describe_software(), convention.base, convention.order, options))

    @contextmanager
    def keep_in(self, path: Path, others: Sequence[Path] = ()) -> Iterator[None]:
        """Go on with a file, or begin it; what lies behind its last whole row is cut off.

        Args:
            path: the file.
            others: further such files to take facts from.

        Raises:
            OutputError: it cannot be written.
        """
        size = max((end for _, _, end in _read_rows(path)), default=0)
        if not size:
            path.unlink(missing_ok=True)
        self._sources = (path, *others)
        self._has_facts = bool(size or others)
        with GrowingCsv(path, COLUMNS, keep=size) as self._table:
            yield

    def key_of(self, image: MatchedImage, pixels: PixelFormat) -> str:
        """Return the hash of all that the facts of an image depend on."""
        given = (image, _state_of(image.path), image.roi and _state_of(image.roi), pixels)
        return sha256_bytes(f"{self._common} {given!r}".encode("utf-8", "surrogatepass"))

    def examine(
        self, images: Sequence[MatchedImage], pixels: PixelFormat, pool: WorkerPool
    ) -> Iterator[tuple[int, ImageFacts]]:
        """Yield the number of each image and its facts, those that are there already first.

        Call it within ``keep_in``.

        Raises:
            MemoryShortageError: as ``examine_image``.
            OutputError, DiskFullError: they cannot be written.
        """
        # Before any image is read: one that changes meanwhile is read again next time.
        keys = [bytes.fromhex(self.key_of(image, pixels)) for image in images]
        left: Sequence[int] = range(len(images))
        if self._has_facts:
            numbers = {key.hex(): number for number, key in enumerate(keys)}
            for path in self._sources:
                for key, text, _ in _read_rows(path):
                    if (number := numbers.pop(key, None)) is not None:
                        self.taken += 1
                        yield number, read_facts(text, images[number])
            left = [*numbers.values()]
            del numbers
        examine: Callable[[MatchedImage], ImageFacts] = partial(self._examine, pixels=pixels)
        found = pool.map(examine, [images[number] for number in left])
        for number, facts in zip(left, found, strict=True):
            key, text = keys[number].hex(), write_facts(facts)
            self._table.append([(key, text, _check(key, text))])
            yield number, facts


def _read_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the key and the facts of each row, and the size of the file up to its end.

    What follows a damaged row is left out: it is as if it had not been reached.
    """
    with suppress(OSError, ValueError):
        for (key, text, check), end in read_whole_rows(path, COLUMNS):
            if check != _check(key, text):
                return
            yield key, text, end


def _check(key: str, text: str) -> str:
    """Return what shows that a row is as it was written, also after the machine stopped."""
    return hashlib.sha256(f"{key} {text}".encode()).hexdigest()[:16]


def _state_of(path: FilePath | str) -> tuple[int, int] | None:
    """Return the size and the time of a file; None where there is none, or no file.

    Of an object of a store the image itself has the version.
    """
    if isinstance(path, StoredObject):
        return None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
