"""The inspector: a model that is applied to one image after another, in this process."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from defectkit.arrays import Image
from defectkit.data.image_search import ImageFile
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.evaluation.verdicts import Judgment, judge, list_regions
from defectkit.findings import Finding, SparseFinding
from defectkit.reporting.drawing.large_overlay import LargeOverlay, draw_large_overlay
from defectkit.reporting.drawing.overlay_files import EncodedOverlay, encode_overlay
from defectkit.reporting.images_to_inspect import ImageReader, ImageToInspect, reason_for
from defectkit.reporting.inspection import (
    SHARE_OF_FINDING,
    Inspected,
    InspectionOptions,
    WatchImage,
    watch_of,
)
from defectkit.reporting.inspection_progress import describe_model, has_overlay
from defectkit.reporting.inspection_tables import rows_of
from defectkit.reporting.stages import Room, Stage, run_stages
from defectkit.watching import as_part, watching

AHEAD = 4
"""Max. number of images that wait for their rows to be written."""
PIXELS_AHEAD = 2**25
"""Max. number of pixels of all images in progress; a larger image is alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """An image with what was found in it, or with the problem that it has by now."""

    source: ImageToInspect
    finding: Finding | SparseFinding | None = None
    judgment: Judgment | None = None
    overlay: EncodedOverlay | LargeOverlay | None = None
    problem: str = ""


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
        watch: WatchImage,
    ) -> Generator[Inspected, None, None]:
        """Yield what ``Engine.inspect`` says.

        While an image is written, the next ones are drawn, looked at by the network and read.
        """
        room = Room(PIXELS_AHEAD)
        reader = ImageReader(model=self.model, roi=options.roi, first_page=options.first_page)
        stages = [
            Stage(partial(self._find, options, watch), self.model.parallel),
            Stage(partial(self._draw, options)),
            Stage(self._list),
        ]
        sources = reader.read(files, ids=ids, done=done)
        results = run_stages(_with_room(sources, room), stages, ahead=AHEAD, room=room)
        with closing(results), self.model.own_settings():
            for inspected in results:
                yield inspected
                room.give_back(inspected.pixels)

    def _find(self, options: InspectionOptions, watch: WatchImage, source: ImageToInspect) -> Found:
        if source.image is None:
            return Found(source=source, problem=source.problem)
        try:
            with watching(watch_of(source, watch)), as_part(0.0, SHARE_OF_FINDING):
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
