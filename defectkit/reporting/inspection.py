"""An inspection in progress: image by image, where one image's trouble is one row."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from rich.console import Console

from defectkit.data.image_search import ImageFile
from defectkit.data.roi_source import RoiSource
from defectkit.errors import OutputError
from defectkit.reporting.drawing.large_overlay import LargeOverlay
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.images_to_inspect import ImageToInspect, reason_for
from defectkit.reporting.inspection_tables import ImageRows, InspectionTables
from defectkit.reporting.progress import Progress
from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays
from defectkit.watching import Watch, as_part, watch_nothing, watching

STOPPED = "not inspected: the inspection was stopped before."

WatchImage = Callable[[str, float], None]
"""Is told an image's id, and which share of the work on it is done."""
SHARE_OF_FINDING = 0.85
"""About the share of the time of a large image in which it is scored; then it is drawn."""


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
        watch: WatchImage,
    ) -> Generator[Inspected, None, None]:
        """Yield what is to be written of the images of files, in their order.

        Args:
            files: the files.
            options: how they are inspected.
            ids: the ids of other images, which no page gets.
            done: number of images of the first file that are left out.
            watch: may be told how far large images have come, in any thread.
        """


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
        bar = Progress(self.console, "inspecting", total=len(files), done=progress.files)
        shares: dict[str, float] = {}

        def show() -> None:
            bar.update(len(files) - len(waiting) + sum([*shares.values()]))

        def watch(image_id: str, share: float) -> None:
            shares[image_id] = share
            show()

        results = self.engine.inspect(
            tuple(waiting), self.options, ids=known, done=progress.pages, watch=watch
        )
        try:
            with closing(results), bar:
                for inspected in results:
                    with watching(watch_of(inspected, watch)), as_part(SHARE_OF_FINDING, 1.0):
                        self._write(inspected)
                    shares.pop(inspected.image_id, None)
                    if inspected.ends_file:
                        waiting.popleft()
                        show()
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


def watch_of(image: ImageToInspect | Inspected, watch: WatchImage) -> Watch:
    """Return what is told of the work on an image.

    Of one that is not the last of its file that is nothing: how many follow is not known, and the
    file would seem to be done before it is.
    """
    return partial(watch, image.image_id) if image.ends_file else watch_nothing
