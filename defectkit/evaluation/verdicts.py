"""Verdicts: ``score < low`` is good, ``score >= high`` is defective, between them is review.

An *escape* is a defective image called good, an *overkill* a good image called defective.
"""

from dataclasses import dataclass
from typing import TypeVar

from defectkit.evaluation.thresholds import Thresholds
from defectkit.findings import Finding, SparseFinding
from defectkit.vocabulary import Outcome, Verdict

Told = TypeVar("Told", Finding, SparseFinding, Finding | SparseFinding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """The verdict on one image, with the score in [0, 1] and the thresholds that it rests on.

    ``outcome`` compares the verdict with the truth, where that is known.
    """

    verdict: Verdict
    score: float
    thresholds: Thresholds
    outcome: Outcome | None = None


def judge(score: float, thresholds: Thresholds, *, defective: bool | None = None) -> Judgment:
    """Return the judgment of an image by its score; ``defective`` is the truth, where known."""
    decision = verdict(score, thresholds)
    return Judgment(
        verdict=decision,
        score=score,
        thresholds=thresholds,
        outcome=None if defective is None else outcome(decision, defective),
    )


def list_regions(finding: Told, judgment: Judgment, *, all_regions: bool = False) -> Told:
    """Return the finding of an image as it is told to the user: regions only if it is not good.

    A good image keeps its scores and detections, but has no regions, unless ``all_regions``.
    """
    if all_regions or judgment.verdict != "good":
        return finding
    return finding.without_regions()


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
