"""Sums of floating-point numbers that depend on no order and no partition, to the last digit.

A sum is a whole number of units of 2^-83, in two arrays of int64: ``high`` counts 2^-30, ``low``,
in [0, 2^53), counts the rest. Whole numbers are added without rounding, so that the sums of parts
make the same sum as the whole. What is added is a multiple of the unit: a float64 of 2^-30 or more
is, and 1 / pixels is larger for any image that defectkit reads.
"""

import numpy as np

from defectkit.arrays import Float64Array, IndexArray, Int64Array

HIGH_BITS = 30
LOW_BITS = 53


def add_exactly(
    high: Int64Array, low: Int64Array, places: IndexArray, values: Float64Array
) -> None:
    """Add values to the sums at places, in place.

    Args:
        high: (N,), of the sums.
        low: (N,), of the sums.
        places: (M,), all different.
        values: (M,), each 0 or in [2^-30, 2^30].

    Raises:
        ValueError: a value is not.
    """
    if not np.all((values == 0.0) | ((values >= 2.0**-HIGH_BITS) & (values <= 2.0**HIGH_BITS))):
        raise ValueError("values must be 0 or in [2^-30, 2^30]")
    scaled = np.ldexp(values, HIGH_BITS)
    whole = np.floor(scaled)
    high[places] += whole.astype(np.int64)
    low[places] += np.ldexp(scaled - whole, LOW_BITS).astype(np.int64)
    _carry(high, low, places)


def merge_exactly(
    high: Int64Array, low: Int64Array, other_high: Int64Array, other_low: Int64Array
) -> None:
    """Add other sums to the sums (N,), in place."""
    high += other_high
    low += other_low
    _carry(high, low, np.flatnonzero(other_low))


def totals(high: Int64Array, low: Int64Array) -> Float64Array:
    """Return the sums (N,) as numbers."""
    return np.asarray(np.ldexp(high.astype(np.float64), -HIGH_BITS)
                      + np.ldexp(low.astype(np.float64), -HIGH_BITS - LOW_BITS))  # fmt: skip


def _carry(high: Int64Array, low: Int64Array, places: IndexArray) -> None:
    high[places] += low[places] >> LOW_BITS
    low[places] &= (1 << LOW_BITS) - 1
