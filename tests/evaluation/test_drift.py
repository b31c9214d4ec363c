import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, wasserstein_distance

from defectkit.evaluation.drift import (
    MAX_LEVELS,
    MEASURES,
    Levels,
    compare_levels,
    describe_drift,
    measure_image,
    warn_of_drift,
)
from defectkit.labels.scope import EVERYWHERE, Scope


def levels(brightness, *, defective=None, groups=None, score=0.1, contrast=20.0):
    count = len(brightness)
    return Levels(
        score=np.broadcast_to(np.asarray(score, np.float64), count),
        brightness=np.asarray(brightness, np.float64),
        contrast=np.broadcast_to(np.asarray(contrast, np.float64), count),
        defective=np.zeros(count, bool) if defective is None else np.asarray(defective),
        groups=[str(number) for number in range(count)] if groups is None else groups,
    )


def draw_lot(rng, groups, *, largest=1, shift=0.0, gain=1.0, logit=0.0, defects=0.3):
    """A lot whose images are alike within groups of up to ``largest`` images."""
    group = np.repeat(np.arange(groups), rng.integers(1, largest + 1, groups))

    def vary(size):
        common, own = rng.normal(0, 1, groups)[group], rng.normal(0, 1, len(group))
        return size * (0.8 * common + 0.6 * own)

    defective = (rng.random(groups) < defects)[group]
    return Levels(
        score=1 / (1 + np.exp(3 - 5 * defective - logit - vary(1.5))),
        brightness=120 + shift + vary(12.0),
        contrast=gain * (25 + vary(4.0)),
        defective=defective,
        groups=[str(one) for one in group],
    )


NUMBERS = st.lists(st.floats(0, 255).map(lambda one: round(one, 2)), min_size=2, max_size=60)


@given(NUMBERS, NUMBERS)
def test_the_distances_are_those_of_scipy(here, there):
    found = compare_levels(levels(here), levels(there).summarize())["brightness of good images"]
    statistic = ks_2samp(here, there, method="asymp").statistic
    assert found["distance"] == pytest.approx(statistic, abs=1e-9)
    assert found["difference"] == pytest.approx(wasserstein_distance(here, there), abs=1e-3)
    assert (found["groups"], found["validation_groups"]) == (len(here), len(there))


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 6))
def test_the_p_value_is_close_to_the_exact_one_where_it_decides(count, other, shift):
    rng = np.random.default_rng([count, other])
    here, there = rng.normal(100, 1, count), rng.normal(100 + shift, 1, other)
    found = compare_levels(levels(here), levels(there).summarize())["brightness of good images"]
    exact = ks_2samp(here, there, method="exact").pvalue
    if exact >= 0.003:  # the least that a comparison must reach for a warning, of three
        assert found["p_value"] >= 0.25 * exact - 1e-12


def test_images_of_a_group_count_by_how_much_they_are_alike():
    rng = np.random.default_rng(8)
    groups = [str(number) for number in range(60) for _ in range(4)]
    common, own = np.repeat(rng.normal(100, 9, 60), 4), rng.normal(100, 9, 240)
    for values, least, most in (
        (common, 60, 60),
        (own, 200, 240),
        (0.7 * common + 0.7 * own, 75, 130),
    ):
        kept = levels(values, groups=groups).summarize()["good"]
        assert (kept["images"], kept["groups"]) == (240, 60)
        assert least <= round(kept["independent"]["brightness"], 6) <= most
    assert levels(own[:4], groups=["a"] * 4).summarize()["good"]["independent"]["brightness"] == 1.0


@given(NUMBERS, st.integers(2, 5))
def test_further_images_of_a_group_that_are_the_same_change_nothing(values, times):
    kept = levels([100.0, 120.0, 90.0]).summarize()
    groups = [str(number) for number in range(len(values))]
    one = compare_levels(levels(values), kept)
    several = compare_levels(levels(values * times, groups=groups * times), kept)
    for name, found in one.items():
        assert several[name] == pytest.approx(found, abs=1e-9)
    assert levels([100.0, 120.0, 90.0] * times, groups=["a", "b", "c"] * times).summarize()[
        "good"
    ] == {**kept["good"], "images": 3 * times} | {
        name: sorted(kept["good"][name] * times) for name in MEASURES
    }


def test_a_model_keeps_little_of_many_images():
    kept = draw_lot(np.random.default_rng(0), 5000, largest=3).summarize()
    assert set(kept) == {"good", "defective"}
    for one in kept.values():
        assert all(len(one[name]) == MAX_LEVELS == len(set(one[name])) for name in MEASURES)
        assert all(one[name] == sorted(one[name]) for name in MEASURES)
    assert len(json.dumps(kept)) < 20_000


@pytest.mark.parametrize(
    ("sizes", "largest"), [((40, 30), 1), ((60, 40), 6), ((15, 12), 6), ((400, 300), 1)]
)
def test_lots_of_one_kind_are_hardly_ever_warned_of(sizes, largest):
    rng, tries = np.random.default_rng(3), 200
    warned = 0
    for _ in range(tries):
        here, there = (draw_lot(rng, count, largest=largest) for count in sizes)
        warned += bool(warn_of_drift(compare_levels(here, there.summarize())))
    assert warned <= 6, "of 200 with a probability of 1 %, more than 6 are rarer than 1 in 200"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"shift": 20.0}, "brightness of good images"),
        ({"shift": -20.0}, "brightness of good images"),
        ({"gain": 0.75}, "contrast of good images"),
        ({"logit": 2.0}, "score of good images"),
    ],
)
def test_a_changed_lot_is_warned_of_with_its_numbers(changed, named):
    rng = np.random.default_rng(5)
    for _ in range(20):
        kept = draw_lot(rng, 120, largest=3).summarize()
        drift = compare_levels(draw_lot(rng, 100, largest=3, **changed), kept)
        (told,) = warn_of_drift(drift)
        assert named in told
        found = drift[named]
        assert f"{found['groups']} and {found['validation_groups']} groups" in told
        assert f"distance {found['distance']:.2f}" in told


def test_a_lot_with_more_defects_has_not_drifted():
    rng = np.random.default_rng(6)
    kept = draw_lot(rng, 300, defects=0.1).summarize()
    assert warn_of_drift(compare_levels(draw_lot(rng, 300, defects=0.8), kept)) == []


def test_what_is_sure_but_small_is_told_and_not_warned_of():
    rng = np.random.default_rng(7)
    kept = levels(rng.normal(100, 0.5, 500)).summarize()
    drift = compare_levels(levels(rng.normal(103, 0.5, 500)), kept)
    found = drift["brightness of good images"]
    assert found["p_value"] < 1e-6
    assert found["distance"] > 0.9
    assert found["difference"] == pytest.approx(3.0, abs=0.1)
    assert not found["is_large"]
    assert warn_of_drift(drift) == []
    told = describe_drift(drift)
    assert told == (
        "medians here and (in validation): score of good images 0.1 (0.1), brightness of good "
        "images 103 (100), contrast of good images 20 (20)"
    )


def test_a_few_groups_show_nothing_however_far_they_are():
    kept = levels([100.0, 101.0, 102.0]).summarize()
    drift = compare_levels(levels([200.0, 201.0, 202.0]), kept)
    assert drift["brightness of good images"]["p_value"] == pytest.approx(2 / 20)
    assert warn_of_drift(drift) == []


def test_only_kinds_that_both_have_are_compared():
    kept = levels([100.0, 101.0]).summarize()
    assert compare_levels(levels([100.0], defective=[True]), kept) == {}
    assert describe_drift({}) == ""
    two = levels([100.0, 101.0], defective=[True, False])
    assert list(compare_levels(two, kept, ["contrast"])) == ["contrast of good images"]


def test_gray_levels_are_those_of_the_pixels_that_count():
    image = np.zeros((600, 1200, 1), np.uint8)
    image[:, 600:] = 200
    assert measure_image(image, EVERYWHERE) == (pytest.approx(100.0), pytest.approx(100.0))
    right = np.zeros((600, 1200), bool)
    right[:, 600:] = True
    assert measure_image(image, Scope(roi=right)) == (200.0, 0.0)
    assert measure_image(image, Scope(ignored=right)) == (0.0, 0.0)
    assert measure_image(image, Scope(roi=np.zeros((600, 1200), bool))) == (100.0, 100.0)
    color = np.repeat(image, 3, axis=2)
    assert measure_image(color, EVERYWHERE) == measure_image(image, EVERYWHERE)
