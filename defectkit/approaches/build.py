"""The approach that a configuration names."""

from defectkit.approaches.box import Box
from defectkit.approaches.interface import Approach
from defectkit.approaches.patch import Patch
from defectkit.approaches.segment import Segment
from defectkit.config import Config


def build_approach(
    config: Config, *, classes: tuple[str, ...], channels: int, pixel_threshold: float = 0.5
) -> Approach:
    """Return the approach that ``config`` names, for images of 1 (gray) or 3 (RGB) channels."""
    match config.approach:
        case "segment":
            return Segment(config, classes, channels, pixel_threshold)
        case "patch":
            return Patch(config, classes, channels, pixel_threshold)
        case "box":
            return Box(config, classes, channels, pixel_threshold)
