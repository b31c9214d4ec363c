"""The pictures of an evaluation: overlays of what a person looks at, and images for the page."""

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

from defectkit.data.dataset import ImageRecord
from defectkit.deployment.evaluate_images import URGENCY, JudgedImage
from defectkit.files import sha256_bytes
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.overlay_files import PREVIEW_SUFFIX, write_overlay
from defectkit.reporting.html.page_images import (
    PICTURES,
    PageImage,
    picture_name,
    write_page_image,
)
from defectkit.vocabulary import Overlays

FLAGGED = ("escape", "overkill", "review")
"""The outcomes of which every image is drawn, unless none is to be."""

SAMPLE = 50
"""Number of images that are drawn of each other outcome."""


def evaluated_overlay_name(image_id: str, outcome: str) -> str:
    """Return the file name of an overlay; they sort as the rows of ``images.csv``: escapes first.

    >>> evaluated_overlay_name("part-17", "overkill")
    '2-overkill-part-17.png'
    """
    return f"{URGENCY[outcome] + 1}-{outcome}-{overlay_name(image_id)}"


def picture_files(records: Iterable[ImageRecord]) -> Iterator[str]:
    """Yield the names of all pictures that an evaluation may have of images."""
    for record in records:
        yield f"{PICTURES}/{picture_name(record.image_id)}"
        for outcome in URGENCY:
            yield f"overlays/{evaluated_overlay_name(record.image_id, outcome)}"


class DrawnImages:
    """Which images are drawn.

    Of images that are not flagged that depends on their ids and outcomes alone: those whose hash is
    among the lowest ``SAMPLE`` of their outcome. So it does not depend on the order of the images,
    and those of shards have all of the whole among them.

    Attributes:
        names: the names of the overlays so far.
    """

    def __init__(self, overlays: Overlays) -> None:
        self.names: set[str] = set()
        self._overlays = overlays
        self._samples: dict[str, list[tuple[int, str]]] = {}

    def take(self, image_id: str, outcome: str) -> tuple[str, str]:
        """Take an image in.

        Returns:
            The name of its overlay, "" if it is not drawn; and that of an overlay that it drives
            out, or "".
        """
        own, out = evaluated_overlay_name(image_id, outcome), ""
        if self._overlays == "none":
            return "", ""
        if self._overlays == "flagged" and outcome not in FLAGGED:
            sample = self._samples.setdefault(outcome, [])
            # Negative: a heap has its least entry first, here the highest hash.
            entry = -int(sha256_bytes(image_id.encode("utf-8", "surrogatepass")), 16), image_id
            if len(sample) < SAMPLE:
                heapq.heappush(sample, entry)
            else:
                left = heapq.heappushpop(sample, entry)
                if left == entry:
                    return "", ""
                out = evaluated_overlay_name(left[1], outcome)
        self.names.add(own)
        self.names.discard(out)
        return own, out


class EvaluationPictures:
    """Writes the pictures of images as they are judged.

    An overlay that others drive out is removed again, so that a long evaluation draws a few hundred
    more than it keeps.

    Attributes:
        page_images: what the page shows of each image, by its id.
    """

    def __init__(self, folder: Path, overlays: Overlays) -> None:
        self.page_images: dict[str, PageImage] = {}
        self._folder = folder
        self._drawn = DrawnImages(overlays)

    @property
    def drawn(self) -> int:
        """Number of overlays."""
        return len(self._drawn.names)

    def add(self, judged: JudgedImage) -> None:
        """Write the picture of an image for the page, and its overlay if it is one to draw.

        Raises:
            OutputError: one cannot be written.
        """
        image_id, outcome = judged.prediction.record.image_id, judged.judgment.outcome
        assert outcome is not None
        name, left_out = self._drawn.take(image_id, outcome)
        if left_out:
            self._remove(left_out)
        if name:
            self._draw(judged, name)
        self.page_images[image_id] = write_page_image(
            self._folder,
            judged.prediction,
            judged.matches,
            with_scores=outcome != "pass",  # the most frequent one: the page would be large
        )

    def keep(self, image_id: str, outcome: str, page: PageImage) -> None:
        """Take in an image whose pictures are there already."""
        self._drawn.take(image_id, outcome)
        self.page_images[image_id] = page

    def paths(self) -> Iterator[Path]:
        """Yield the files of all pictures."""
        yield from (self._folder / "overlays" / name for name in sorted(self._drawn.names))
        for page in self.page_images.values():
            if page.picture:
                yield self._folder / PICTURES / page.picture

    def _draw(self, judged: JudgedImage, name: str) -> None:
        prediction = judged.prediction
        write_overlay(
            self._folder / "overlays" / name,
            prediction.record.pixels.show(prediction.image),
            prediction.finding,
            judged.judgment,
            image_id=prediction.record.image_id,
            truth=prediction.truth.mask,
            scope=prediction.truth.scope,
        )

    def _remove(self, name: str) -> None:
        path = self._folder / "overlays" / name
        for one in (path, path.with_suffix(PREVIEW_SUFFIX)):
            one.unlink(missing_ok=True)


def describe_overlays(drawn: int, images: int) -> str:
    """Return which overlays of so many images there are, "" where none is."""
    if drawn in (0, images):
        return "overlays" if drawn else ""
    kinds = "all escapes, overkills and reviews, and a sample of the others"
    return f"{drawn} overlays ({kinds}; --overlays all draws all {images})"
