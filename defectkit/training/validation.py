"""Validation of a network: metrics, the thresholds, and a few predictions to draw."""

import math
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from defectkit import ranks
from defectkit.approaches.fused import Fused
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.interface import Approach
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Float64Array
from defectkit.data.dataset import ImageRecord
from defectkit.evaluation.calibration import choose_novelty_threshold, fit_image_mix
from defectkit.evaluation.drift import Levels
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.evaluation.ranking import average_precision
from defectkit.evaluation.thresholds import Thresholds
from defectkit.models.network import Batches, Network
from defectkit.models.novelty.fused_network import FusedNetwork
from defectkit.training.failures import explain_failed_validation
from defectkit.training.judged_images import JudgedImages, judge, judge_records
from defectkit.training.shared_weights import fit_together

WATCHED_IMAGES = 6
"""Number of validation images whose predictions are drawn after each validation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """Metrics of validation images, and what is chosen on them.

    ``image_ap`` and ``pixel_ap`` are average precisions in [0, 1], None where the split has no
    defective or no good images; ``dice`` in [0, 1] is that of the tuning's pixel threshold;
    ``warnings`` are about the thresholds, ``tuning_warnings`` about the tuning;
    ``levels`` are the scores of the images, with their truth, their groups and their gray levels;
    ``seconds`` is the time that it took, and ``image_seconds`` that of an image, without what is
    fitted before; ``watched`` are the predictions to draw.
    """

    image_ap: float | None
    pixel_ap: float | None
    dice: float | None
    tuning: Tuning
    thresholds: Thresholds
    warnings: tuple[str, ...]
    tuning_warnings: tuple[str, ...]
    levels: Levels
    seconds: float
    image_seconds: float
    watched: tuple[Prediction, ...]

    @property
    def scores(self) -> Float64Array:
        """The scores of the images, (N,)."""
        return self.levels.score

    @property
    def images(self) -> int:
        """The number of images that were validated."""
        return len(self.scores)

    @property
    def quality(self) -> float:
        """The mean of image and pixel average precision, by which an epoch is compared with others.

        Infinite where neither is known: then no epoch is worse than another.
        """
        known = [value for value in (self.image_ap, self.pixel_ap) if value is not None]
        return sum(known) / len(known) if known else math.inf

    def seconds_to_the_end(self, images: int) -> float:
        """Return the seconds that such a validation after the last epoch and what follows take.

        What follows is one of all ``images``, unless this one is.
        """
        return self.seconds + (images * self.image_seconds if self.images < images else 0.0)


def validate(
    approach: Approach,
    network: Network,
    records: Sequence[ImageRecord],
    *,
    fitted_to: Batches | None = None,
    watch: int = 0,
) -> Validation:
    """Run the network on validation images and choose tuning and thresholds on them.

    Several processes share the images and all return what the first one has chosen.

    Args:
        approach: Finds the defects.
        network: The network.
        records: The validation split, or a part of it.
        fitted_to: Training samples; what is not learned by gradients is fitted to them first.
        watch: Number of predictions that are kept in the result, for the same images each time.

    Raises:
        NotFiniteError: a score is not finite; the message names the image.
        MemoryShortageError: there is too little memory for an image.
    """
    start = time.monotonic()
    with explain_failed_validation(approach.config):
        if fitted_to is not None:
            fit_together(network, partial(network.fit_after_epoch, fitted_to))
        fitting = ranks.from_first(time.monotonic() - start)
        network.eval()
        if isinstance(approach, Fused):
            approach = _tune_novelty(approach, network, records)
        watched_ids = {record.image_id for record in choose_watched(records, watch)}
        images = judge_records(approach, network, records, watched_ids=watched_ids)
        validation = ranks.by_first(partial(_conclude, images))
    seconds = ranks.from_first(time.monotonic() - start)
    return replace(
        validation, seconds=seconds, image_seconds=(seconds - fitting) / validation.images
    )


def _tune_novelty(approach: Fused, network: Network, records: Sequence[ImageRecord]) -> Fused:
    """Return the approach with the novelty from which places are found, of validation images.

    It comes before the validation, whose metrics are then those of the model that is written.
    """
    assert isinstance(network, FusedNetwork)
    novelty = network.novelty
    predictions = predict(approach.novelty, novelty, records, batch_size=batch_size_for(novelty))
    judged = [(one.finding.score, one.record.defective) for one in predictions]
    return approach.tuned(choose_novelty_threshold(*zip(*judged, strict=True)))


def validate_predictions(
    approach: Approach, predictions: Iterable[Prediction], *, watched_ids: Set[str] = frozenset()
) -> Validation:
    """Return the metrics of predictions, each held only until the next, and choose on them.

    Those of ``watched_ids`` are kept in the result. The predictions may be those of several
    networks.
    """
    start = time.monotonic()
    validation = _conclude(judge(approach, predictions, watched_ids=watched_ids))
    seconds = time.monotonic() - start
    return replace(validation, seconds=seconds, image_seconds=seconds / validation.images)


def _conclude(images: JudgedImages) -> Validation:
    """Return the metrics of judged images, and choose on them; the time is not known here."""
    kept, pixels, defective = images.kept, images.pixels, images.defective
    witnesses = [pair for pair in images.witnesses if pair is not None]
    image_mix = fit_image_mix(witnesses, defective) if not kept else ImageMix()
    given = zip(images.scores, images.witnesses, strict=True)
    scores = np.array([image_mix.score(*pair) if pair else score for score, pair in given])
    thresholds, warnings = choose_thresholds(scores, defective)
    tuning_warnings: list[str] = []
    if kept:
        tuning, dice = kept, pixels.result()["dice"]
    else:
        # Where no defect is labeled, a region begins where an image begins to be no longer good.
        pixel_threshold, dice = pixels.best_threshold() or (thresholds.low, None)
        tuning, tuning_warnings = images.regions.choose(
            Tuning(pixel_threshold=pixel_threshold, image_mix=image_mix),
            listed=scores >= thresholds.low,
        )
    return Validation(
        image_ap=average_precision(defective, scores),
        pixel_ap=pixels.result()["average_precision"],
        dice=dice,
        tuning=tuning,
        thresholds=thresholds,
        warnings=tuple(warnings),
        tuning_warnings=tuple(tuning_warnings),
        levels=Levels.of(scores, images.gray, defective, images.groups),
        seconds=0.0,
        image_seconds=0.0,
        watched=images.watched_with(image_mix),
    )


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
