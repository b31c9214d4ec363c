"""The images of an inspection, read file by file and page by page, or what is wrong with them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from defectkit.arrays import Image
from defectkit.data.image_pages import ImagePages
from defectkit.data.image_search import ImageFile
from defectkit.data.images import describe_shapes, read_image_bytes, takes_shape
from defectkit.data.pixel_format import PixelFormat
from defectkit.data.roi_source import RoiSource, read_roi
from defectkit.data.stored_image import StoredImage
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import DefectkitError, ImageError, first_line, is_out_of_memory
from defectkit.labels.scope import EVERYWHERE, Scope, read_scope
from defectkit.object_stores import StoredObject

MUCH_CLIPPED = 0.01
"""Shares of pixel values outside of the window that are told to the user, above this one."""
IF_GONE = "It was there when the inspection began: bring it back, and inspect again."
FEWER_PAGES = "it has fewer pages or frames than when the inspection began: it was changed."
SEVERAL_PAGES = "several pages or frames; the first alone was inspected"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageToInspect:
    """An image as the network takes it, or why it cannot be inspected.

    Attributes:
        file: its file.
        image_id: its id: that of the file, or of one of its pages.
        ends_file: whether it is the last one of its file.
        image: (H, W) or (H, W, C) uint8; None where there is a problem.
        scope: what is inspected of it.
        notes: what is to be said of how it was read.
        problem: why it is not inspected, "" if it is.
    """

    file: ImageFile
    image_id: str
    ends_file: bool = True
    image: Image | None = None
    scope: Scope = EVERYWHERE
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return 0 if self.image is None else self.image.shape[0] * self.image.shape[1]


@dataclass(kw_only=True, eq=False)
class ImageReader:
    """Reads images for a model.

    Attributes:
        model: the model.
        roi: what ``--roi`` names.
        first_page: whether the first page of each file is read alone.
    """

    model: LoadedModel
    roi: RoiSource | None
    first_page: bool
    _ids: set[str] = field(default_factory=set)

    def read(
        self, files: Sequence[ImageFile], *, ids: Iterable[str] = (), done: int = 0
    ) -> Iterator[ImageToInspect]:
        """Yield the images of files, one or more for each; none is read before it is asked for.

        Args:
            files: the files.
            ids: the ids of other images, which no page gets.
            done: number of images of the first file that are left out.
        """
        self._ids = {file.image_id for file in files}.union(ids)
        for file in files:
            try:
                yield from self._read_file(file, done if file is files[0] else 0)
            except Exception as error:
                problem = reason_for(error, file.path)
                yield ImageToInspect(file=file, image_id=file.image_id, problem=problem)

    def _read_file(self, file: ImageFile, done: int) -> Iterator[ImageToInspect]:
        if file.problem:
            raise ImageError(file.problem)
        content, name = read_image_bytes(file.path, if_gone=IF_GONE), str(file.path)
        pages = ImagePages(content, name=name, pages=self.model.pixels.pages)
        if done and done >= len(pages.numbers):
            raise ImageError(FEWER_PAGES)
        if self.first_page or len(pages.numbers) == 1:
            left_out = pages.has_several and not pages.stacked
            notes = (SEVERAL_PAGES,) if left_out else ()
            source = self._prepare(file, file.image_id, pages.read(), notes)
            del content, pages  # A large file would stay in memory while its image is inspected.
            yield source
            return
        ids = self._ids_of_pages(file, len(pages.numbers))
        for image_id, number in islice(zip(ids, pages.numbers, strict=True), done, None):
            is_last = image_id == ids[-1]
            try:
                yield self._prepare(file, image_id, pages.read(number), ends_file=is_last)
            except Exception as error:
                yield ImageToInspect(
                    file=file,
                    image_id=image_id,
                    ends_file=is_last,
                    problem=reason_for(error, file.path),
                )

    def _prepare(
        self,
        file: ImageFile,
        image_id: str,
        stored: StoredImage,
        notes: tuple[str, ...] = (),
        *,
        ends_file: bool = True,
    ) -> ImageToInspect:
        """Return an image as the network takes it, and its scope."""
        image = self.model.pixels.to_8_bits(stored.values, name=str(file.path))
        channels = self.model.channels
        if not takes_shape(image.shape, channels):
            raise ImageError(
                f"the image has the shape {image.shape}, but the model takes "
                f"{describe_shapes(channels)}, as the images that it was trained on."
            )
        size = image.shape[:2]
        if self.roi:
            chosen = self.roi.choose(Path(file.image_id))
            scope = read_scope(read_roi(chosen, size), "", size)
        else:
            scope = self.model.scope_for(size)
        return ImageToInspect(
            file=file,
            image_id=image_id,
            ends_file=ends_file,
            image=image,
            scope=scope,
            notes=(*_notes(stored, self.model.pixels), *notes),
        )

    def _ids_of_pages(self, file: ImageFile, count: int) -> list[str]:
        """Return the ids of the pages of a file, from 1, that no other image has."""
        mark = "#"
        while True:
            ids = [f"{file.image_id}{mark}{number}" for number in range(1, count + 1)]
            if self._ids.isdisjoint(ids):
                self._ids.update(ids)
                return ids
            mark += "#"


def reason_for(error: Exception, path: Path | StoredObject) -> str:
    """Return why an image was not inspected, for its row, which has the name of its file."""
    if isinstance(error, DefectkitError):
        return str(error).removeprefix(f"{path}: ")
    if is_out_of_memory(error):
        return f"too little memory for this image ({first_line(error)}). Cut it into parts."
    return f"{type(error).__name__}: {first_line(error)}"


def _notes(stored: StoredImage, pixels: PixelFormat) -> Collection[str]:
    """Return what the user should know of how an image was read."""
    notes = []
    if "planes first" in stored.notes:
        notes.append("read as (channels, height, width)")
    if pixels.window and stored.values.dtype == np.uint8:
        notes.append("8 bits, read as they are; the model was trained on images of more")
    if pixels.window and pixels.clipped_share(stored.values) > MUCH_CLIPPED:
        low, high = pixels.window
        notes.append(
            f"more than {MUCH_CLIPPED:.0%} of the pixel values lie outside of the model's window, "
            f"{low:g} to {high:g}, and became black or white"
        )
    return notes
