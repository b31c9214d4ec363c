"""What is kept of an evaluated image as JSON, and how it comes back, bit for bit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from defectkit.deployment.evaluate_images import JudgedImage
from defectkit.evaluation.box_metrics import OVERLAPS, JudgedBoxes
from defectkit.evaluation.region_matching import RegionMatch
from defectkit.regions import Region
from defectkit.reporting.html.page_images import PageImage

MEASURES = ("length", "coverage", "best_overlap", "found_class", "true_fraction", "score")
"""What a ``RegionMatch`` has beside its region."""
BITS = 1 << np.arange(len(OVERLAPS))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptImage:
    """What is kept of an evaluated image.

    Attributes:
        row: its row of ``images.csv``.
        matches: its regions.
        boxes: its ranked boxes, by class.
        page: what the page shows of it.
        seconds: those of finding.
        is_first: whether it is the first image of its process.
    """

    row: Mapping[str, Any]
    matches: Sequence[RegionMatch]
    boxes: Mapping[str, JudgedBoxes]
    page: PageImage
    seconds: float
    is_first: bool


def write_record(judged: JudgedImage, page: PageImage) -> dict[str, Any]:
    """Return what is kept of an image, for JSON: numbers of JSON restore floats exactly."""
    return {
        "row": judged.row,
        "matches": [
            {
                "kind": match.kind,
                "box": list(match.region.box_xywh),
                "area": match.region.area,
                "class": match.region.class_id,
                **{name: getattr(match, name) for name in MEASURES},
            }
            for match in judged.matches
        ],
        "boxes": {
            name: [one.n_true, one.scores.tolist(), (one.hits @ BITS).tolist()]
            for name, one in judged.boxes.items()
        },
        "page": asdict(page),
        "seconds": judged.prediction.seconds,
        "is_first": judged.is_first,
    }


def read_record(record: Mapping[str, Any]) -> KeptImage:
    """Return what ``write_record`` kept.

    Raises:
        KeyError, ValueError, TypeError: it is damaged.
    """
    row = record["row"]
    return KeptImage(
        row=row,
        matches=[
            RegionMatch(
                image_id=row["image_id"],
                kind=one["kind"],
                region=Region(box_xywh=tuple(one["box"]), area=one["area"], class_id=one["class"]),
                **{name: one[name] for name in MEASURES},
            )
            for one in record["matches"]
        ],
        boxes={
            name: JudgedBoxes(
                n_true,
                np.array(scores, np.float64),
                (np.array(hits, np.int64)[:, None] & BITS) != 0,
            )
            for name, (n_true, scores, hits) in record["boxes"].items()
        },
        page=PageImage(**record["page"]),
        seconds=record["seconds"],
        is_first=record["is_first"],
    )
