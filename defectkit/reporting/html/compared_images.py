"""The images of a comparison at native resolution, with the outlines of what each run found."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from defectkit.arrays import Mask
from defectkit.data.images import encode_jpeg
from defectkit.regions import FOUND_COVERAGE, label_regions
from defectkit.reporting.drawing.comparison import ComparedImage
from defectkit.reporting.html.outlines import outline_path
from defectkit.reporting.html.page_images import MAX_SIDE


def compared_images(
    examples: Sequence[ComparedImage], *, max_bytes: int
) -> Iterator[dict[str, Any]]:
    """Yield what the scripts of the page know of each image, as many of the first as fit.

    Args:
        examples: the images, each with a finding of each run.
        max_bytes: number of characters of the pictures that may be yielded.
    """
    for one in examples:
        image = one.image
        height, width = image.shape[:2]
        if max(height, width) > MAX_SIDE:
            continue
        gray = image.ndim == 3 and image.shape[2] == 1
        picture = base64.b64encode(encode_jpeg(image[:, :, 0] if gray else image)).decode("ascii")
        max_bytes -= len(picture)
        if max_bytes < 0:
            return
        yield {
            "id": one.image_id,
            "kind": one.kind,
            "width": width,
            "height": height,
            "picture": picture,
            "runs": [
                {
                    "score": found.score,
                    "verdict": found.verdict,
                    "outcome": found.outcome,
                    "paths": outline_paths(one.truth, found.predicted),
                }
                for found in one.findings
            ],
        }


def outline_paths(truth: Mask, predicted: Mask) -> dict[str, str]:
    """Return the outlines of true and found regions, by what came of them.

    A true region is a ``hit`` if it is found, else ``missed``; a found one is ``found`` if any of
    its pixels is true, else ``false``.

    Args:
        truth: (H, W) bool.
        predicted: (H, W) bool.
    """
    hit = _regions_with(truth, predicted, FOUND_COVERAGE)
    found = _regions_with(predicted, truth, 0.0)
    masks = {"hit": hit, "missed": truth & ~hit, "found": found, "false": predicted & ~found}
    return {name: outline_path(mask) for name, mask in masks.items() if mask.any()}


def _regions_with(mask: Mask, other: Mask, share: float) -> Mask:
    """Return the regions of a mask of which the other one covers a share, and some pixel at all."""
    region_map, regions = label_regions(mask)
    numbers = [
        number
        for number, region in enumerate(regions, 1)
        if (covered := np.count_nonzero(region_map[other] == number))
        and covered >= share * region.area
    ]
    chosen: Mask = np.isin(region_map, numbers)
    return chosen
