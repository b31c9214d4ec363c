"""What R-CNN learns after its network: a support vector machine and a box regressor per class.

scikit-learn fits them. They are linear, so weights and biases are all that is kept, and prediction
needs no scikit-learn. Features are standardized for the fit; the result includes that.

Shapes: N regions, D features.
"""

from typing import Any, cast

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from defectkit.arrays import BoolArray, Float32Array

C = 1e-3
"""Cost of a region on the wrong side, as in the paper."""
ALPHA = 1000.0
"""Penalty on the weights of the box regressor, as in the paper."""


def fit_svm(features: Float32Array, positive: BoolArray) -> Float32Array:
    """Return weight and bias, (D + 1,), whose sigmoid is the probability of being positive.

    ``features`` (N, D), ``positive`` (N,) with both values. The margin of a linear support vector
    machine goes through a logistic regression (Platt 1999); both are linear, so they combine.
    """
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    machine = LinearSVC(C=C, class_weight="balanced", dual=False).fit(scaled, positive)
    margins = machine.decision_function(scaled)[:, None]
    platt = LogisticRegression().fit(margins, positive)
    slope, shift = platt.coef_[0, 0], platt.intercept_[0]
    (result,) = _unstandardize(scaler, slope * machine.coef_, slope * machine.intercept_ + shift)
    return cast(Float32Array, result)


def fit_boxes(features: Float32Array, deltas: Float32Array) -> Float32Array:
    """Return weights and biases, (4, D + 1), that give ``deltas`` (N, 4) from ``features`` (N, D).

    Least squares with a penalty on the weights (ridge regression), for N > 0.
    """
    scaler = StandardScaler().fit(features)
    ridge = Ridge(alpha=ALPHA).fit(scaler.transform(features), deltas)
    return _unstandardize(scaler, ridge.coef_, ridge.intercept_)


def _unstandardize(scaler: StandardScaler, weights: Any, biases: Any) -> Float32Array:
    """Weights (M, D), biases (M,) for standardized features -> (M, D + 1) for plain features."""
    weights = weights / scaler.scale_
    return np.column_stack([weights, biases - weights @ scaler.mean_]).astype(np.float32)
