import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.evaluation import region_tuning
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.region_matching import match_regions, region_metrics
from defectkit.evaluation.region_tuning import FEW_REGIONS, LEVELS, MARGIN, MAX_LOSS, RegionTuning
from defectkit.labels.scope import Scope

SHAPE = (24, 80)


def scene(true=(), alarms=(), side=4):
    """A score map and its truth: squares with these scores, true ones above false alarms."""
    scores, truth = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), bool)
    for place, score in enumerate(true):
        window = slice(2, 2 + side), slice(6 * place, 6 * place + side)
        truth[0][window], scores[0][window] = True, score
    for place, score in enumerate(alarms):
        scores[0, 14 : 14 + side, 6 * place : 6 * place + side] = score
    return scores, LabeledTruth(truth, ("1",))


def choose(scenes, pixel_threshold=0.5, **options):
    tuning = RegionTuning(**options)
    for scores, truth in scenes:
        tuning.update(scores.max(axis=0), truth)
    return tuning.choose(Tuning(pixel_threshold=pixel_threshold))


def metrics(scenes, tuning):
    rows, defective = [], {}
    for name, (scores, truth) in enumerate(scenes):
        finding = make_finding(scores, ("1",), tuning=tuning)
        rows += match_regions(finding, truth, image_id=str(name))
        defective[str(name)] = bool(truth.present)
    return region_metrics(rows, defective)


def test_false_alarms_below_the_true_regions_are_left_out():
    scenes = [scene([0.9] * 10, [0.6]), scene([], [0.7, 0.65]), scene([0.85])]
    tuning, warnings = choose(scenes)
    assert warnings == []
    assert tuning.pixel_threshold == 0.5
    assert tuning.region_threshold == pytest.approx((0.7 + 0.85) / 2)
    assert tuning.min_area == 0
    result = metrics(scenes, tuning)
    assert (result["recall"]["value"], result["false_alarms_per_image"]) == (1.0, 0.0)


def test_where_there_are_few_false_alarms_nothing_is_left_out():
    """At most one in ten good images, and one in each defective image."""
    scenes = [scene([0.9] * 10, [0.6, 0.6]), scene([0.6]), *[scene()] * 9, scene([], [0.6])]
    assert choose(scenes)[0] == Tuning(pixel_threshold=0.5)
    for more in (scene([0.9] * 10, [0.55] * 2), scene([], [0.55])):
        tuning, _ = choose([*scenes, more])
        assert tuning.region_threshold == pytest.approx((0.55 + 0.6) / 2)


def test_false_alarms_of_images_that_are_not_shown_do_not_count():
    scenes = [scene([0.9] * 10), scene([0.6]), scene([], [0.5, 0.5]), scene([], [0.55])]
    regions = RegionTuning()
    for scores, truth in scenes:
        regions.update(scores.max(axis=0), truth)
    tuning = Tuning(pixel_threshold=0.5)
    for listed, threshold in (
        ([True, True, True, True], (0.55 + 0.6) / 2),
        ([True, True, True, False], (0.5 + 0.55) / 2),
        ([True, True, False, False], 0.0),
    ):
        chosen, _ = regions.choose(tuning, listed)
        assert chosen.region_threshold == pytest.approx(threshold)


@pytest.mark.parametrize("n_low", [1, 2, 3])
def test_at_most_one_in_fifty_true_regions_is_lost(n_low):
    scenes = [scene([0.9] * 10)] * 9 + [scene([0.9] * (10 - n_low) + [0.6] * n_low)]
    scenes += [scene([], [0.8])]
    tuning, _ = choose(scenes)
    found = metrics(scenes, tuning)["recall"]["found"]
    assert found == (100 - n_low if n_low <= 2 else 100)
    assert (tuning.region_threshold > 0.8) == (n_low <= 2)


def test_good_images_come_first():
    """One true region may be lost: for a false alarm on a good image, not for two elsewhere."""
    scenes = [scene([0.95] * 10)] * 5 + [scene([], [0.7])] + [scene([0.6], [0.8, 0.8])]
    tuning, _ = choose(scenes)
    result = metrics(scenes, tuning)
    assert result["false_alarms_per_good_image"] == 0.0
    assert result["recall"]["found"] == 50


def test_small_false_alarms_are_left_out_by_their_area():
    large, small = scene([0.9] * 10), scene([], [0.95] * 3, side=2)
    tuning, _ = choose([large, small])
    assert (tuning.region_threshold, tuning.min_area) == (0.0, 10)  # between 4 and 16 pixels
    assert metrics([large, small], tuning)["false_alarms_per_image"] == 0.0


def test_the_loss_of_both_cuts_together_is_bounded():
    scenes = [scene([0.9] * 10)] * 5 + [scene([0.6])] + [scene([0.9], side=2)]
    scenes += [scene([], [0.7]), scene([], [0.95], side=3)]
    tuning, _ = choose(scenes)
    assert metrics(scenes, tuning)["recall"]["found"] >= 51


def test_few_true_regions_leave_a_margin_below_them_and_there_is_a_warning():
    scenes = [scene([0.9] * (FEW_REGIONS - 1), [0.6, 0.7]), scene([0.1])]
    tuning, (warning,) = choose(scenes, min_area=3)
    assert tuning.region_threshold == pytest.approx(9 / (9 + MARGIN))  # the odds of 0.9 are 9
    assert (tuning.pixel_threshold, tuning.min_area) == (0.5, 3)
    result = metrics(scenes, tuning)
    assert (result["recall"]["found"], result["false_alarms_per_image"]) == (9, 0.5)
    assert "validation has 9 labeled regions that are found, fewer than 10" in warning
    assert "Add defective images to the validation split" in warning
    for nothing in ([], [scene()]):
        assert choose(nothing) == (Tuning(pixel_threshold=0.5), [])


def test_a_saturated_score_leaves_a_margin_too():
    tuning, _ = choose([scene([1.0])])
    assert tuning.region_threshold < 1 - 2e-6
    assert metrics([scene([1 - 2.0**-20])], tuning)["recall"]["found"] == 1


@pytest.mark.parametrize(
    ("pixel_threshold", "region_threshold"), [(0.01, 0.75), (0.001, 0.75), (0.0005, 0.0)]
)
def test_regions_are_known_at_low_pixel_thresholds(pixel_threshold, region_threshold):
    scenes = [scene([0.9] * 12, [0.6] * 2)]
    tuning, warnings = choose(scenes, pixel_threshold=pixel_threshold)
    assert warnings == []
    assert tuning.region_threshold == pytest.approx(region_threshold)


def test_below_the_lowest_level_no_region_is_left_out_by_its_score():
    scores, truth = scene([0.9])
    scores[scores == 0] = LEVELS[0] / 2
    tuning, _ = choose([(scores, truth)], pixel_threshold=LEVELS[0] / 2)
    assert tuning.region_threshold == 0.0
    assert metrics([(scores, truth)], tuning)["recall"]["found"] == 1


def test_the_user_s_min_area_is_a_floor():
    scenes = [scene([0.9] * 10), scene([], [0.95], side=1)]
    assert choose(scenes, min_area=12)[0].min_area == 12
    assert choose(scenes)[0].min_area == 9


def test_pixels_that_do_not_count_are_no_false_alarms():
    scores, truth = scene([0.9] * 10, [0.95, 0.6, 0.6])
    ignored = np.zeros(SHAPE, bool)
    ignored[12:, :5] = True
    scoped = LabeledTruth(truth.masks, truth.classes, Scope(ignored=ignored))
    assert choose([(scores, scoped)])[0].region_threshold == pytest.approx(0.75)


def test_an_image_of_noise_takes_little_memory(monkeypatch):
    monkeypatch.setattr(region_tuning, "MAX_FALSE_ALARMS", 3)
    tuning = RegionTuning()
    for scores, truth in (scene([0.9] * 10, [0.6] * 2), scene([], [0.6, 0.7] * 5)):
        tuning.update(scores.max(axis=0), truth)
    assert [len(rows) for rows in tuning._rows[0.5]] == [12, 4]
    assert tuning._rows[0.5][1]["score"].tolist() == pytest.approx([0.7] * 4)
    assert sorted(tuning._rows[0.5][1]["count"]) == [1, 1, 1, 7]


@pytest.mark.parametrize(("n_low", "threshold"), [(2, 0.0), (3, (0.55 + 0.6) / 2)])
def test_false_alarms_without_a_row_of_their_own_count(monkeypatch, n_low, threshold):
    monkeypatch.setattr(region_tuning, "MAX_FALSE_ALARMS", 3)
    scenes = [scene([0.9] * 10), *[scene()] * 49, scene([], [0.6] * 3 + [0.55] * n_low)]
    assert choose(scenes)[0].region_threshold == pytest.approx(threshold)
    tuning = RegionTuning()
    for scores, truth in scenes:
        tuning.update(scores.max(axis=0), truth)
    shown = np.arange(51) < 50
    assert tuning.choose(Tuning(pixel_threshold=0.5), shown)[0].region_threshold == 0.0


def test_false_alarms_without_a_row_of_their_own_are_left_out_by_the_largest_of_their_areas(
    monkeypatch,
):
    monkeypatch.setattr(region_tuning, "MAX_FALSE_ALARMS", 1)
    scores, truth = scene([], [0.9] * 2, side=3)
    scores[0, 1, 1] = 0.95
    scenes = [scene([0.85] * 10), (scores, truth)]
    tuning, _ = choose(scenes)
    assert (tuning.region_threshold, tuning.min_area) == (0.0, 13)  # between 9 and 16 pixels
    assert metrics(scenes, tuning)["false_alarms_per_image"] == 0.0


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, (12, 17), elements=st.floats(0, 1, width=32)),
    arrays(np.bool_, (2, 12, 17), elements=st.booleans()), st.integers(0, 4),
)  # fmt: skip
def test_what_is_recorded_is_what_is_found(scores, true, min_area):
    truth, tuning = LabeledTruth(true, ("a", "b")), RegionTuning(min_area=min_area)
    tuning.update(scores, truth)
    for level, (*_, rows) in ((level, [(), *rows]) for level, rows in tuning._rows.items()):
        options = Tuning(pixel_threshold=level, min_area=min_area)
        finding = make_finding(scores[None], ("a",), tuning=options)
        matches = match_regions(finding, truth, image_id="i")
        alarms = [(one.score, one.region.area) for one in matches if one.kind == "false_alarm"]
        recorded = [(row["score"], row["area"]) for row in rows if not row["true"]]
        assert sorted(recorded) == sorted(alarms)
        assert sum(bool(row["true"]) for row in rows) == sum(one.found is True for one in matches)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(0.0, 1.0))
def test_what_is_lost_is_bounded_at_every_pixel_threshold(data, pixel_threshold):
    score = st.floats(0, 1, width=32)
    squares = st.lists(score, max_size=13)
    scenes = [
        scene(data.draw(squares), data.draw(squares), side=data.draw(st.integers(1, 5)))
        for _ in range(8)
    ]
    tuning, _ = choose(scenes, pixel_threshold)
    before = metrics(scenes, Tuning(pixel_threshold=pixel_threshold))
    after = metrics(scenes, tuning)
    lost = before["recall"]["found"] - after["recall"]["found"]
    at_level = max((level for level in LEVELS if level <= pixel_threshold), default=LEVELS[0])
    recorded = metrics(scenes, Tuning(pixel_threshold=at_level))["recall"]["found"]
    assert 0 <= lost <= int(MAX_LOSS * recorded)
    assert after["false_alarms_per_image"] <= before["false_alarms_per_image"]
    assert choose(scenes, pixel_threshold)[0] == tuning


@pytest.mark.parametrize("pixel_threshold", [0.2, 0.29, 0.39, 0.55, 0.89])
def test_the_minimum_area_loses_no_more_where_soft_edges_make_regions_smaller(pixel_threshold):
    scenes = []
    for place in range(40):
        rows, columns = np.mgrid[:40, :40]
        distance = np.hypot(rows - 20, columns - 20)
        scores = np.clip(1.2 - distance / (11.3 + place / 400), 0, 1).astype(np.float32)[None]
        scenes.append((scores, LabeledTruth(distance[None] < 3, ("1",))))
        speck = np.zeros((1, 40, 40), np.float32)
        speck[0, 10:26, 10:26] = 1.0
        scenes.append((speck, LabeledTruth(np.zeros((1, 40, 40), bool), ("1",))))
    tuning, _ = choose(scenes, pixel_threshold=pixel_threshold)
    assert metrics(scenes, tuning)["recall"]["found"] >= 0.98 * 40
