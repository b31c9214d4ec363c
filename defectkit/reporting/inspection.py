"""An inspection in progress: image by image, where one image's trouble is one row."""

from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from rich.console import Console

from defectkit.arrays import Image
from defectkit.data.image_search import ImageFile
from defectkit.data.roi_source import RoiSource
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import OutputError
from defectkit.evaluation.verdicts import Judgment, judge, list_regions
from defectkit.findings import Finding, SparseFinding
from defectkit.reporting.drawing.large_overlay import LargeOverlay, draw_large_overlay
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.overlay_files import EncodedOverlay, encode_overlay
from defectkit.reporting.images_to_inspect import ImageReader, ImageToInspect, reason_for
from defectkit.reporting.inspection_progress import describe_model, has_overlay
from defectkit.reporting.inspection_tables import ImageRows, InspectionTables, rows_of
from defectkit.reporting.progress import Progress
from defectkit.reporting.stages import Room, Stage, run_stages
from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays

STOPPED = "not inspected: the inspection was stopped before."
AHEAD = 4
"""Max. number of images that wait for their rows to be written."""
PIXELS_AHEAD = 2**25
"""Max. number of pixels of all images in progress; a larger image is alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionOptions:
    """How images are inspected.

    Attributes:
        roi: what ``--roi`` names.
        drawn: which images get an overlay.
        first_page: whether the first page of each file is inspected alone.
        all_regions: whether regions of good images are listed too.
    """

    roi: RoiSource | None
    drawn: Overlays
    first_page: bool
    all_regions: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """An image with what was found in it, or with the problem that it has by now."""

    source: ImageToInspect
    finding: Finding | SparseFinding | None = None
    judgment: Judgment | None = None
    overlay: EncodedOverlay | LargeOverlay | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspected:
    """All that is to be written of an image; without its pixels and scores.

    Attributes:
        file: its file.
        image_id: its id.
        ends_file: whether it is the last one of its file.
        pixels: number of its pixels.
        verdict: its verdict, "" if it was not inspected.
        rows: its rows; None if it was not inspected.
        overlay: its overlay, if it has one.
        notes: what is to be said of how it was read.
        problem: why it was not inspected, "" if it was.
    """

    file: ImageFile
    image_id: str
    ends_file: bool
    pixels: int
    verdict: str = ""
    rows: ImageRows | None = None
    overlay: EncodedOverlay | LargeOverlay | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


class Engine(Protocol):
    """What inspects images: this process, or others for it."""

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of the model's ``model.json``."""

    @property
    def described(self) -> Mapping[str, str]:
        """What ``describe_model`` says of the model."""

    def inspect(
        self,
        files: Sequence[ImageFile],
        options: InspectionOptions,
        *,
        ids: Collection[str],
        done: int,
    ) -> Generator[Inspected, None, None]:
        """Yield what is to be written of the images of files, in their order.

        Args:
            files: the files.
            options: how they are inspected.
            ids: the ids of other images, which no page gets.
            done: number of images of the first file that are left out.
        """


@dataclass(frozen=True, eq=False)
class Inspector:
    """A model that is applied to one file after another, in this process."""

    model: LoadedModel

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of the model's ``model.json``."""
        return self.model.info

    @property
    def described(self) -> Mapping[str, str]:
        """What ``describe_model`` says of the model."""
        return describe_model(self.model)

    def inspect(
        self,
        files: Sequence[ImageFile],
        options: InspectionOptions,
        *,
        ids: Collection[str],
        done: int,
    ) -> Generator[Inspected, None, None]:
        """Yield what ``Engine.inspect`` says.

        While an image is written, the next ones are drawn, looked at by the network and read.
        """
        room = Room(PIXELS_AHEAD)
        reader = ImageReader(model=self.model, roi=options.roi, first_page=options.first_page)
        stages = [
            Stage(partial(self._find, options), self.model.parallel),
            Stage(partial(self._draw, options)),
            Stage(self._list),
        ]
        sources = reader.read(files, ids=ids, done=done)
        results = run_stages(_with_room(sources, room), stages, ahead=AHEAD, room=room)
        with closing(results), self.model.own_settings():
            for inspected in results:
                yield inspected
                room.give_back(inspected.pixels)

    def _find(self, options: InspectionOptions, source: ImageToInspect) -> Found:
        if source.image is None:
            return Found(source=source, problem=source.problem)
        try:
            finding = self.model.find_sparsely(source.image, source.scope)
            judgment = judge(finding.score, self.model.thresholds)
            finding = list_regions(finding, judgment, all_regions=options.all_regions)
        except Exception as error:
            return Found(source=source, problem=reason_for(error, source.file.path))
        return Found(source=source, finding=finding, judgment=judgment)

    def _draw(self, options: InspectionOptions, found: Found) -> Found:
        source, finding, judgment = found.source, found.finding, found.judgment
        if source.image is None or finding is None or judgment is None:
            return found
        if not has_overlay(judgment.verdict, options.drawn):
            return found
        try:
            overlay = overlay_of(
                self.model.pixels.show(source.image),
                finding,
                judgment,
                image_id=source.image_id,
                scope=source.scope,
            )
        except Exception as error:
            return Found(source=source, problem=reason_for(error, source.file.path))
        return Found(source=source, finding=finding, judgment=judgment, overlay=overlay)

    def _list(self, found: Found) -> Inspected:
        """Return what is to be written of an image; any exception on the way is its problem."""
        source, finding, judgment = found.source, found.finding, found.judgment
        inspected = Inspected(
            file=source.file,
            image_id=source.image_id,
            ends_file=source.ends_file,
            pixels=source.pixels,
            problem=found.problem,
        )
        if finding is None or judgment is None:
            return inspected
        try:
            rows = rows_of(source.image_id, judgment, finding, self.model.found_classes)
        except Exception as error:
            return replace(inspected, problem=reason_for(error, source.file.path))
        return replace(
            inspected,
            verdict=judgment.verdict,
            rows=rows,
            overlay=found.overlay,
            notes=source.notes,
        )


@dataclass(kw_only=True, eq=False)
class Inspection:
    """The tables and overlays of images, written while they are inspected.

    Attributes:
        engine: what inspects them.
        options: how.
        tables: where the rows are written, with the overlays beside them.
        console: where to report.
    """

    engine: Engine
    options: InspectionOptions
    tables: InspectionTables
    console: Console

    def inspect(self, files: Sequence[ImageFile], *, ids: Collection[str] = ()) -> None:
        """Inspect files; if this is interrupted, those that are left are listed as errors.

        What is done already, as the tables say, is left out.

        Args:
            files: all files, also those that are done.
            ids: the ids of images that are not inspected here, which no page gets.

        Raises:
            OutputError: a table or an overlay cannot be written.
        """
        progress = self.tables.progress
        waiting = deque(files[progress.files :])
        known = {file.image_id for file in files}.union(ids, progress.ids)
        results = self.engine.inspect(tuple(waiting), self.options, ids=known, done=progress.pages)
        bar = Progress(self.console, "inspecting", total=len(files), done=progress.files)
        try:
            with closing(results), bar:
                for inspected in results:
                    self._write(inspected)
                    if inspected.ends_file:
                        waiting.popleft()
                        bar.update(len(files) - len(waiting))
        except BaseException:
            with suppress(OutputError):  # The disk may be full.
                self.tables.add_errors((file.image_id, STOPPED) for file in waiting)
            raise

    def _write(self, inspected: Inspected) -> None:
        """Write the overlay and the rows of an image; the overlay first, that it is done last."""
        if inspected.overlay:
            try:
                inspected.overlay.write(self.tables.overlays / overlay_name(inspected.image_id))
            except OutputError:
                raise
            except Exception as error:  # A large overlay is drawn while it is written.
                problem = reason_for(error, inspected.file.path)
                inspected = replace(inspected, verdict="", rows=None, problem=problem)
        if inspected.rows:
            self.tables.add(inspected.rows)
        else:
            self.tables.add_errors([(inspected.image_id, inspected.problem)])
            told = one_line(f"{inspected.file.path}: {inspected.problem}")
            self.console.print(f"[red]not inspected:[/] {told}", highlight=False)
        self.tables.end_image(
            inspected.image_id,
            inspected.verdict,
            file=inspected.file.number,
            is_last=inspected.ends_file,
            notes=inspected.notes,
        )


def overlay_of(
    image: Image, finding: Finding | SparseFinding, judgment: Judgment, **options: Any
) -> EncodedOverlay | LargeOverlay:
    """Return the overlay of an image of any size; arguments are those of ``draw_overlay``."""
    if isinstance(finding, SparseFinding):
        return draw_large_overlay(image, finding, judgment, **options)
    return encode_overlay(image, finding, judgment, **options)


def _with_room(sources: Iterator[ImageToInspect], room: Room) -> Iterator[ImageToInspect]:
    """Yield images that were read, each when there is room for it."""
    for source in sources:
        room.take(source.pixels)
        yield source
