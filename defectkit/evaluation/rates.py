"""Rates with their counts and their uncertainty."""

from typing_extensions import TypedDict

CONFIDENCE = 0.95


class Interval(TypedDict):
    """A rate and its confidence interval, all in [0, 1]; ``value`` is ``None`` without trials."""

    value: float | None
    low: float
    high: float


class CountedRate(Interval):
    """A rate with its interval and its counts: ``count`` of ``total``."""

    count: int
    total: int


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the rate ``successes / trials`` with its exact two-sided confidence interval.

    Clopper and Pearson, Biometrika 26 (1934). Without trials nothing is known: ``value`` is
    ``None`` and the interval is [0, 1].

    The ends are quantiles of the beta distribution. ``scipy.stats.binomtest`` searches for the same
    ones by bisection: to fewer digits, and in a thousand times the time.

    Raises:
        ValueError: ``successes`` is not in 0..``trials`` or ``confidence`` not in (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be in 0..{trials} but got {successes}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1) but got {confidence}")
    from scipy.special import betaincinv  # slow to import, and of no use to inspection

    tail = (1.0 - confidence) / 2.0
    failures = trials - successes
    return Interval(
        value=successes / trials if trials else None,
        low=float(betaincinv(successes, failures + 1, tail)) if successes else 0.0,
        high=float(betaincinv(successes + 1, failures, 1.0 - tail)) if failures else 1.0,
    )


def counted_rate(count: int, total: int) -> CountedRate:
    """Return the rate ``count / total`` with its 95 % Clopper-Pearson interval."""
    return CountedRate(count=count, total=total, **clopper_pearson(count, total))


def describe_rate(name: str, count: int, total: int) -> str:
    """Return a rate as text, with its counts and its interval.

    >>> describe_rate("escapes", 2, 57)
    'escapes 2 of 57 (3.5 %, 95 % CI 0.4-12.1 %)'
    >>> describe_rate("escapes", 0, 0)
    'escapes 0 of 0 (no rate)'
    """
    rate = clopper_pearson(count, total)
    if rate["value"] is None:
        return f"{name} {count} of {total} (no rate)"
    value, low, high = (100 * share for share in (rate["value"], rate["low"], rate["high"]))
    return f"{name} {count} of {total} ({value:.1f} %, 95 % CI {low:.1f}-{high:.1f} %)"
