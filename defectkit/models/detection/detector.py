"""What detectors take and return, the same for all of them.

Shapes: B images, N boxes in an image, K defect classes, H and W in pixels of the input.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from defectkit.models.network import Network

Targets = Sequence[dict[str, torch.Tensor]]
"""The truth of each image of a batch: ``boxes`` (N, 4) float32 of x0, y0, x1, y1 in pixels,
half-open; ``labels`` (N,) int64 in 0..K-1; ``masks`` (N, H, W) uint8. N may be 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The output of a detector for one image, in tensors: boxes, the best first.

    The approach makes ``Region`` objects of them.

    ``boxes`` (N, 4) float32 of x0, y0, x1, y1 in pixels of the input, ``scores`` (N,) float32 in
    [0, 1], ``labels`` (N,) int64 in 0..K-1; ``masks`` (N, H, W) float32 in [0, 1], or None where
    the detector gives boxes alone.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None = None


class Detector(Network):
    """A network that finds boxes: with targets it returns loss terms, else detections."""

    takes_reduced_precision = False
    """Boxes and losses are computed in 32 bits in any case: in bfloat16 x = 500 is as exact as
    500 +- 1. What 16 bits in the rest do to the boxes that are found was not measured."""

    @abstractmethod
    def forward(
        self, images: torch.Tensor, targets: Targets | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """(B, C, H, W) in [0, 255], uint8 or float.

        With ``targets`` the named loss terms, already weighted, whose sum is minimized; without,
        the detections in each image.
        """
