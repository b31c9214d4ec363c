"""The ``pixel`` section of ``metrics.json``, pooled over all pixels of a split.

Two conventions hold throughout: a metric that is not defined (an average precision without a
positive or without a negative, an overlap of two empty masks) is ``None``, never NaN, 0 or 1; and a
score that reaches a threshold (``score >= threshold``) is on its defective side.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from defectkit.arrays import Int64Array, ScoreMap
from defectkit.evaluation.exact_sums import add_exactly, merge_exactly, totals
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.pixel_overlaps import class_areas, dice, iou
from defectkit.evaluation.pixel_threshold import (
    COARSE_BITS,
    best_threshold,
    dice_by_coarse_level,
)
from defectkit.evaluation.ranking import average_precision_of_counts, counts_from_above
from defectkit.evaluation.score_levels import LEVELS, levels_of
from defectkit.regions import DEFECT_OR_NOT

COUNTS = ("_images", "_regions", "_empty_truths")
LISTS = ("_defective_dice", "_pair_dice")
"""The whole numbers and the lists of ``PixelMetrics``; the rest are arrays."""


class PixelResult(TypedDict):
    """The ``pixel`` section of ``metrics.json``; ``None`` where a metric is not defined."""

    average_precision: float | None
    dice: float | None
    mean_iou: float | None
    mean_iou_classes: int | None
    iou_by_class: dict[str, float | None] | None
    dice_defective_mean: float | None
    kaggle_dice: float | None
    kaggle_dice_floor: float | None
    aupro_30: float | None
    aupro_05: float | None


class PixelMetrics:
    """Pixel metrics of a split, one image at a time, in constant memory.

    Scores are pooled in histograms of 262,144 levels, evenly spaced in logits (``score_levels``):
    ``average_precision``, ``aupro_30`` and ``aupro_05`` are exact for scores that are equal within
    a level. Metrics that depend on ``threshold`` use the scores as they are (``score >=
    threshold``, in float32). Besides the histograms only K + 1 numbers per image are kept. Neither
    the order of the images nor their partition matters, to the last digit. Pixels outside of the
    scope of the truth are left out.

    "Defect or not" metrics compare the largest class score of a pixel with the truth of any class.
    For the others a pixel's found class is the one with the largest score (the first of equal ones)
    where that score reaches the threshold.
    """

    def __init__(self, *, classes: Sequence[str], threshold: float | None) -> None:
        """Start without images.

        Args:
            classes: the K defect classes in the order of the score map's layers; of
                ``DEFECT_OR_NOT`` the metrics that ask for classes are ``None``.
            threshold: in [0, 1]; with ``None`` the metrics that depend on it are ``None``.

        Raises:
            ValueError: no classes, a class named twice, or a threshold outside [0, 1].
        """
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"classes must be one or more distinct names but got {list(classes)}")
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1] but got {threshold}")
        self.classes = tuple(classes)
        self.threshold = threshold
        self._images = 0
        self._positive: Int64Array = np.zeros(LEVELS, np.int64)  # true pixels by level
        self._negative: Int64Array = np.zeros(LEVELS, np.int64)
        # Each true region's pixels weigh 1 together; sums of exact_sums.
        self._region_weight: Int64Array = np.zeros(LEVELS, np.int64)
        self._region_weight_low: Int64Array = np.zeros(LEVELS, np.int64)
        self._regions = 0
        self._empty_truths = 0  # pairs of image and class
        # Rows: truth, finding, both; a column per class and a last one for "defect or not".
        self._areas: Int64Array = np.zeros((3, len(self.classes) + 1), np.int64)
        self._defective_dice: list[float] = []  # one per defective image
        self._pair_dice: list[float] = []  # one per image and class
        # The sum over defective images of the Dice of all pixels from a coarse level on.
        self._image_dice: Int64Array = np.zeros(LEVELS >> COARSE_BITS, np.int64)
        self._image_dice_low: Int64Array = np.zeros(LEVELS >> COARSE_BITS, np.int64)

    @property
    def images(self) -> int:
        """Number of images so far."""
        return self._images

    def update(self, score_map: ScoreMap, truth: LabeledTruth) -> None:
        """Add one image.

        Args:
            score_map: (K, H, W) float32 in [0, 1].
            truth: the true masks, of the same classes and size.

        Raises:
            ValueError: a shape, dtype or value range is wrong.
        """
        self._check(score_map, truth)
        largest: ScoreMap = score_map.max(axis=0)
        if not (largest.min() >= 0.0 and largest.max() <= 1.0):  # a NaN fails both comparisons
            raise ValueError("score_map must be in [0, 1] and finite")
        true_areas = np.array(
            [*map(np.count_nonzero, truth.masks), np.count_nonzero(truth.mask)], np.int64
        )
        self._images += 1
        self._empty_truths += int(np.count_nonzero(true_areas[:-1] == 0))
        self._pool(largest, truth)
        if self.threshold is not None:
            found = largest >= self.threshold
            if truth.scope.counted is not None:
                found &= truth.scope.counted
            areas = class_areas(found, score_map, truth, true_areas)
            self._areas += areas
            ratios = dice(*areas)
            self._pair_dice += [1.0 if value is None else value for value in ratios[:-1]]
            if ratios[-1] is not None and true_areas[-1]:
                self._defective_dice.append(ratios[-1])

    def merge(self, other: "PixelMetrics") -> None:
        """Add the images of ``other``, which must have the same classes and threshold."""
        if (self.classes, self.threshold) != (other.classes, other.threshold):
            raise ValueError("only metrics of the same classes and threshold can be merged")
        self._images += other._images
        self._positive += other._positive
        self._negative += other._negative
        merge_exactly(
            self._region_weight,
            self._region_weight_low,
            other._region_weight,
            other._region_weight_low,
        )
        self._regions += other._regions
        self._empty_truths += other._empty_truths
        self._areas += other._areas
        self._defective_dice += other._defective_dice
        self._pair_dice += other._pair_dice
        merge_exactly(
            self._image_dice, self._image_dice_low, other._image_dice, other._image_dice_low
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was counted as arrays, for ``from_arrays`` in another process."""
        names = [name for name, value in vars(self).items() if isinstance(value, np.ndarray)]
        arrays: dict[str, npt.NDArray[Any]] = {
            "counts": np.array([getattr(self, name) for name in COUNTS], np.int64),
            **{name[1:]: np.array(getattr(self, name), np.float64) for name in LISTS},
        }
        for name in names:  # mostly 0
            values = getattr(self, name).ravel()
            places = np.flatnonzero(values)
            arrays[f"{name[1:]}.places"], arrays[f"{name[1:]}.values"] = places, values[places]
        return arrays

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        classes: Sequence[str],
        threshold: float | None,
    ) -> Self:
        """Return metrics that count what ``arrays`` returned.

        Raises:
            KeyError, IndexError, ValueError: the arrays are those of other metrics.
        """
        metrics = cls(classes=classes, threshold=threshold)
        for name, count in zip(COUNTS, arrays["counts"].tolist(), strict=True):
            setattr(metrics, name, count)
        for name in LISTS:
            setattr(metrics, name, arrays[name[1:]].tolist())
        for name, value in vars(metrics).items():
            if isinstance(value, np.ndarray):
                places = arrays[f"{name[1:]}.places"]
                value.ravel()[places] = arrays[f"{name[1:]}.values"]  # a view
        return metrics

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what another process gets: the arrays, which are smaller than the histograms."""
        restore = partial(type(self).from_arrays, classes=self.classes, threshold=self.threshold)
        return restore, (self.arrays(),)

    def best_threshold(self) -> tuple[float, float] | None:
        """Return the best threshold in [0, 1] and the pooled Dice, as ``pixel_threshold`` has it.

        ``None`` when no pixel is true.
        """
        image_dice = totals(self._image_dice, self._image_dice_low)
        return best_threshold(self._positive, self._negative, image_dice)

    def result(self) -> PixelResult:
        """Return the ``pixel`` section of ``metrics.json``.

        - ``average_precision`` and ``dice``: defect or not, pooled over all pixels.
        - ``aupro_30``: the mean fraction of each true region that is found, integrated over the
          false-positive rate of all other pixels up to 0.3 and divided by 0.3 (Bergmann et al.,
          MVTec AD, IJCV 2021). ``aupro_05``: up to 0.05, as in their MVTec LOCO AD (IJCV 2022):
          where defects are small, a map that marks 30 % of the good pixels is of no use.
        - ``iou_by_class``: pooled over all pixels; ``None`` for a class that neither truth nor
          prediction has. ``mean_iou`` is the mean over the ``mean_iou_classes`` classes that either
          has: a class that is neither true nor found is left out, one that is only found counts 0.
        - ``dice_defective_mean``: the mean over defective images of the "defect or not" Dice.
        - ``kaggle_dice``: the mean over image and class, 1 where truth and prediction are both
          empty (Severstal); ``kaggle_dice_floor`` is what an empty submission gets.

        What asks for classes, the IoUs and the two of Kaggle, is ``None`` for ``DEFECT_OR_NOT``.
        """
        pairs = self._images * len(self.classes)
        ious = dict(zip(self.classes, iou(*self._areas[:, :-1]), strict=True))
        present = [one for one in ious.values() if one is not None]
        given = self.threshold is not None
        result = PixelResult(
            average_precision=average_precision_of_counts(self._positive, self._negative),
            dice=dice(*self._areas[:, -1:])[0] if given else None,
            mean_iou=_mean(present),
            mean_iou_classes=len(present) if given else None,
            iou_by_class=ious if given else None,
            dice_defective_mean=_mean(self._defective_dice),
            kaggle_dice=_mean(self._pair_dice),
            kaggle_dice_floor=self._empty_truths / pairs if pairs else None,
            aupro_30=self._aupro(0.30),
            aupro_05=self._aupro(0.05),
        )
        if self.classes == DEFECT_OR_NOT:
            result.update({"mean_iou": None, "mean_iou_classes": None, "iou_by_class": None})
            result.update({"kaggle_dice": None, "kaggle_dice_floor": None})
        return result

    def _check(self, score_map: ScoreMap, truth: LabeledTruth) -> None:
        if score_map.ndim != 3 or score_map.dtype != np.float32 or score_map.size == 0:
            raise ValueError(
                f"score_map must be (K, H, W) float32 but got {score_map.shape} {score_map.dtype}"
            )
        if truth.classes != self.classes or truth.masks.shape != score_map.shape:
            raise ValueError(
                f"score_map {score_map.shape} and truth {truth.masks.shape} must both have one "
                f"layer for each of the {len(self.classes)} classes"
            )

    def _pool(self, largest: ScoreMap, truth: LabeledTruth) -> None:
        levels = levels_of(largest)
        counted = truth.scope.counted
        everywhere = np.bincount(
            levels.ravel() if counted is None else levels[counted], minlength=LEVELS
        )
        if truth.present:
            true_levels = levels[truth.mask].astype(np.int64)
            numbers = truth.region_map[truth.mask]
            areas = np.bincount(numbers)
            # Only the levels that an image has: to go through all of them takes longer.
            places, index, positive = np.unique(
                true_levels, return_inverse=True, return_counts=True
            )
            self._positive[places] += positive
            by_level = dice_by_coarse_level(true_levels, everywhere)
            coarse = np.arange(len(by_level))
            add_exactly(self._image_dice, self._image_dice_low, coarse, by_level)
            weights = np.bincount(index, 1.0 / areas[numbers]).astype(np.float64, copy=False)
            add_exactly(self._region_weight, self._region_weight_low, places, weights)
            self._regions += len(areas) - 1
            everywhere[places] -= positive
        self._negative += everywhere

    def _aupro(self, limit: float) -> float | None:
        """Return the area under the per-region overlap up to a false-positive rate of ``limit``."""
        good_pixels = int(self._negative.sum())
        if not self._regions or not good_pixels:
            return None
        rates = counts_from_above(self._negative)[::-1] / good_pixels
        weights = totals(self._region_weight, self._region_weight_low)
        overlaps = np.minimum(counts_from_above(weights)[::-1] / self._regions, 1.0)
        rates = np.concatenate(([0.0], rates))
        overlaps = np.concatenate(([0.0], overlaps))
        inside = rates <= limit
        end = np.interp(limit, rates, overlaps)
        x = np.append(rates[inside], limit)
        y = np.append(overlaps[inside], end)
        area = float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
        return min(area / limit, 1.0)


def _mean(values: Sequence[float]) -> float | None:
    # fsum rounds once, at the end: the order of the images cannot show.
    return math.fsum(values) / len(values) if values else None
