"""Which found regions are left out: the lowest score and area, chosen on the validation split.

True regions that are found are weighed against false alarms as on a FROC curve (Bunch et al., "A
free response approach to the measurement and characterization of radiographic observer
performance", 1978), here with a bounded loss of true regions.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from defectkit.approaches.image_mix import logit, sigmoid
from defectkit.approaches.score_maps import SCORE_PERCENT
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import (
    BoolArray,
    Float32Array,
    Float64Array,
    IndexArray,
    Int32Array,
    Int64Array,
    ScoreMap,
)
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.region_matching import count_pairs
from defectkit.regions import FOUND_COVERAGE, Region

LEVELS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Pixel thresholds at which regions are recorded: the chosen one is known after the last image."""

MAX_PER_GOOD_IMAGE, MAX_PER_DEFECTIVE_IMAGE = 0.1, 1.0
"""Numbers of false alarms that may stay: what is left out for the last of them are, in other
images, true regions."""

MAX_LOSS = 0.02
"""Max. fraction of the true regions found that is lost with the regions that are left out."""

FEW_REGIONS = 10
"""With fewer true regions found, regions are left out with a margin, and none for its area."""

MARGIN = 4.0
"""With few true regions: how much higher the odds of the lowest true one are than the threshold."""

MAX_FALSE_ALARMS = 100
"""Max. number of false alarms of an image with rows of their own, those with the highest scores."""

ROW = np.dtype([("score", "f8"), ("area", "i8"), ("true", "?"), ("image", "i8"), ("count", "i8")])
"""A true region that is found, or a false alarm; ``image`` is the number of its image.

The further false alarms of an image are counted in one row, with the highest of their scores and
the largest of their areas: they are left out where all of them are."""

Rows = np.ndarray[tuple[int], np.dtype[np.void]]


class RegionTuning:
    """What is found on validation images, added one by one, and what of it to leave out.

    Args:
        min_area: regions with fewer pixels are left out anyway.
    """

    def __init__(self, *, min_area: int = 0) -> None:
        self._min_area = min_area
        self._good: list[bool] = []
        self._rows: dict[float, list[Rows]] = {level: [] for level in LEVELS}

    def update(self, defect_map: ScoreMap, truth: LabeledTruth) -> None:
        """Add an image: its defect scores, (H, W) float32, 0 where nothing counts, and its truth.

        In contrast to ``find_regions``, pixels that do not count separate regions.
        """
        self._good.append(not truth.present)
        flat = defect_map.ravel()
        places = np.flatnonzero(flat >= LEVELS[0])
        places = places[np.argsort(flat[places])]
        scores = flat[places]
        true = []
        for true_map, regions in truth.by_class.values():
            numbers = true_map.ravel()[places]
            inside = np.flatnonzero(numbers)
            true.append((regions, inside, numbers[inside]))
        for level in LEVELS:
            start = int(np.searchsorted(scores, np.float32(level)))
            if start == len(scores):
                return
            found_mask = (defect_map >= level).view(np.uint8)
            found_map = cv2.connectedComponents(found_mask, connectivity=8)[1]
            rows = _record(
                scores[start:],
                found_map.ravel()[places[start:]],
                [_from(start, *one) for one in true],
                min_area=self._min_area,
                image=len(self._good) - 1,
            )
            self._rows[level].append(rows)

    def merge(self, other: "RegionTuning") -> None:
        """Add the images of ``other``, which has the same ``min_area``, after those here."""
        if self._min_area != other._min_area:
            raise ValueError("only tunings of the same minimum area can be merged")
        for level, found in other._rows.items():
            for rows in found:
                moved = rows.copy()
                moved["image"] += len(self._good)
                self._rows[level].append(moved)
        self._good += other._good

    def choose(
        self, tuning: Tuning, listed: npt.ArrayLike | None = None
    ) -> tuple[Tuning, list[str]]:
        """Return ``tuning`` with a region threshold and a minimum area, and warnings.

        At most 2 % of the true regions found are lost. Within that, the region threshold is the
        lowest that leaves at most 0.1 false alarms per good image and 1 per defective image. If
        none does, it leaves the fewest on good images, then the fewest in all, then loses the
        fewest true regions, then is the lowest. So is the minimum area after it.

        Of fewer than 10 true regions none is lost: the region threshold has a quarter of the odds
        of the lowest of them, and there is no minimum area.

        The region threshold is chosen on the regions at the next lower of ``LEVELS``. Those at the
        pixel threshold are parts of them without their lowest scores: what is true has no lower
        score there. Below the lowest of ``LEVELS`` regions are larger than those recorded, and
        their scores may be lower: there is no region threshold. The minimum area is chosen on those
        at the next higher level.

        Args:
            tuning: its pixel threshold is taken.
            listed: of N images, in their order, whether their regions are shown to the user; the
                false alarms of the others do not count. By default all are.
        """
        good = np.array(self._good, np.bool_)
        shown = np.ones(len(good), np.bool_) if listed is None else np.asarray(listed, np.bool_)
        level = max((one for one in LEVELS if one <= tuning.pixel_threshold), default=LEVELS[0])
        rows = np.concatenate([np.empty(0, ROW), *self._rows[level]])
        is_recorded = level <= tuning.pixel_threshold
        rows["score"] *= is_recorded
        n_found = int(np.count_nonzero(rows["true"]))
        region_threshold, min_area, warnings = 0.0, 0, []
        if n_found >= FEW_REGIONS:
            max_lost = int(MAX_LOSS * n_found)
            region_threshold = _choose_cut("score", rows, max_lost, good=good, shown=shown)
            kept = rows[rows["score"] >= region_threshold]
            # At the next higher level regions are no larger than at the threshold, so no more is
            # lost there; what is not found at that level counts as lost.
            higher = min((one for one in LEVELS if one >= tuning.pixel_threshold), default=math.inf)
            above = np.concatenate([np.empty(0, ROW), *self._rows.get(higher, ())])
            above = above[above["score"] >= region_threshold]
            max_lost -= n_found - min(int(np.count_nonzero(one["true"])) for one in (kept, above))
            if max_lost >= 0:
                cut = _choose_cut("area", above, max_lost, good=good, shown=shown)
                min_area = math.ceil(cut)
        elif n_found and is_recorded:
            lowest = float(rows["score"][rows["true"]].min())
            region_threshold = sigmoid(logit(lowest) - math.log(MARGIN))
        if not good.all() and n_found < FEW_REGIONS:
            # Where nothing is labeled, the thresholds have a warning that says so.
            warnings = [_few_regions(n_found)]
        chosen = {
            "region_threshold": region_threshold,
            "min_area": max(min_area, self._min_area),
        }
        return tuning.model_copy(update=chosen), warnings


def _record(
    scores: Float32Array,
    found: Int32Array,
    true: Sequence[tuple[Sequence[Region], IndexArray, Int32Array]],
    *,
    min_area: int,
    image: int,
) -> Rows:
    """Return the rows of an image.

    Args:
        scores: those of the found pixels, (N,), ascending.
        found: the numbers of their found regions, from 1, (N,).
        true: for each class its true regions, which of the found pixels are in one, (T,), and the
            numbers of these regions, (T,).
        min_area: smaller found regions do not count.
        image: the number of the image.
    """
    areas = np.bincount(found)[1:]
    ranks = np.cumsum(areas) - areas - (-SCORE_PERCENT * areas // 100) - 1  # as region_score
    small = found.astype(np.min_scalar_type(len(areas)))  # sorted by radix
    region_scores = scores[np.argsort(small, kind="stable")[ranks]]
    large = areas >= min_area
    is_alarm, rows = large.copy(), []
    for regions, pixels, numbers in true:
        found_as = found[pixels]
        is_alarm[found_as - 1] = False
        counted = large[found_as - 1]
        own, other, shared = count_pairs(numbers[counted], found_as[counted])
        by_score = np.argsort(-region_scores[other - 1], kind="stable")
        own, other, shared = own[by_score], other[by_score] - 1, shared[by_score]
        for number, region in enumerate(regions, start=1):
            covered = np.cumsum(shared[own == number]) >= FOUND_COVERAGE * region.area
            if covered.any():  # by the found regions of the highest scores, as many as it takes
                needed = other[own == number][: covered.argmax() + 1]
                rows.append((region_scores[needed].min(), areas[needed].min(), True, image, 1))
    alarms = np.flatnonzero(is_alarm)
    if len(alarms) > MAX_FALSE_ALARMS:
        alarms = alarms[np.argpartition(-region_scores[alarms], MAX_FALSE_ALARMS)]
        alarms, others = np.split(alarms, [MAX_FALSE_ALARMS])
        rows.append((region_scores[others].max(), areas[others].max(), False, image, len(others)))
    rows += [(region_scores[index], areas[index], False, image, 1) for index in alarms]
    return np.array(rows, ROW)


def _from(
    start: int, regions: Sequence[Region], pixels: IndexArray, numbers: Int32Array
) -> tuple[Sequence[Region], IndexArray, Int32Array]:
    """Return the true regions of a class with those of their ``pixels``, (T,), from ``start`` on.

    Pixels are ascending; from then on they are counted from there.
    """
    first = np.searchsorted(pixels, start)
    return regions, pixels[first:] - start, numbers[first:]


def _choose_cut(
    name: str, rows: Rows, max_lost: int, *, good: BoolArray, shown: BoolArray
) -> float:
    """Return the score or area below which rows are left out, 0 or halfway between two of them.

    Args:
        name: ``score`` or ``area``.
        rows: true regions and false alarms.
        max_lost: of the true regions.
        good: whether each image is, (N,).
        shown: whether the false alarms of each image count, (N,).
    """
    values, true, image = rows[name], rows["true"], rows["image"]
    distinct = np.unique(values).astype(np.float64)
    cuts = np.concatenate([[0.0], (distinct[:-1] + distinct[1:]) / 2])
    alarm = ~true & shown[image]
    lost = np.searchsorted(np.sort(values[true]), cuts)
    on_good, on_defective = (
        _count_from(cuts, values[kind], rows["count"][kind])
        for kind in (alarm & good[image], alarm & ~good[image])
    )
    is_possible = lost <= max_lost
    few_on_good = on_good <= MAX_PER_GOOD_IMAGE * np.count_nonzero(good)
    few_on_defective = on_defective <= MAX_PER_DEFECTIVE_IMAGE * np.count_nonzero(~good)
    enough = np.flatnonzero(is_possible & few_on_good & few_on_defective)
    if len(enough):
        return float(cuts[enough[0]])
    possible = np.flatnonzero(is_possible)
    counts = lost[possible], on_defective[possible], on_good[possible]
    return float(cuts[possible[np.lexsort(counts)[0]]])


def _count_from(cuts: Float64Array, values: Float64Array, counts: Int64Array) -> Int64Array:
    """Return the number of false alarms that are not below each cut, (C,).

    Args:
        cuts: scores or areas, (C,).
        values: those of the rows, (N,).
        counts: the number of false alarms in each row, (N,).
    """
    order = np.argsort(values)
    below: Int64Array = np.concatenate([[0], np.cumsum(counts[order])])
    from_each: Int64Array = below[-1] - below[np.searchsorted(values[order], cuts)]
    return from_each


def _few_regions(n_found: int) -> str:
    return (
        f"validation has {n_found} labeled regions that are found, fewer than {FEW_REGIONS}: which "
        "scores of regions are false alarms is little known, so that more false alarms may be "
        "listed. Add defective images to the validation split."
    )
