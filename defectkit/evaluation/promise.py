"""How many escapes on validation still show that an escape rate is kept on new images.

Of n defective units, the number that escape at a fixed threshold has a binomial distribution. If
its rate were above R, k escapes or fewer would occur with a probability of at most
``BinomCDF(k; n, R)``; where that is no more than 1 - C, the rate R is shown with confidence C
(Clopper and Pearson, 1934). Escapes grow with the threshold, so the largest threshold that passes
may be taken without a correction (Angelopoulos et al., "Learn then test", 2021).
"""

import math
from typing import Literal

from scipy.special import bdtr, bdtrc

DEFAULT_CONFIDENCE = 0.95

ErrorKind = Literal["escape", "overkill"]


def allowed_escapes(n: int, rate: float, confidence: float = DEFAULT_CONFIDENCE) -> int | None:
    """Return the largest number of escapes of n that shows a rate, or None if no number does.

    Args:
        n: number of defective units: groups of images, or images.
        rate: the escape rate in [0, 1).
        confidence: the probability with which the promise holds, in (0, 1).
    """
    if not shows_rate(0, n, rate, confidence):
        return None
    low, high = 0, n  # ``low`` shows it, ``high`` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if shows_rate(middle, n, rate, confidence) else (low, middle)
    return low


def shows_rate(escapes: int, n: int, rate: float, confidence: float = DEFAULT_CONFIDENCE) -> bool:
    """Return whether so many escapes of n show that the rate is at most ``rate``."""
    # Without rounding errors 0.05 of 0.05 would pass.
    return n > 0 and bool(bdtr(escapes, n, rate) <= 1.0 - confidence + 1e-12)


def contradicts_rate(
    escapes: int, n: int, rate: float, confidence: float = DEFAULT_CONFIDENCE
) -> bool:
    """Return whether so many escapes of n show that the rate is above ``rate``."""
    return escapes > 0 and bool(bdtrc(escapes - 1, n, rate) <= 1.0 - confidence + 1e-12)


def least_rate(n: int, confidence: float = DEFAULT_CONFIDENCE) -> float:
    """Return the least escape rate in (0, 1] that n defective units show if none escapes."""
    return 1.0 - (1.0 - confidence) ** (1.0 / n) if n else 1.0


def needed_units(rate: float, confidence: float = DEFAULT_CONFIDENCE) -> int | None:
    """Return the least number of defective units that shows a rate if none escapes, if any does."""
    if rate <= 0.0:
        return None
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate) - 1e-9)
