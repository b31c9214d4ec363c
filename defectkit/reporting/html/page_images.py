"""The images of a page: native resolution, bare, with the outlines of their regions apart.

While images are judged, each is written to ``report_pictures/``; when all outcomes are known, the
page takes in the most urgent ones, as many as it has room for, and the others stay beside it.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectkit.arrays import Mask
from defectkit.data.images import encode_jpeg
from defectkit.evaluation.prediction import Prediction
from defectkit.evaluation.region_matching import RegionMatch
from defectkit.files import read_limited, safe_name, write_bytes
from defectkit.regions import Region
from defectkit.reporting.html.outlines import outline_path
from defectkit.reporting.html.score_layer import score_layer

PICTURES = "report_pictures"
"""The folder, beside the page, of the images that the page has no room for."""

MAX_SIDE = 65_000
"""No JPEG is larger; of such an image the page has no picture, only the overlay."""

MAX_REGIONS = 200
"""Number of regions of an image that the page can show, true ones first, then the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """An image of a page: its size in pixels, and its regions as ``page_region`` returns them.

    ``picture`` is the name of its file in ``report_pictures/``, or empty; ``left_out`` is the
    number of regions beyond ``MAX_REGIONS``; ``scores`` is what ``score_layer`` returned, or empty.
    """

    width: int
    height: int
    picture: str
    regions: Sequence[dict[str, Any]]
    left_out: int
    scores: str = ""


def picture_name(image_id: str) -> str:
    """Return the name of the file of an image in ``report_pictures/``.

    >>> picture_name("lot 7/a.png")
    'lot_7_a.png-384786f3.jpg'
    """
    return safe_name(image_id, caseless=True) + ".jpg"


def write_page_image(
    folder: Path,
    prediction: Prediction,
    matches: Sequence[RegionMatch],
    *,
    with_scores: bool = True,
) -> PageImage:
    """Write an image to ``folder/report_pictures/`` and return what the page needs of it.

    Args:
        folder: where the page will lie.
        prediction: the image, its truth and its finding as it is listed.
        matches: the regions of the image, as ``match_regions`` returns them.
        with_scores: whether the page shows the scores of the pixels.

    Raises:
        OutputError: the picture cannot be written.
    """
    image = prediction.record.pixels.show(prediction.image)
    height, width = image.shape[:2]
    name = ""
    if max(height, width) <= MAX_SIDE:
        name = picture_name(prediction.record.image_id)
        gray = image.ndim == 3 and image.shape[2] == 1
        write_bytes(folder / PICTURES / name, encode_jpeg(image[:, :, 0] if gray else image))
    pairs = list(zip(matches, _masks(prediction, matches), strict=True))
    pairs.sort(key=lambda pair: (pair[0].kind != "true", -pair[0].region.area))
    return PageImage(
        width=width,
        height=height,
        picture=name,
        regions=[page_region(match, mask) for match, mask in pairs[:MAX_REGIONS]],
        left_out=max(0, len(pairs) - MAX_REGIONS),
        scores=score_layer(prediction.finding.defect_map) if with_scores else "",
    )


def page_region(match: RegionMatch, mask: Mask) -> dict[str, Any]:
    """Return a region with its outline, for the scripts of the page.

    Args:
        match: the region and what it was matched with.
        mask: (height, width) bool, the region's own pixels in its box.
    """
    region = match.region
    left, top, _, _ = region.box_xywh
    entries = {
        "kind": match.kind,
        "class": region.class_id,
        "box": list(region.box_xywh),
        "area": region.area,
        "found": match.found,
        "coverage": _round(match.coverage),
        "as": match.found_class,
        "true": _round(match.true_fraction),
        "score": _round(match.score),
        "path": outline_path(mask, left=left, top=top),
    }
    return {name: value for name, value in entries.items() if value is not None}


def take_in(folder: Path, pictures: Iterable[str], *, max_bytes: int) -> dict[str, str]:
    """Return pictures as base64, as many of the first as fit.

    Args:
        folder: where the page will lie.
        pictures: names of files in ``folder/report_pictures/``, the most urgent first.
        max_bytes: number of bytes of the text that may be returned.

    Raises:
        OSError: a file cannot be read.
    """
    inside: dict[str, str] = {}
    for name in pictures:
        path = folder / PICTURES / name
        size = (path.stat().st_size + 2) // 3 * 4
        if size <= max_bytes:
            inside[name] = base64.b64encode(read_limited(path)).decode("ascii")
            max_bytes -= size
    return inside


def remove_pictures(folder: Path, pictures: Iterable[str]) -> None:
    """Remove pictures that a page which was written has taken in.

    Raises:
        OSError: a file cannot be removed.
    """
    for name in pictures:
        (folder / PICTURES / name).unlink()
    if pictures and not any((folder / PICTURES).iterdir()):
        (folder / PICTURES).rmdir()


def _masks(prediction: Prediction, matches: Sequence[RegionMatch]) -> list[Mask]:
    """Return the pixels of each region in its box, in the order of ``match_regions``."""
    true = [
        _own(region_map, number, region)
        for region_map, regions in prediction.truth.by_class.values()
        for number, region in enumerate(regions, start=1)
    ]
    found = (match.region for match in matches if match.kind != "true")
    region_map = prediction.finding.region_map
    return true + [_own(region_map, number, region) for number, region in enumerate(found, 1)]


def _own(region_map: Any, number: int, region: Region) -> Mask:
    own: Mask = region_map[region.window] == number
    return own


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
