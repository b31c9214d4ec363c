"""Parity: whether an exported model answers as the trained one does, image by image."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from defectkit.arrays import IndexArray
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import verdict
from defectkit.findings import Finding
from defectkit.vocabulary import Precision

MAX_NAMES = 5
"""Max. number of images that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far an exported model may be from the trained one.

    Attributes:
        verdicts: number of images with another verdict.
        mask_pixels: share of the pixels that only one of them finds, or with another class.
        score: by how much the score of an image, or its score of a class, may move.
    """

    verdicts: int = 0
    mask_pixels: float
    score: float


TOLERANCES: dict[Precision, Tolerances] = {
    "f32": Tolerances(mask_pixels=1e-4, score=1e-4),
    "bf16": Tolerances(mask_pixels=5e-3, score=0.05),
    "int8": Tolerances(mask_pixels=1e-2, score=0.15),
}
"""With fewer bits scores move; verdicts may not."""


@dataclass(slots=True, kw_only=True)
class Parity:
    """Compares the findings of both models; ``table`` is kept with the exported one.

    Attributes:
        tolerances: how far they may be apart.
        thresholds: those of the verdicts.
    """

    tolerances: Tolerances
    thresholds: Thresholds
    images: int = 0
    pixels: int = 0
    other_pixels: int = 0
    largest_move: float = 0.0
    largest_pixel_move: float = 0.0
    flipped: list[str] = field(default_factory=list)

    def update(self, image_id: str, trained: Finding, exported: Finding) -> None:
        """Compare the findings of an image."""
        self.images += 1
        self.pixels += trained.mask.size
        self.other_pixels += int(np.count_nonzero(_found(trained) != _found(exported)))
        moves = [abs(trained.score - exported.score)]
        moves += np.abs(trained.class_scores - exported.class_scores).tolist()
        self.largest_move = max(self.largest_move, *moves)
        move = float(np.abs(trained.score_map - exported.score_map).max(initial=0.0))
        self.largest_pixel_move = max(self.largest_pixel_move, move)
        first, second = (verdict(one.score, self.thresholds) for one in (trained, exported))
        if first != second:
            self.flipped.append(image_id)

    @property
    def share_of_pixels(self) -> float:
        """The share of all pixels that only one of the models finds, or with another class."""
        return self.other_pixels / max(self.pixels, 1)

    def failures(self) -> list[str]:
        """Return what is further apart than the tolerances allow, as parts of a sentence."""
        allowed, failures = self.tolerances, []
        if not self.images:
            failures.append("there is no validation image to compare them on")
        if len(self.flipped) > allowed.verdicts:
            names = ", ".join(self.flipped[:MAX_NAMES])
            rest = len(self.flipped) - MAX_NAMES
            more = f" and {rest} more" if rest > 0 else ""
            failures.append(f"{len(self.flipped)} of {self.images} verdicts flip ({names}{more})")
        if not self.share_of_pixels <= allowed.mask_pixels:
            failures.append(
                f"{100 * self.share_of_pixels:.3g} % of the mask's pixels differ (at most "
                f"{100 * allowed.mask_pixels:g} %)"
            )
        if not self.largest_move <= allowed.score:
            failures.append(f"a score moves by {self.largest_move:.2g} (at most {allowed.score:g})")
        return failures

    def table(self) -> dict[str, Any]:
        """Return what was compared, measured and allowed, as JSON values."""
        return {
            "images": self.images,
            "verdicts_that_flip": len(self.flipped),
            "share_of_mask_pixels_that_differ": self.share_of_pixels,
            "largest_move_of_a_score": self.largest_move,
            "largest_move_of_a_pixel_score": self.largest_pixel_move,
            "allowed": asdict(self.tolerances),
        }

    def describe(self) -> str:
        """Return the table as a line for the user."""
        return (
            f"compared with the trained model on {self.images} validation images: "
            f"{len(self.flipped) or 'no'} verdict{'' if len(self.flipped) == 1 else 's'} flip"
            f"{'s' if len(self.flipped) == 1 else ''}, {self.other_pixels:,} of {self.pixels:,} "
            f"mask pixels differ, no score moves by more than {self.largest_move:.1g}"
        )


def _found(finding: Finding) -> IndexArray:
    """Return the class that each pixel is found as, (H, W), from 1; 0 where nothing is found."""
    classes: IndexArray = np.where(finding.mask, finding.score_map.argmax(axis=0) + 1, 0)
    return classes
