"""Verdicts: ``score < low`` is good, ``score >= high`` is defective, between them is review.

An *escape* is a defective image called good, an *overkill* a good image called defective.
"""

from defectkit.evaluation.operating_points import Thresholds
from defectkit.vocabulary import Outcome, Verdict


def verdict(score: float, thresholds: Thresholds) -> Verdict:
    """Return the verdict on an image score in [0, 1]."""
    if score < thresholds.low:
        return "good"
    return "defective" if score >= thresholds.high else "review"


def outcome(verdict: Verdict, defective: bool) -> Outcome:
    """Return what a verdict means for an image whose truth is known."""
    if verdict == "review":
        return "review"
    if verdict == "defective":
        return "hit" if defective else "overkill"
    return "escape" if defective else "pass"
