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

from defectkit.approaches.class_mix import ClassMix, score_log_odds, shape_facts
from defectkit.arrays import Float64Array, ImageSize, IndexArray
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import Finding
from defectkit.regions import Region

SHAPE_STRENGTH = 3.0
"""How strongly the coefficients of standardized facts are held near 0, in regions of doubt."""
WEIGHT_STRENGTH = 4.0
"""How strongly the two weights are held near those of ``ClassMix()``, in regions of doubt."""


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


def fit_shapes(regions: Iterable[tuple[Region, ImageSize]], classes: Sequence[str]) -> ClassMix:
    """Return what the shapes of labeled regions say about K classes, with the weights it starts at.

    A multinomial logistic regression in which all classes count the same, however many regions
    they have. Of a single class, or without a region, the shape says nothing.

    Args:
        regions: with the sizes of their images.
        classes: the names of the K classes; regions of others are left out.
    """
    known = [(one, size) for one, size in regions if one.class_id in classes]
    if len(classes) < 2 or not known:
        return ClassMix()
    facts = np.array([shape_facts(*one) for one in known])
    truth = np.array([classes.index(one.class_id) for one, _ in known])
    mean, scale = facts.mean(axis=0), facts.std(axis=0)
    mean[0], scale[0] = 0.0, 1.0  # The constant
    scale[scale == 0] = np.inf  # A fact that all regions share says nothing.
    standardized = (facts - mean) / scale
    weights = _equal_classes(truth)

    def loss(flat: Float64Array) -> tuple[float, Float64Array]:
        coefficients = flat.reshape(len(classes), -1)
        log_odds = log_softmax(standardized @ coefficients.T, axis=1)
        error = np.exp(log_odds)
        error[np.arange(len(truth)), truth] -= 1.0
        gradient = (weights[:, None] * error).T @ standardized + SHAPE_STRENGTH * coefficients
        value = -weights @ log_odds[np.arange(len(truth)), truth]
        return float(value + SHAPE_STRENGTH / 2 * flat @ flat), gradient.ravel()

    start = np.zeros(len(classes) * facts.shape[1])
    coefficients = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(len(classes), -1)
    raw = coefficients / scale
    raw[:, 0] -= raw[:, 1:] @ mean[1:]
    return ClassMix(shape_coefficients=tuple(tuple(row) for row in raw.tolist()))


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
