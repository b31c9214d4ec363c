"""Whether promised escape rates hold, and how good the other thresholds are, on simulated lots.

    python benchmarks/operating_point.py

A lot is a validation split: n defective images and four times as many good ones, each the only one
of its group, whose logits are normal, so that the true escape rate of every threshold is known. For
each n and rate 1,000 lots choose their thresholds. The table tells in which share of the lots the
promise is shown, in which share of these it holds (at least the confidence, 95 %, is promised), and
the mean escape rate and overkill rate of the thresholds. The rule that was used before, the largest
threshold at which at most that rate of the lot's own images escapes, stands beside it. Then: the F1
score and the cost of the thresholds that are chosen by these, beside the best possible ones; those
of the thresholds that are best for the lot's own images, which were chosen before; and those that
could be reached if only the means and spreads were unknown: so much depends on a lot's images.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.threshold_rule import ThresholdRule

DISTANCE = 3.0
"""How many standard deviations the mean logits of good and defective images lie apart."""
CUTS = np.linspace(-8.0, 11.0, 20001)


def main() -> None:
    """Simulate and print; end with status 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lots", type=int, default=1000)
    lots = parser.parse_args().lots
    held = True
    print("| n | rate | shown | holds where shown | escapes | overkills | before: holds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n in (20, 59, 100, 300):
        for rate in (0.10, 0.05, 0.01):
            held &= promise(n, rate, lots)
    print("\n| n | prevalence | rule | best possible | reached | before | shape known |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n in (20, 59, 100, 300):
        for prevalence in (None, 0.01):
            share = 0.2 if prevalence is None else prevalence
            tell_f1(n, prevalence, share, lots)
            tell_cost(n, prevalence, share, lots)
    raise SystemExit(not held)


def promise(n: int, rate: float, lots: int) -> bool:
    """Print a row; return whether the promise holds often enough, within the chance of so many."""
    rule = ThresholdRule(max_escape_rate=rate)
    shown, cuts, before = [], [], []
    for seed in range(lots):
        scores, defective = draw(n, seed)
        thresholds, _ = choose_thresholds(scores, defective, rule)
        shown.append("not shown" not in thresholds.rule)
        cuts.append(logit(thresholds.low))
        before.append(logit(np.sort(scores[defective])[int(rate * n + 1e-9)]))
    escapes, good = norm.cdf(np.array(cuts) - DISTANCE), norm.sf(cuts)
    chosen = np.array(shown)
    holds = np.mean(escapes[chosen] <= rate) if chosen.any() else None
    held = "-" if holds is None else f"{holds:.1%}"
    earlier = np.mean(norm.cdf(np.array(before) - DISTANCE) <= rate)
    print(
        f"| {n} | {rate:.0%} | {chosen.mean():.0%} | {held} | {escapes.mean():.1%} "
        f"| {good.mean():.1%} | {earlier:.1%} |"
    )
    return holds is None or bool(holds >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / lots))


def tell_f1(n: int, prevalence: float | None, share: float, lots: int) -> None:
    """Print the mean F1 score at a line with a share of defective images."""

    def f1(cut: np.ndarray) -> np.ndarray:
        hits, overkills = share * norm.sf(cut - DISTANCE), (1 - share) * norm.sf(cut)
        return 2 * hits / (hits + overkills + share)

    row(n, prevalence, ThresholdRule(prevalence=prevalence), share, f1, lots)


def tell_cost(n: int, prevalence: float | None, share: float, lots: int) -> None:
    """Print the mean cost of an image, of which an escape costs 50 overkills."""

    def cost(cut: np.ndarray) -> np.ndarray:
        return 50 * share * norm.cdf(cut - DISTANCE) + (1 - share) * norm.sf(cut)

    rule = ThresholdRule(cost_ratio=50.0, prevalence=prevalence)
    row(n, prevalence, rule, share, lambda cut: -cost(cut), lots)


def row(
    n: int,
    prevalence: float | None,
    rule: ThresholdRule,
    share: float,
    worth: Callable[[np.ndarray], np.ndarray],
    lots: int,
) -> None:
    """Print a row of the second table: what thresholds are worth on average."""
    best = worth(CUTS).max()
    chosen, before, known = [], [], []
    for seed in range(lots):
        scores, defective = draw(n, seed)
        chosen.append(logit(choose_thresholds(scores, defective, rule)[0].low))
        before.append(best_for_the_lot(logit(scores), defective, rule, share))
        known.append(best_for_the_shape(logit(scores), defective, rule, share))
    values = [worth(np.array(cuts)).mean() for cuts in (chosen, before, known)]
    where = "of the lot" if prevalence is None else f"{prevalence:.0%}"
    told = [f"{abs(value):.3f} ({abs(value / best - 1):.1%} worse)" for value in values]
    print(f"| {n} | {where} | {rule.describe()} | {abs(best):.3f} | {' | '.join(told)} |")


def best_for_the_lot(
    logits: np.ndarray, defective: np.ndarray, rule: ThresholdRule, share: float
) -> float:
    """Return the logit of the threshold that is best for the lot's own images."""
    ascending = np.sort(logits)
    cuts = np.concatenate([[-np.inf], (ascending[1:] + ascending[:-1]) / 2, [np.inf]])
    escaped = np.searchsorted(np.sort(logits[defective]), cuts) / defective.sum()
    passed = np.searchsorted(np.sort(logits[~defective]), cuts) / np.sum(~defective)
    return best_cut(cuts, escaped, 1 - passed, rule, share)


def best_for_the_shape(
    logits: np.ndarray, defective: np.ndarray, rule: ThresholdRule, share: float
) -> float:
    """Return the logit that is best if both kinds are normal, with the lot's means and spreads."""
    cuts = CUTS[::10]
    bad, good = (
        norm(kind.mean(), kind.std(ddof=1)) for kind in (logits[defective], logits[~defective])
    )
    return best_cut(cuts, bad.cdf(cuts), good.sf(cuts), rule, share)


def best_cut(
    cuts: np.ndarray, escaped: np.ndarray, overkilled: np.ndarray, rule: ThresholdRule, share: float
) -> float:
    """Return the cut with the least cost or the best F1, from the shares of both errors at each."""
    escapes, overkills = share * escaped, (1 - share) * overkilled
    if rule.cost_ratio is not None:
        return float(cuts[np.argmin(rule.cost_ratio * escapes + overkills)])
    hits = share - escapes
    return float(cuts[np.argmax(2 * hits / (hits + overkills + share))])


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of a lot, and which of its images are defective."""
    random = np.random.default_rng(seed)
    defective = np.arange(5 * n) < n
    return expit(random.normal(DISTANCE * defective)), defective


if __name__ == "__main__":
    main()
