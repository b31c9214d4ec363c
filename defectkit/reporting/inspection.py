"""An inspection in progress: image by image, where one image's trouble is one row."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress

from defectkit.data.image_search import ImageFile
from defectkit.data.roi_source import RoiSource
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import OutputError
from defectkit.evaluation.verdicts import Judgment, judge, list_regions
from defectkit.findings import Finding
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.overlay_files import EncodedOverlay, encode_overlay
from defectkit.reporting.images_to_inspect import ImageReader, ImageToInspect, reason_for
from defectkit.reporting.inspection_progress import has_overlay
from defectkit.reporting.inspection_tables import InspectionTables
from defectkit.reporting.stages import Room, Stage, run_stages
from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays

STOPPED = "not inspected: the inspection was stopped before."
AHEAD = 4
"""Max. number of images that wait for their rows to be written."""
PIXELS_AHEAD = 2**25
"""Max. number of pixels of all images in progress; a larger image is alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """An image with what was found in it, or with the problem that it has by now."""

    source: ImageToInspect
    finding: Finding | None = None
    judgment: Judgment | None = None
    overlay: EncodedOverlay | None = None
    problem: str = ""


@dataclass(kw_only=True, eq=False)
class Inspection:
    """A model that is applied to one file after another.

    Attributes:
        model: the model.
        roi: what ``--roi`` names.
        tables: where the rows are written, with the overlays beside them.
        drawn: which images get an overlay.
        first_page: whether the first page of each file is inspected alone.
        all_regions: whether regions of good images are listed too.
        console: where to report.
    """

    model: LoadedModel
    roi: RoiSource | None
    tables: InspectionTables
    drawn: Overlays
    first_page: bool
    all_regions: bool
    console: Console

    def inspect(self, files: Sequence[ImageFile], *, ids: Collection[str] = ()) -> None:
        """Inspect files; if this is interrupted, those that are left are listed as errors.

        While the rows of an image are written, the next ones are drawn, looked at by the network
        and read. What is done already, as the tables say, is left out.

        Args:
            files: all files, also those that are done.
            ids: the ids of images that are not inspected here, which no page gets.

        Raises:
            OutputError: a table or an overlay cannot be written.
        """
        progress = self.tables.progress
        waiting = deque(files[progress.files :])
        reader = ImageReader(model=self.model, roi=self.roi, first_page=self.first_page)
        room = Room(PIXELS_AHEAD)
        stages = [Stage(self._find, self.model.parallel), Stage(self._draw)]
        known = {file.image_id for file in files}.union(ids, progress.ids)
        sources = reader.read(tuple(waiting), ids=known, done=progress.pages)
        results = run_stages(_with_room(sources, room), stages, ahead=AHEAD, room=room)
        silent = not self.console.is_terminal
        try:
            with closing(results), Progress(console=self.console, disable=silent) as bars:
                bar = bars.add_task("inspecting", total=len(files), completed=progress.files)
                for found in results:
                    self._write(found)
                    room.give_back(found.source.pixels)
                    if found.source.ends_file:
                        waiting.popleft()
                        bars.advance(bar)
        except BaseException:
            with suppress(OutputError):  # The disk may be full.
                self.tables.add_errors((file.image_id, STOPPED) for file in waiting)
            raise

    def _find(self, source: ImageToInspect) -> Found:
        if source.image is None:
            return Found(source=source, problem=source.problem)
        try:
            finding = self.model.find(source.image, source.scope)
            judgment = judge(finding.score, self.model.thresholds)
            finding = list_regions(finding, judgment, all_regions=self.all_regions)
        except Exception as error:
            return Found(source=source, problem=reason_for(error, source.file.path))
        return Found(source=source, finding=finding, judgment=judgment)

    def _draw(self, found: Found) -> Found:
        source, finding, judgment = found.source, found.finding, found.judgment
        if source.image is None or finding is None or judgment is None:
            return found
        if not has_overlay(judgment.verdict, self.drawn):
            return found
        try:
            overlay = encode_overlay(
                self.model.pixels.show(source.image),
                finding,
                judgment,
                image_id=source.image_id,
                scope=source.scope,
            )
        except Exception as error:
            return Found(source=source, problem=reason_for(error, source.file.path))
        return Found(source=source, finding=finding, judgment=judgment, overlay=overlay)

    def _write(self, found: Found) -> None:
        """Write the overlay and the rows of an image; the overlay first, that it is done last."""
        source, finding, judgment = found.source, found.finding, found.judgment
        verdict = ""
        if finding is None or judgment is None:
            self._add_problem(source, found.problem)
        else:
            with self._trouble_as_row(source):
                if found.overlay:
                    found.overlay.write(self.tables.overlays / overlay_name(source.image_id))
                self.tables.add(source.image_id, judgment, finding, self.model.found_classes)
                verdict = judgment.verdict
        self.tables.end_image(
            source.image_id,
            verdict,
            file=source.file.number,
            is_last=source.ends_file,
            notes=source.notes if verdict else (),
        )

    @contextmanager
    def _trouble_as_row(self, source: ImageToInspect) -> Iterator[None]:
        """Turn any exception into a row of ``errors.csv``; but without tables there is no work.

        Raises:
            OutputError: a table or an overlay cannot be written.
        """
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            self._add_problem(source, reason_for(error, source.file.path))

    def _add_problem(self, source: ImageToInspect, reason: str) -> None:
        self.tables.add_errors([(source.image_id, reason)])
        told = one_line(f"{source.file.path}: {reason}")
        self.console.print(f"[red]not inspected:[/] {told}", highlight=False)


def _with_room(sources: Iterator[ImageToInspect], room: Room) -> Iterator[ImageToInspect]:
    """Yield images that were read, each when there is room for it."""
    for source in sources:
        room.take(source.pixels)
        yield source
