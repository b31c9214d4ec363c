"""The approach that a configuration names."""

from defectkit.approaches.box import Box
from defectkit.approaches.fused import Fused
from defectkit.approaches.interface import Approach
from defectkit.approaches.novelty import Novelty
from defectkit.approaches.patch import Patch
from defectkit.approaches.segment import Segment
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.config import Config


def build_approach(
    config: Config,
    *,
    classes: tuple[str, ...],
    channels: int,
    tuning: Tuning = UNTUNED,
    trained: Approach | None = None,
    trained_run: str = "",
) -> Approach:
    """Return the approach that ``config`` names, for images of 1 (gray) or 3 (RGB) channels.

    ``tuning`` is what was chosen on validation; its minimum area is raised to ``infer.min_area``.
    ``trained`` is what ``novelty`` is fused with, if it is, and ``trained_run`` the identity of its
    run; other approaches are fused with nothing.
    """
    min_area = max(tuning.min_area, config.infer.min_area)
    tuning = tuning.model_copy(update={"min_area": min_area})
    match config.approach:
        case "segment":
            return Segment(config, classes, channels, tuning)
        case "patch":
            return Patch(config, classes, channels, tuning)
        case "box":
            return Box(config, classes, channels, tuning)
        case "novelty":
            novelty = Novelty(config, classes, channels, tuning)
            return Fused(novelty, trained, tuning, trained_run) if trained else novelty
