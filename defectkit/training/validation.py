"""Validation after each epoch: metrics, the thresholds, and a few predictions to draw."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.interface import Approach
from defectkit.approaches.tuning import Tuning
from defectkit.data.dataset import ImageRecord
from defectkit.evaluation.calibration import fit_image_mix
from defectkit.evaluation.operating_points import Thresholds, choose_thresholds
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.evaluation.ranking import average_precision
from defectkit.evaluation.region_tuning import RegionTuning
from defectkit.models.network import Batches, Network
from defectkit.training.failures import explain_failed_validation

WATCHED_IMAGES = 6
"""Number of validation images whose predictions are drawn after each epoch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """Metrics of the validation split after an epoch, and what is chosen on it.

    ``image_ap`` and ``pixel_ap`` are average precisions in [0, 1], None where the split has no
    defective or no good images; ``dice`` in [0, 1] is that of the tuning's pixel threshold;
    ``warnings`` are about the thresholds, ``tuning_warnings`` about the tuning; ``seconds`` is the
    time that validation took; ``watched`` are the predictions to draw.
    """

    image_ap: float | None
    pixel_ap: float | None
    dice: float | None
    tuning: Tuning
    thresholds: Thresholds
    warnings: tuple[str, ...]
    tuning_warnings: tuple[str, ...]
    seconds: float
    watched: tuple[Prediction, ...]

    @property
    def quality(self) -> float:
        """The mean of image and pixel average precision, by which the best epoch is chosen.

        Infinite where neither is known: then the last epoch is the best.
        """
        known = [value for value in (self.image_ap, self.pixel_ap) if value is not None]
        return sum(known) / len(known) if known else math.inf


def validate(
    approach: Approach,
    network: Network,
    records: Sequence[ImageRecord],
    *,
    fitted_to: Batches | None = None,
    watch: int = 0,
) -> Validation:
    """Run the network on the validation split and choose tuning and thresholds on it.

    Args:
        approach: Finds the defects.
        network: The network.
        records: The validation split.
        fitted_to: Training samples; what is not learned by gradients is fitted to them first.
        watch: Number of predictions that are kept in the result, for the same images each time.

    Raises:
        NotFiniteError: a score is not finite; the message names the image.
        MemoryShortageError: there is too little memory for an image.
    """
    pixels = PixelMetrics(classes=approach.classes, threshold=None)
    regions = RegionTuning(min_area=approach.tuning.min_area)
    watched_ids = {record.image_id for record in choose_watched(records, watch)}
    watched: list[Prediction] = []
    findings: list[tuple[float, tuple[float, float] | None]] = []
    start = time.monotonic()
    with explain_failed_validation(approach.config):
        if fitted_to is not None:
            network.fit_after_epoch(fitted_to)
        network.eval()
        for prediction in predict(approach, network, records, batch_size=batch_size_for(network)):
            pixels.update(prediction.finding.score_map, prediction.truth)
            regions.update(prediction.finding.defect_map, prediction.truth)
            findings.append((prediction.finding.score, prediction.finding.witnesses))
            if prediction.record.image_id in watched_ids:
                watched.append(prediction)
    defective = np.array([record.defective for record in records])
    witnesses = [known for _, known in findings if known is not None]
    image_mix = (fit_image_mix(witnesses, defective) if witnesses else None) or ImageMix()
    scores = [image_mix.score(*known) if known else score for score, known in findings]
    thresholds, warnings = choose_thresholds(np.array(scores), defective)
    # Where no defect is labeled, a region begins where an image begins to be no longer good.
    pixel_threshold, dice = pixels.best_dice() or (thresholds.low, None)
    tuning, tuning_warnings = regions.choose(
        Tuning(pixel_threshold=pixel_threshold, image_mix=image_mix)
    )
    return Validation(
        image_ap=average_precision(defective, np.array(scores)),
        pixel_ap=pixels.result()["average_precision"],
        dice=dice,
        tuning=tuning,
        thresholds=thresholds,
        warnings=tuple(warnings),
        tuning_warnings=tuple(tuning_warnings),
        seconds=time.monotonic() - start,
        watched=tuple(_mixed(one, image_mix) for one in watched),
    )


def _mixed(prediction: Prediction, image_mix: ImageMix) -> Prediction:
    """Return the prediction with the score that its image gets from now on."""
    finding = prediction.finding
    if finding.witnesses is None:
        return prediction
    score = image_mix.score(*finding.witnesses)
    return replace(prediction, finding=replace(finding, score=score))


def choose_watched(records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    """Return ``count`` images: defective ones of as many classes as possible, and a good one."""
    good = [record for record in records if not record.defective]
    by_class: dict[str, list[ImageRecord]] = {}
    for record in records:
        if record.defective:
            by_class.setdefault(min(record.rles), []).append(record)
    chosen: list[ImageRecord] = []
    while len(chosen) < count - bool(good) and any(by_class.values()):
        for waiting in by_class.values():
            chosen += [waiting.pop(0)] if waiting else []
    return (chosen[: count - bool(good)] + good)[:count]
