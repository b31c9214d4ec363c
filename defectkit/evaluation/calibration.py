"""How both witnesses of an image's defect score are weighed, fitted on validation."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from defectkit.approaches.image_mix import ImageMix, logit
from defectkit.arrays import Float64Array

STRENGTH = 4.0
"""How strongly the weights are held near those of ``ImageMix()``, in images of doubt."""

NOVEL_GOOD_IMAGES = 0.05
"""Fraction of the good validation images that may have a novel place."""
LEAST_NOVELTY = 0.5
"""The lowest novelty threshold, the score that one good place in a thousand exceeds: a few good
images, none of them conspicuous, do not make all others so."""


def fit_image_mix(
    witnesses: Sequence[tuple[float, float]], defective: npt.ArrayLike
) -> ImageMix | None:
    """Return the mix whose scores tell best how likely an image is defective.

    A logistic regression whose weights are not negative: a witness that contradicts is not heard.
    They are held near equal ones, so that a few validation images cannot silence one of both.

    Args:
        witnesses: of N images the score of the map in [0, 1] and the logit of the whole.
        defective: (N,) bool, the truth.

    Returns:
        The mix, or ``None`` where one kind of image is missing.
    """
    truth = np.asarray(defective, np.float64)
    if not 0 < truth.sum() < len(truth):
        return None
    known = np.array([(logit(of_map), whole, 1.0) for of_map, whole in witnesses])  # (N, 3)
    start = ImageMix()
    prior = np.array([start.map_weight, start.image_weight, start.bias])

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        logits = known @ weights
        losses = np.logaddexp(0.0, logits) - truth * logits
        away = weights - prior
        gradient = known.T @ (expit(logits) - truth) + STRENGTH * away
        return float(losses.sum() + STRENGTH / 2 * away @ away), gradient

    bounds = [(0.0, None), (0.0, None), (None, None)]
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x
    if not found[:2].any():
        return start
    return ImageMix(map_weight=float(found[0]), image_weight=float(found[1]), bias=float(found[2]))


def choose_novelty_threshold(
    novelties: Sequence[float | None], defective: npt.ArrayLike
) -> float | None:
    """Return the score of novelty from which a place is novel that a trained approach overlooks.

    The most novel places of good images say it alone. What is labeled says little: that is what the
    trained approach has learned, and others are looked for.

    Args:
        novelties: of N images the score in [0, 1] of the most novel place, or None where novelty is
            not joined to a trained approach.
        defective: (N,) bool, the truth.

    Returns:
        The threshold in [0, 1], or ``None`` where there is no good image to know it from.
    """
    truth = np.asarray(defective, np.bool_)
    pairs = zip(novelties, truth, strict=True)
    of_good = [novelty for novelty, bad in pairs if novelty is not None and not bad]
    if not of_good:
        return None
    usual = float(np.quantile(of_good, 1.0 - NOVEL_GOOD_IMAGES, method="higher"))
    return max(usual, LEAST_NOVELTY)
