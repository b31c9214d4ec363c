"""How the witnesses of an image's defect score are weighed, fitted on validation."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from defectkit.approaches.image_mix import ImageMix, logit
from defectkit.arrays import BoolArray, Float64Array

STRENGTH = 4.0
"""How strongly the weights are held near those of ``ImageMix()``, in images of doubt."""

NOVEL_GOOD_IMAGES = 0.05
"""Fraction of the good validation images that may have a novel place."""
MIN_NOVELTY = 0.5
"""The lowest novelty threshold, the score that one good place in a thousand exceeds: a few good
images, none of them conspicuous, do not make all others so."""


def fit_image_mix(
    witnesses: Sequence[tuple[float, float | None]], defective: npt.ArrayLike
) -> ImageMix:
    """Return the mix whose scores tell best how likely an image is defective.

    Logistic regressions: one with the map alone, of all images, and one with both witnesses, of the
    images that have both. Weights are not negative: a witness that contradicts is not heard. They
    are held near those of ``ImageMix()``, so that a few validation images cannot silence one of
    both; and they are these where one kind of image is missing.

    Args:
        witnesses: of N images the score of the map in [0, 1] and the logit of the whole, or None
            where the map is the only witness.
        defective: (N,) bool, the truth.
    """
    truth, start = np.asarray(defective, np.bool_), ImageMix()
    of_map = np.array([logit(score) for score, _ in witnesses])
    of_whole = np.array([np.nan if whole is None else whole for _, whole in witnesses])
    has_both = ~np.isnan(of_whole)
    map_weight, image_weight, bias = _fit_logistic(
        np.column_stack([of_map, of_whole])[has_both],
        truth[has_both],
        prior=(start.map_weight, start.image_weight, start.bias),
    )
    alone_weight, alone_bias = _fit_logistic(
        of_map[:, None], truth, prior=(start.alone_weight, start.alone_bias)
    )
    return ImageMix(
        map_weight=map_weight,
        image_weight=image_weight,
        bias=bias,
        alone_weight=alone_weight,
        alone_bias=alone_bias,
    )


def _fit_logistic(
    logits: Float64Array, truth: BoolArray, *, prior: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the weights of W witnesses, of at least 0, and the bias.

    Args:
        logits: (N, W) of the witnesses.
        truth: (N,) bool.
        prior: W weights and the bias that are returned where there is nothing to learn, and that
            all others are held near.
    """
    if not 0 < truth.sum() < len(truth):
        return prior
    known = np.column_stack([logits, np.ones(len(logits))])

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        mixed = known @ weights
        losses = np.logaddexp(0.0, mixed) - truth * mixed
        away = weights - prior
        gradient = known.T @ (expit(mixed) - truth) + STRENGTH * away
        return float(losses.sum() + STRENGTH / 2 * away @ away), gradient

    bounds = [(0.0, None)] * logits.shape[1] + [(None, None)]
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x
    return tuple(found.tolist()) if found[:-1].any() else prior


def choose_novelty_threshold(novelties: Sequence[float], defective: npt.ArrayLike) -> float | None:
    """Return the score of novelty from which a place is novel that a trained approach overlooks.

    The most novel places of good images say it alone. What is labeled says little: that is what the
    trained approach has learned, and others are looked for.

    Args:
        novelties: of N images the score in [0, 1] of the most novel place.
        defective: (N,) bool, the truth.

    Returns:
        The threshold in [0, 1], or ``None`` where there is no good image to know it from.
    """
    of_good = np.asarray(novelties, np.float64)[~np.asarray(defective, np.bool_)]
    if not of_good.size:
        return None
    usual = float(np.quantile(of_good, 1.0 - NOVEL_GOOD_IMAGES, method="higher"))
    return max(usual, MIN_NOVELTY)
