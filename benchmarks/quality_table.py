"""The Markdown tables of ``benchmarks/quality.py``, made from the results alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from quality_scores import METRICS, Metric, MetricFunction, Scores

from defectkit.arrays import Float64Array, Int64Array
from defectkit.evaluation.bootstrap import draw_resamples, percentile_interval
from defectkit.evaluation.comparison import count_groups
from defectkit.evaluation.estimates import holm, two_sided_p
from defectkit.evaluation.rates import clopper_pearson
from defectkit.evaluation.region_matching import AREA_EDGES

RESAMPLES = 5000
"""Enough for 50 differences: the least p-value, 2 in 5001, stays below 5 % when corrected."""
SIGNIFICANT = 0.05

BySeed = Mapping[int, Scores]
"""The results of a competitor."""

EXPLANATION = """\
A value is the mean over the seeds ± its standard deviation, and below it that of each seed; where
it is not defined for all seeds, it says for how many. A seed is a split of its own, unless the
source gives one, and a training of its own. Thresholds were chosen on validation: that of the
verdict by the best F1, that of the pixels for all competitors as defectkit chooses it. Regions are
those in images that are not called good. *Error ratio*: the errors (1 - value; of false alarms the
value itself) of the one divided by those of the other.
*Difference*: above 0 where the one is better, with its 95 % interval, from a bootstrap that draws
groups of images, the same for both and in all seeds. **▲** ahead, **▼** behind: by more than chance
(5 %), after Holm's correction for all differences of the table.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference of two competitors in a metric, above 0 where the first is better."""

    metric: Metric
    other: str
    ratio: float
    value: float
    interval: tuple[float, float] | None
    p_value: float


def section(title: str, results: Mapping[str, BySeed], peers: Sequence[str]) -> str:
    """Return the tables of a dataset.

    Args:
        title: the heading.
        results: the results by competitor and seed.
        peers: the names of those that are only compared with, if they are there.
    """
    ours = [name for name in results if name not in peers]
    parts = [f"## {title}\n", _describe(results), _values(results)]
    for name in ours:
        if others := [other for other in results if other != name]:
            parts += [f"### {name} beside the others\n", _comparison(results, name, others)]
    parts += ["### Regions found\n", _regions(results), "### Competitors\n", _facts(results)]
    return "\n".join(parts)


def compare(one: BySeed, other: BySeed, metric: Metric, name: str) -> Difference | None:
    """Return the difference of ``one`` to ``other`` over their common seeds; None if undefined.

    Each resample draws groups of images; a group that several seeds tested is drawn for all.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    for seed in seeds:
        _check_same_images(one[seed], other[seed])
    means = [
        np.mean([metric.function(by_seed[seed], _once(by_seed[seed]))[0] for seed in seeds])
        for by_seed in (one, other)
    ]
    if np.isnan(means).any():
        return None
    groups = tuple(sorted({group for seed in seeds for group in one[seed].groups}))
    sign = 1 if metric.error else -1
    gaps = [
        _resampled(one[seed], metric, groups) - _resampled(other[seed], metric, groups)
        for seed in seeds
    ]
    resampled = sign * np.mean(gaps, axis=0)
    p_value = two_sided_p(resampled)
    if p_value is None:
        return None
    errors = [1 - mean if metric.error else mean for mean in means]
    return Difference(
        metric=metric,
        other=name,
        ratio=float(errors[0] / errors[1]) if errors[1] > 0 else np.nan,
        value=float(sign * (means[0] - means[1])),
        interval=percentile_interval(resampled),
        p_value=max(p_value, 2.0 ** (1 - _count_groups([one[seed] for seed in seeds], metric))),
    )


def _count_groups(results: Sequence[Scores], metric: Metric) -> int:
    """Return the number of groups that a metric rests on: it limits the p-value, as in compare."""
    groups = np.unique([name for one in results for name in one.groups], return_inverse=True)[1]
    return count_groups(metric.like, groups, np.concatenate([one.defective for one in results]))


@cache
def _draw(groups: tuple[str, ...]) -> Int64Array:
    """Return how often each group is drawn in each resample, (R, G)."""
    return draw_resamples(np.arange(len(groups)), RESAMPLES, key=(0,))


@cache
def _resampled(scores: Scores, metric: Metric, groups: tuple[str, ...]) -> Float64Array:
    """Return the metric of each resample of the groups, (R,)."""
    place = {group: index for index, group in enumerate(groups)}
    return metric.function(scores, _draw(groups)[:, [place[group] for group in scores.groups]])


def _once(scores: Scores) -> Any:
    return np.ones((1, len(scores.groups)), np.int64)


def _check_same_images(one: Scores, other: Scores) -> None:
    ids = [[image["image_id"] for image in scores.content["images"]] for scores in (one, other)]
    if ids[0] != ids[1]:
        raise ValueError("two results of one seed are of different images: remove the older ones")


def _describe(results: Mapping[str, BySeed]) -> str:
    scores = {seed: one for by_seed in results.values() for seed, one in by_seed.items()}
    first = next(iter(scores.values())).content
    counts = "; ".join(
        f"seed {seed}: {int(one.defective.sum())} defective and {int((~one.defective).sum())} good "
        f"images in {len(set(one.groups))} groups"
        for seed, one in sorted(scores.items())
    )
    return (
        f"{first['max_time']} of training each on {first['processors']} of the {first['machine']}. "
        f"Test images: {counts}.\n"
    )


def _values(results: Mapping[str, BySeed]) -> str:
    rows = []
    for metric in METRICS:
        cells = [_metric_cell(by_seed, metric.function) for by_seed in results.values()]
        rows.append([metric.name, *cells])
        if metric.name == "Images: AUROC":
            rows.append(["Images: escapes, overkills", *map(_wrong_verdicts, results.values())])
        if metric.name == "Pixels: average precision":
            rows.append(["… as `evaluate` counts it", *map(_pixel_ap, results.values())])
        if metric.name == "Pixels: mean IoU of the classes":
            rows += _class_rows(results)
    for name, function in (
        ("… whatever the verdict", Scores.all_false_alarms),
        ("Regions: good images with false alarms", Scores.with_false_alarms),
        ("Regions: false alarms an image", Scores.false_alarms_per_image),
    ):
        rows.append([name, *(_metric_cell(by_seed, function) for by_seed in results.values())])
    return _table(["", *results], rows)


def _class_rows(results: Mapping[str, BySeed]) -> Iterator[list[str]]:
    classes = next(iter(next(iter(results.values())).values())).content["classes"]
    for index, name in enumerate(classes):
        values = (
            [one.iou_by_class(_once(one))[0, index] for one in by_seed.values()]
            for by_seed in results.values()
        )
        yield [f"… class {name}", *map(_mean, values)]


def _metric_cell(by_seed: BySeed, function: MetricFunction) -> str:
    values = [float(function(one, _once(one))[0]) for _, one in sorted(by_seed.items())]
    n_known = np.count_nonzero(~np.isnan(values))
    if len(values) == 1 or not n_known:
        return _mean(values)
    deviation = f"{np.nanstd(values, ddof=1):.3f}" if n_known > 1 else "-"
    single = " ".join("-" if np.isnan(value) else f"{value:.3f}" for value in values)
    return f"{_mean(values)} ± {deviation}<br>{single}"


def _pixel_ap(by_seed: BySeed) -> str:
    return _mean([one.content["pixel_ap"] for one in by_seed.values()])


def _wrong_verdicts(by_seed: BySeed) -> str:
    return "<br>".join(f"{one.escapes}, {one.overkills}" for _, one in sorted(by_seed.items()))


def _comparison(results: Mapping[str, BySeed], name: str, others: Sequence[str]) -> str:
    found = [
        compare(results[name], results[other], metric, other)
        for other in others
        for metric in METRICS
    ]
    known = [one for one in found if one is not None]
    corrected = holm([one.p_value for one in known])
    cells = {
        (one.metric.name, one.other): _difference_cell(one, p_value)
        for one, p_value in zip(known, corrected, strict=True)
    }
    rows = [
        [metric.name, *(cells.get((metric.name, other), "-") for other in others)]
        for metric in METRICS
    ]
    return _table(["Error ratio<br>Difference", *others], rows)


def _difference_cell(one: Difference, p_value: float) -> str:
    mark = ""
    if p_value < SIGNIFICANT:
        mark = " **▲**" if one.value > 0 else " **▼**"
    ratio = "-" if np.isnan(one.ratio) else f"{one.ratio:.2f}"
    low, high = one.interval or (np.nan, np.nan)
    return f"{ratio}{mark}<br>{one.value:+.3f} ({low:+.3f} to {high:+.3f})"


def _regions(results: Mapping[str, BySeed]) -> str:
    regions = {
        name: [region for one in by_seed.values() for region in one.regions()]
        for name, by_seed in results.items()
    }
    rows = []
    for class_id in sorted({region[0] for own in regions.values() for region in own}):
        own = ([r for r in all_ if r[0] == class_id] for all_ in regions.values())
        rows.append([f"class {class_id}", *map(_recall, own)])
    for low, high in zip(AREA_EDGES, [*AREA_EDGES[1:], None], strict=True):
        name = f"{low}-{high - 1} pixels" if high else f"{low} pixels and more"
        own = (
            [r for r in all_ if low <= r[1] and (high is None or r[1] < high)]
            for all_ in regions.values()
        )
        rows.append([name, *map(_recall, own)])
    return _table(["All seeds together", *results], rows)


def _recall(regions: Sequence[tuple[str, int, bool]]) -> str:
    if not regions:
        return "-"
    found = sum(own for *_, own in regions)
    rate = clopper_pearson(found, len(regions))
    return (
        f"{found} of {len(regions)}<br>{100 * found / len(regions):.0f} % "
        f"({100 * rate['low']:.0f}-{100 * rate['high']:.0f})"
    )


def _facts(results: Mapping[str, BySeed]) -> str:
    rows = []
    for name, by_seed in results.items():
        contents = [one.content for _, one in sorted(by_seed.items())]
        rows.append(
            [
                name,
                *(
                    " ".join(dict.fromkeys(str(content[key]) for content in contents))
                    for key in ("commit", "date")
                ),
                " ".join(str(seed) for seed in sorted(by_seed)),
                " ".join(str(content["facts"]["epochs"]) for content in contents),
                " ".join(f"{content['facts']['ms_per_image']:.0f}" for content in contents),
            ]
        )
    return _table(["", "Commit", "Date", "Seeds", "Epochs", "ms per image"], rows)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None and not np.isnan(value)]
    if not known:
        return "-"
    missing = f" ({len(known)} of {len(values)} seeds)" if len(known) < len(values) else ""
    return f"{np.mean(known):.3f}{missing}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
