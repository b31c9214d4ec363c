"""How the witnesses of a region's class are weighed: fitted to labeled regions, then to found ones.

What the shape of a region says is learned from the labels of the training images, since these are
many and a network is not asked. How much it counts beside the network's scores is learned from what
is found on validation images, where the network does not know the answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from defectkit.approaches.class_mix import SHAPE_FACTS, ClassMix, score_log_odds, shape_facts
from defectkit.arrays import Float64Array, ImageSize, IndexArray
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import Finding
from defectkit.regions import Region

SHAPE_STRENGTH = 3.0
"""How strongly the coefficients of standardized facts are held near 0, in regions of doubt."""
WEIGHT_STRENGTH = 4.0
"""How strongly the two weights are held near those of ``ClassMix()``, in regions of doubt."""
MIN_FRACTION = 0.1
"""Labeled regions below this fraction of the largest of their class in the image are specks beside
it, such as the pixels that a brush leaves; their shape says nothing of the class."""


class ClassedRegion(NamedTuple):
    """A found region with the size of its image and the index of the class that it has in truth."""

    region: Region
    size: ImageSize
    true_class: int


def true_classes(finding: Finding, truth: LabeledTruth) -> Iterator[ClassedRegion]:
    """Yield the regions of a finding whose class is told by scores, but for false alarms.

    The true class is that of most of a region's pixels that are defects.
    """
    for number, region in enumerate(finding.regions, start=1):
        if region.class_scores:
            own = finding.region_map[region.window] == number
            counts = np.count_nonzero(truth.masks[:, *region.window] * own, axis=(1, 2))
            if counts.any():
                size = (truth.masks.shape[1], truth.masks.shape[2])
                yield ClassedRegion(region, size, int(counts.argmax()))


def fit_shapes(
    images: Iterable[tuple[Sequence[Region], ImageSize]], classes: Sequence[str]
) -> ClassMix:
    """Return what the shapes of labeled regions say about K classes, with the weights it starts at.

    A multinomial logistic regression in which all classes count the same, however many regions
    they have. Of a class without a region the shape says nothing, and of all where fewer than two
    have any.

    Args:
        images: the labeled regions of each image, and its size.
        classes: the names of the K classes; regions of others are left out.
    """
    known = [
        (one, size)
        for regions, size in images
        for one in _without_specks(regions)
        if one.class_id in classes
    ]
    present = sorted({classes.index(one.class_id) for one, _ in known})
    if len(present) < 2:
        return ClassMix()
    facts = np.array([shape_facts(*one) for one in known])[:, 1:]  # without the constant
    scaler = StandardScaler().fit(facts)
    model = LogisticRegression(C=1.0 / SHAPE_STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(facts), [classes.index(one.class_id) for one, _ in known])
    raw = model.coef_ / scaler.scale_
    fitted = np.column_stack([model.intercept_ - raw @ scaler.mean_, raw])
    if len(present) == 2:  # They have one row together, that of the second.
        fitted = np.concatenate([-fitted, fitted]) / 2
    coefficients = np.zeros((len(classes), SHAPE_FACTS))
    coefficients[present] = fitted
    return ClassMix(shape_coefficients=tuple(tuple(row) for row in coefficients.tolist()))


def _without_specks(regions: Sequence[Region]) -> list[Region]:
    """Return an image's regions without those far smaller than the largest of their class."""
    largest: dict[str, int] = {}
    for one in regions:
        largest[one.class_id] = max(one.area, largest.get(one.class_id, 0))
    return [one for one in regions if one.area >= MIN_FRACTION * largest[one.class_id]]


def fit_class_weights(shapes: ClassMix, found: Sequence[ClassedRegion]) -> ClassMix:
    """Return the mix whose log-odds tell best of which class a region is.

    The weights are not negative, and held near those of ``ClassMix()``.

    Args:
        shapes: what shapes say.
        found: regions that have ``class_scores``.
    """
    if not shapes.shape_coefficients or not found:
        return shapes
    truth = np.array([index for _, _, index in found])
    coefficients = np.array(shapes.shape_coefficients)
    witnesses = np.array(
        [
            (score_log_odds(one.class_scores), coefficients @ shape_facts(one, size))
            for one, size, _ in found
        ]
    )  # (N, 2, K)
    right = np.take_along_axis(witnesses, truth[:, None, None], axis=2)[:, :, 0]  # (N, 2)
    by_class, prior = _equal_classes(truth), np.array([shapes.score_weight, shapes.shape_weight])

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        log_odds = np.einsum("w,nwk->nk", weights, witnesses)
        shares = np.exp(log_softmax(log_odds, axis=1))
        losses = logsumexp(log_odds, axis=1) - right @ weights
        away = weights - prior
        gradient = by_class @ (np.einsum("nk,nwk->nw", shares, witnesses) - right)
        value = float(by_class @ losses + WEIGHT_STRENGTH / 2 * away @ away)
        return value, gradient + WEIGHT_STRENGTH * away

    bounds = [(0.0, None)] * 2
    score, shape = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    if not score + shape:
        return shapes
    return shapes.model_copy(update={"score_weight": score, "shape_weight": shape})


def _equal_classes(truth: IndexArray) -> Float64Array:
    """Return the weights of N regions, (N,), with which each class counts the same, N together."""
    counts = np.bincount(truth)
    weights: Float64Array = len(truth) / np.count_nonzero(counts) / counts[truth]
    return weights
