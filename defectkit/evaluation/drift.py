"""Drift: how far images differ from those of validation, on which a model's thresholds rest.

Image scores, brightness and contrast are compared, those of good images and of defective ones
apart: a lot with more defects has not drifted. The images of a group weigh as much as one image of
another group. How much they are alike (the intraclass correlation of their ranks) decides for how
many independent images they count in the test of Kolmogorov and Smirnov: for one where they are the
same, for all where they differ as those of other groups do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from defectkit.arrays import BoolArray, Float64Array, Image, Int64Array
from defectkit.data.images import convert_channels
from defectkit.labels.scope import Scope

KINDS = ("good", "defective")
MEASURES = ("score", "brightness", "contrast")

MAX_LEVELS = 200
"""Number of quantiles of a measure that a model keeps."""
MAX_SIDE = 512
"""Of images with longer sides every second, third ... row and column is measured."""
SIGNIFICANCE = 0.01
"""Probability of a warning although nothing has changed, all comparisons together."""
LEAST_DIFFERENCE = {"score": 0.05, "brightness": 5.0}
"""Differences up to this are not large, however sure they are; brightness is in gray levels."""
LEAST_CONTRAST_CHANGE = 0.1
"""As above, for the contrast: a fraction of that of validation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """What is compared of images: each measure (N,), whether each is defective (N,), groups (N,).

    Scores are in [0, 1]; brightness and contrast are the mean and the standard deviation of the
    gray levels of an image, 0 to 255.
    """

    score: Float64Array
    brightness: Float64Array
    contrast: Float64Array
    defective: BoolArray
    groups: Sequence[str]

    @classmethod
    def of(
        cls,
        scores: npt.ArrayLike,
        gray: Sequence[tuple[float, float]],
        defective: npt.ArrayLike,
        groups: Sequence[str],
    ) -> Self:
        """Return those of images; ``gray`` has what ``measure_image`` returned of each."""
        brightness, contrast = np.array(gray, np.float64).reshape(-1, 2).T
        return cls(
            score=np.asarray(scores, np.float64),
            brightness=brightness,
            contrast=contrast,
            defective=np.asarray(defective, np.bool_),
            groups=tuple(groups),
        )

    def summarize(self) -> dict[str, dict[str, Any]]:
        """Return what a model keeps: of good and of defective images, where there are any.

        Each has the number of ``images`` and ``groups``, by measure the number of ``independent``
        images, and quantiles of each measure, ascending.
        """
        kept = {}
        for kind, chosen in zip(KINDS, (~self.defective, self.defective), strict=True):
            if not chosen.any():
                continue
            own = {name: self._take(name, chosen) for name in MEASURES}
            kept[kind] = {
                "images": int(chosen.sum()),
                "groups": own["score"].groups,
                "independent": {name: one.independent for name, one in own.items()},
                **{name: one.quantiles(MAX_LEVELS) for name, one in own.items()},
            }
        return kept

    def _take(self, name: str, chosen: BoolArray) -> "_Sample":
        values = getattr(self, name)[chosen]
        groups = [group for group, one in zip(self.groups, chosen, strict=True) if one]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        index = np.array([numbers[group] for group in groups])
        sizes = np.bincount(index)
        alike = _correlation(values, index, sizes)
        return _Sample(
            values=values,
            weights=1.0 / (sizes[index] * len(sizes)),
            groups=len(sizes),
            independent=float(len(sizes) ** 2 / np.sum(alike + (1.0 - alike) / sizes)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    """Values (N,) of one measure; their weights sum to 1.

    ``independent`` is the number of independent images for which they count.
    """

    values: Float64Array
    weights: Float64Array
    groups: int
    independent: float

    def shares_up_to(self, points: Float64Array) -> Float64Array:
        """Return the share of the values up to each of the points."""
        order = np.argsort(self.values)
        sums = np.append(0.0, np.cumsum(self.weights[order]))
        return np.asarray(sums[np.searchsorted(self.values[order], points, side="right")])

    def quantiles(self, most: int) -> list[float]:
        """Return evenly spaced quantiles, ascending, with six digits."""
        count = min(len(self.values), most)
        order = np.argsort(self.values)
        sums, shares = np.cumsum(self.weights[order]), (np.arange(count) + 0.5) / count
        places = np.searchsorted(sums, shares - 1e-9).clip(0, len(order) - 1)
        return [float(f"{value:.6g}") for value in self.values[order][places]]

    @property
    def median(self) -> float:
        """The value below which half of the weight is."""
        return self.quantiles(1)[0]


class Difference(TypedDict):
    """How one measure of one kind of images differs from validation.

    ``median`` and ``validation_median``; ``difference``: by how much values differ on average
    (Wasserstein's distance); ``distance`` and ``p_value`` of Kolmogorov and Smirnov; the numbers of
    groups of both; ``is_large``: whether it is surely there and large enough to matter.
    """

    median: float
    validation_median: float
    difference: float
    distance: float
    p_value: float
    groups: int
    validation_groups: int
    is_large: bool


def measure_image(image: Image, scope: Scope) -> tuple[float, float]:
    """Return the brightness and the contrast of an image (H, W, C) uint8, of pixels that count."""
    steps = tuple(slice(None, None, -(-side // MAX_SIDE)) for side in image.shape[:2])
    gray = convert_channels(image[steps], 1)[..., 0]
    if scope.counted is not None and (counted := scope.counted[steps]).any():
        gray = gray[counted]
    return float(gray.mean()), float(gray.std())


def compare_levels(
    levels: Levels, kept: Mapping[str, Mapping[str, Any]], measures: Sequence[str] = MEASURES
) -> dict[str, Difference]:
    """Return how images differ from those that a model keeps the levels of.

    Args:
        levels: of the images.
        kept: as ``Levels.summarize`` returns it.
        measures: what is compared.

    Returns:
        By what is compared, such as ``brightness of good images``.
    """
    pairs = [
        (name, kind, chosen)
        for kind, chosen in zip(KINDS, (~levels.defective, levels.defective), strict=True)
        for name in measures
        if kind in kept and chosen.any()
    ]
    found: dict[str, Difference] = {}
    for name, kind, chosen in pairs:
        values = np.array(kept[kind][name], np.float64)
        there = _Sample(
            values=values,
            weights=np.full(len(values), 1.0 / len(values)),
            groups=kept[kind]["groups"],
            independent=kept[kind]["independent"][name],
        )
        here = levels._take(name, chosen)
        found[f"{name} of {kind} images"] = _compare(
            name, here, there, significance=SIGNIFICANCE / len(pairs)
        )
    return found


def describe_drift(drift: Mapping[str, Difference]) -> str:
    """Return the medians of all that was compared, as a sentence without its full stop."""
    told = ", ".join(
        f"{name} {_number(one['median'])} ({_number(one['validation_median'])})"
        for name, one in drift.items()
    )
    return f"medians here and (in validation): {told}" if told else ""


def warn_of_drift(drift: Mapping[str, Difference]) -> list[str]:
    """Return a sentence if anything differs a lot from validation."""
    large = [
        f"{name} {_number(one['median'])} in the median, not {_number(one['validation_median'])} "
        f"(Kolmogorov-Smirnov distance {one['distance']:.2f}, p {_p_value(one['p_value'])}, "
        f"{one['groups']} and {one['validation_groups']} groups)"
        for name, one in drift.items()
        if one["is_large"]
    ]
    if not large:
        return []
    return [
        "these images differ a lot from those of validation, on which the thresholds rest: "
        f"{'; '.join(large)}. A promised escape rate need not hold on such images."
    ]


def _compare(name: str, here: _Sample, there: _Sample, *, significance: float) -> Difference:
    points = np.unique(np.concatenate([here.values, there.values]))
    gaps = np.abs(here.shares_up_to(points) - there.shares_up_to(points))
    distance, difference = float(gaps.max()), float(np.sum(gaps[:-1] * np.diff(points)))
    p_value = _test(distance, here.independent, there.independent)
    least = LEAST_DIFFERENCE.get(name, LEAST_CONTRAST_CHANGE * there.median)
    return Difference(
        median=here.median,
        validation_median=there.median,
        difference=difference,
        distance=distance,
        p_value=p_value,
        groups=here.groups,
        validation_groups=there.groups,
        is_large=p_value <= significance and difference >= least,
    )


def _test(distance: float, count: float, others: float) -> float:
    """Return the probability of such a distance between so many images of the same kind."""
    from scipy.special import binom  # slow to import
    from scipy.stats import kstwo

    # The approximation for many images; of few, no outcome is rarer than either of the two orders
    # in which all of the one kind come first.
    count, others = math.floor(count + 1e-9), math.floor(others + 1e-9)
    rarest = 2.0 / binom(count + others, count)
    p_value = float(kstwo.sf(distance, max(1, count * others // (count + others))))
    return float(min(1.0, max(p_value, rarest)))


def _correlation(values: Float64Array, index: Int64Array, sizes: Int64Array) -> float:
    """Return how much the values (N,) of a group are alike, in [0, 1]: 0 as those of any groups.

    Ranks are compared, as by the test.

    Args:
        values: (N,) float64.
        index: (N,) the number of each value's group, from 0 on.
        sizes: the number of values in each group.
    """
    groups, count = len(sizes), len(values)
    if groups in (1, count):  # Nothing tells, or each is alone.
        return 1.0
    from scipy.stats import rankdata  # slow to import

    ranks = rankdata(values)
    means = np.bincount(index, ranks) / sizes
    between = np.sum(sizes * (means - ranks.mean()) ** 2) / (groups - 1)
    within = np.sum((ranks - means[index]) ** 2) / (count - groups)
    typical = (count - np.sum(sizes**2) / count) / (groups - 1)
    spread = between + (typical - 1.0) * within
    return float(np.clip((between - within) / spread, 0.0, 1.0)) if spread > 0 else 1.0


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _p_value(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "< 0.001"
