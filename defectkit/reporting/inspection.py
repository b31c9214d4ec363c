"""An inspection in progress: image by image, where one image's trouble is one row."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from defectkit.data.image_pages import ImagePages
from defectkit.data.image_search import ImageFile
from defectkit.data.images import describe_shapes, read_image_bytes, takes_shape
from defectkit.data.pixel_format import PixelFormat
from defectkit.data.roi_source import RoiSource, read_roi
from defectkit.data.stored_image import StoredImage
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import DefectkitError, ImageError, OutputError, first_line, is_out_of_memory
from defectkit.evaluation.verdicts import judge, list_regions
from defectkit.labels.scope import read_scope
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.overlay_files import write_overlay
from defectkit.reporting.inspection_tables import InspectionTables
from defectkit.terminal import one_line

MUCH_CLIPPED = 0.01
"""Shares of pixel values outside of the window that are told to the user, above this one."""
STOPPED = "not inspected: the inspection was stopped before."


@dataclass(kw_only=True, eq=False)
class Inspection:
    """A model that is applied to one file after another.

    Attributes:
        model: the model.
        roi: what ``--roi`` names.
        tables: where the rows are written.
        overlays: the folder of the overlays.
        first_page: whether the first page of each file is inspected alone.
        all_regions: whether regions of good images are listed too.
        console: where to report.
        notes: what is to be said of how images were read, with their ids.
    """

    model: LoadedModel
    roi: RoiSource | None
    tables: InspectionTables
    overlays: Path
    first_page: bool
    all_regions: bool
    console: Console
    notes: dict[str, list[str]] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)

    def inspect(self, files: Sequence[ImageFile]) -> None:
        """Inspect files; if this is interrupted, those that are left are listed as errors.

        Raises:
            OutputError: a table or an overlay cannot be written.
        """
        self._ids = {file.image_id for file in files}
        waiting = deque(files)
        silent = not self.console.is_terminal
        try:
            for file in track(files, "inspecting", console=self.console, disable=silent):
                self._inspect_file(file)
                waiting.popleft()
        except BaseException:
            with suppress(OutputError):  # The disk may be full.
                self.tables.add_errors((file.image_id, STOPPED) for file in waiting)
            raise

    def _inspect_file(self, file: ImageFile) -> None:
        with self._trouble_as_row(file.path, file.image_id):
            if file.problem:
                raise ImageError(file.problem)
            content, name = read_image_bytes(file.path), str(file.path)
            pages = ImagePages(content, name=name, pages=self.model.pixels.pages)
            if self.first_page or len(pages.numbers) == 1:
                self._inspect_page(file, file.image_id, pages.read())
                if pages.has_several and not pages.stacked:
                    self._note(
                        "several pages or frames; the first alone was inspected", file.image_id
                    )
                return
            for image_id, number in zip(
                self._ids_of_pages(file, len(pages.numbers)), pages.numbers, strict=True
            ):
                with self._trouble_as_row(file.path, image_id):
                    self._inspect_page(file, image_id, pages.read(number))

    def _inspect_page(self, file: ImageFile, image_id: str, stored: StoredImage) -> None:
        """Judge an image; its overlay and rows are written last, and the verdict after all."""
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
        finding = self.model.find(image, scope)
        judgment = judge(finding.score, self.model.thresholds)
        finding = list_regions(finding, judgment, all_regions=self.all_regions)
        path, shown = self.overlays / overlay_name(image_id), self.model.pixels.show(image)
        write_overlay(path, shown, finding, judgment, image_id=image_id, scope=scope)
        self.tables.add(image_id, judgment, finding, self.model.found_classes)
        for note in _notes(stored, self.model.pixels):
            self._note(note, image_id)

    @contextmanager
    def _trouble_as_row(self, path: Path, image_id: str) -> Iterator[None]:
        """Turn any exception into a row of ``errors.csv``; but without tables there is no work.

        Raises:
            OutputError: a table or an overlay cannot be written.
        """
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            reason = _reason(error).removeprefix(f"{path}: ")  # Its row has the name.
            self.tables.add_errors([(image_id, reason)])
            told = one_line(f"{path}: {reason}")
            self.console.print(f"[red]not inspected:[/] {told}", highlight=False)

    def _ids_of_pages(self, file: ImageFile, count: int) -> list[str]:
        """Return the ids of the pages of a file, from 1, that no other image has."""
        mark = "#"
        while True:
            ids = [f"{file.image_id}{mark}{number}" for number in range(1, count + 1)]
            if self._ids.isdisjoint(ids):
                self._ids.update(ids)
                return ids
            mark += "#"

    def _note(self, note: str, image_id: str) -> None:
        self.notes.setdefault(note, []).append(image_id)


def _reason(error: Exception) -> str:
    """Return why an image was not inspected."""
    if isinstance(error, DefectkitError):
        return str(error)
    if is_out_of_memory(error):
        return f"too little memory for this image ({first_line(error)}). Cut it into parts."
    return f"{type(error).__name__}: {first_line(error)}"


def _notes(stored: StoredImage, pixels: PixelFormat) -> list[str]:
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
