import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.special import expit, logit

from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.score_maps import (
    SCORE_WINDOW,
    image_score,
    make_finding,
    region_score,
)
from defectkit.approaches.tuning import Tuning
from defectkit.labels.scope import Scope

CLASSES = ("scratch", "pit")

maps = st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
    lambda shape: arrays(np.float32, (2, *shape), elements=st.floats(0, 1, width=32))
)


@given(scores=maps)
def test_the_image_score_is_the_largest_mean_of_a_window(scores):
    layer = scores[0]
    size = tuple(min(SCORE_WINDOW, length) for length in layer.shape)
    # An even window has its center on either side, so compare the means and not their places.
    expected = ndimage.uniform_filter(layer.astype(np.float64), size, mode="reflect", origin=0)
    assert 0.0 <= image_score(layer) <= 1.0
    if all(length % 2 for length in size):
        assert image_score(layer) == pytest.approx(expected.max(), abs=1e-5)


def test_one_stray_pixel_does_not_condemn_an_image_and_a_small_defect_does():
    scores = np.zeros((40, 50), np.float32)
    scores[20, 20] = 1
    assert image_score(scores) == pytest.approx(1 / 25)
    scores[18:23, 18:23] = 1
    assert image_score(scores) == pytest.approx(1)
    assert image_score(np.ones((64, 64), np.float32)) == 1.0


def test_a_defect_in_the_corner_counts_as_much_as_one_inside():
    corner, inside = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    corner[:5, :5] = inside[10:15, 10:15] = 0.8
    assert image_score(corner) == pytest.approx(image_score(inside))


@given(scores=maps, threshold=st.floats(2**-7, 1, width=32), area=st.integers(0, 20))
def test_regions_and_mask_say_the_same(scores, threshold, area):
    finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=threshold, min_area=area))
    mask = finding.mask
    assert mask.dtype == np.bool_
    assert mask.sum() == sum(region.area for region in finding.regions)
    boxes = np.zeros_like(mask)
    for number, region in enumerate(finding.regions, start=1):
        boxes[region.window] = True
        assert np.count_nonzero(finding.region_map[region.window] == number) == region.area
        assert np.count_nonzero(finding.region_map == number) == region.area
        assert region.area >= max(area, 1)
        assert region.score >= threshold
    assert boxes[mask].all()
    labels, count = ndimage.label(scores.max(axis=0) >= threshold, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, count + 1))
    assert sorted(region.area for region in finding.regions) == sorted(sizes[sizes >= area])


def test_a_region_has_the_class_of_its_largest_mean():
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, 2:8, 2:8] = 0.6
    scores[1, 2:8, 2:8] = 0.5
    scores[1, 3, 3] = 0.9
    scores[1, 12:15, 10:18] = 0.7
    finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=0.5))
    first, second = finding.regions
    assert (first.class_id, first.box_xywh, first.area) == ("scratch", (2, 2, 6, 6), 36)
    assert first.score == pytest.approx(0.6)  # one pixel of 36 is higher
    assert (second.class_id, second.box_xywh, second.area) == ("pit", (10, 12, 8, 3), 24)
    assert second.score == pytest.approx(0.7)


@given(
    arrays(np.float32, st.integers(1, 300), elements=st.floats(0, 1, width=32)),
)
def test_the_score_of_a_region_is_the_95th_percentile_of_its_pixels(scores):
    assert region_score(scores) == np.percentile(scores, 95, method="inverted_cdf")
    if len(scores) < 20:
        assert region_score(scores) == scores.max()


@given(scores=maps, threshold=st.floats(0, 1, width=32), area=st.integers(0, 5), data=st.data())
def test_regions_below_the_region_threshold_are_left_out_and_the_others_stay(
    scores, threshold, area, data
):
    scope = scope_of(data.draw, scores.shape[1:])
    tuning = Tuning(pixel_threshold=0.25, min_area=area)
    every = make_finding(scores, CLASSES, tuning=tuning, scope=scope)
    tuning = Tuning(pixel_threshold=0.25, region_threshold=threshold, min_area=area)
    kept = make_finding(scores, CLASSES, tuning=tuning, scope=scope)
    expected = [number for number, region in enumerate(every.regions, start=1)
                if region.score >= threshold]  # fmt: skip
    assert kept.regions == tuple(every.regions[number - 1] for number in expected)
    for new, old in enumerate(expected, start=1):
        np.testing.assert_array_equal(kept.region_map == new, every.region_map == old)
    assert kept.region_map.max(initial=0) == len(expected)
    np.testing.assert_array_equal(kept.score_map, every.score_map)
    assert kept.score == every.score


def test_scores_of_a_neighbor_in_the_same_box_do_not_count():
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, 5, 2:15] = scores[0, 5:15, 2] = 0.6  # an L around ...
    scores[1, 9:12, 8:11] = 0.9  # ... another region in its box
    finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=0.5))
    assert [(r.class_id, round(r.score, 3)) for r in finding.regions] == [
        ("scratch", 0.6), ("pit", 0.9),
    ]  # fmt: skip


def test_the_scores_of_image_and_classes():
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, 2:7, 2:7] = 0.4
    scores[1, 10:15, 10:15] = 0.8
    finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=0.5))
    np.testing.assert_allclose(finding.class_scores, [0.4, 0.8], rtol=1e-5)
    assert finding.class_scores.dtype == np.float32
    assert finding.score == pytest.approx(0.8)
    np.testing.assert_array_equal(finding.score_map, scores)
    np.testing.assert_array_equal(finding.defect_map, scores.max(axis=0))


def test_small_regions_are_left_out_where_asked_for():
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, 2:4, 2:4] = 0.9
    scores[0, 10:13, 10:13] = 0.9
    for area, expected in ((0, [4, 9]), (4, [4, 9]), (5, [9]), (9, [9]), (10, [])):
        finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=0.5, min_area=area))
        assert [region.area for region in finding.regions] == expected
        assert finding.mask.sum() == sum(expected)
        assert finding.score == pytest.approx(0.324)  # the score is of the map, not of the regions


def test_nothing_found():
    finding = make_finding(
        np.zeros((2, 8, 9), np.float32), CLASSES, tuning=Tuning(pixel_threshold=0.5)
    )
    assert finding.regions == ()
    assert finding.score == 0
    assert not finding.mask.any()


def scope_of(draw, shape) -> Scope:
    masks = st.none() | arrays(np.bool_, shape)
    return Scope(draw(masks), draw(masks))


@pytest.mark.check(49)
@given(scores=maps, threshold=st.sampled_from([0.0, 0.3, 1.0]), data=st.data())
def test_nothing_is_found_where_pixels_do_not_count(scores, threshold, data):
    scope = scope_of(data.draw, scores.shape[1:])
    finding = make_finding(scores, CLASSES, tuning=Tuning(pixel_threshold=threshold), scope=scope)
    counted = np.ones(scores.shape[1:], bool) if scope.counted is None else scope.counted
    assert not finding.score_map[:, ~counted].any()
    np.testing.assert_array_equal(finding.score_map[:, counted], scores[:, counted])
    assert not finding.mask[~counted].any()
    assert sum(region.area for region in finding.regions) == finding.mask.sum()
    for number, region in enumerate(finding.regions, start=1):
        assert np.count_nonzero(finding.region_map[region.window] == number) == region.area
    if not counted.any():
        assert finding.score == 0
    # What is there does not matter.
    other = np.where(counted, scores, 1 - scores)
    assert make_finding(
        other, CLASSES, tuning=Tuning(pixel_threshold=0.5), scope=Scope(roi=counted)
    ).score == pytest.approx(finding.score)


@given(scores=maps, threshold=st.sampled_from([0.0, 0.3, 1.0]))
def test_a_scope_of_all_pixels_changes_nothing(scores, threshold):
    everything = np.ones(scores.shape[1:], bool)
    plain, scoped = (
        make_finding(
            scores, CLASSES, tuning=Tuning(pixel_threshold=threshold, min_area=2), **options
        )
        for options in ({}, {"scope": Scope(everything, ~everything)})
    )
    np.testing.assert_array_equal(plain.region_map, scoped.region_map)
    np.testing.assert_array_equal(plain.score_map, scoped.score_map)
    assert plain.regions == scoped.regions
    assert plain.score == pytest.approx(scoped.score, abs=1e-6)


def test_a_defect_at_the_border_of_the_region_counts_as_much_as_one_inside():
    scores = np.zeros((40, 40), np.float32)
    roi = np.zeros((40, 40), bool)
    roi[10:30, 10:30] = True
    scores[10:15, 10:15] = 0.8
    assert image_score(scores, roi) == pytest.approx(0.8)
    assert image_score(scores) == pytest.approx(0.8)
    scores[11:15, 11:15] = 0.0  # a rim of one pixel
    assert image_score(scores, roi) < 0.8


def test_a_region_that_is_mostly_ignored_is_none_and_a_rim_separates_none():
    scores = np.zeros((1, 40, 60), np.float32)
    scores[0, 10:20, 10:30] = 0.9  # half of it ignored
    scores[0, 10:20, 40:50] = 0.9  # with an ignored rim in it
    ignored = np.zeros((40, 60), bool)
    ignored[:, 20:34] = True
    ignored[12:18, 42:48] = True
    ignored[13:17, 43:47] = False
    finding = make_finding(
        scores, ("a",), tuning=Tuning(pixel_threshold=0.5), scope=Scope(ignored=ignored)
    )
    (region,) = finding.regions
    assert (region.box_xywh, region.area) == ((40, 10, 10, 10), 100 - 36 + 16)


@given(scores=maps, threshold=st.floats(2**-7, 1, width=32))
def test_all_pixels_of_a_region_get_its_class_and_the_rest_stays(scores, threshold):
    given, tuning = scores.copy(), Tuning(pixel_threshold=threshold)
    plain = make_finding(given, CLASSES, tuning=tuning)
    np.testing.assert_array_equal(given, scores)
    finding = make_finding(given, CLASSES, tuning=tuning, one_class=True)
    assert finding.regions == plain.regions
    np.testing.assert_array_equal(finding.defect_map, plain.defect_map)
    np.testing.assert_array_equal(np.sort(finding.score_map, axis=0), np.sort(scores, axis=0))
    outside = finding.region_map == 0
    np.testing.assert_array_equal(finding.score_map[:, outside], scores[:, outside])
    for number, region in enumerate(finding.regions, start=1):
        inside = finding.score_map[:, finding.region_map == number]
        assert (inside[CLASSES.index(region.class_id)] == inside.max(axis=0)).all()


@pytest.mark.parametrize("pixels", [1, 100])
def test_the_pixels_of_regions_get_their_class_band_by_band_too(pixels, monkeypatch):
    scores = np.random.default_rng(0).random((2, 30, 20), np.float32) ** 4
    tuning = Tuning(pixel_threshold=0.3)
    whole = make_finding(scores.copy(), CLASSES, tuning=tuning, one_class=True)
    monkeypatch.setattr("defectkit.approaches.score_maps.GIVEN_PIXELS", pixels)
    finding = make_finding(scores.copy(), CLASSES, tuning=tuning, one_class=True)
    assert len(whole.regions) > 10
    assert (whole.score_map != scores).any()
    np.testing.assert_array_equal(finding.score_map, whole.score_map)


def test_the_score_of_a_map_alone_is_scaled_as_tuned():
    scores = np.full((1, 9, 9), 0.2, np.float32)
    mix = ImageMix(alone_weight=0.5, alone_bias=1.0)
    finding = make_finding(scores, ("a",), tuning=Tuning(image_mix=mix))
    assert finding.witnesses == (pytest.approx(0.2), None)
    assert finding.score == pytest.approx(expit(0.5 * logit(0.2) + 1.0))
    assert make_finding(scores, ("a",), tuning=Tuning()).score == finding.witnesses[0]


@pytest.mark.parametrize("shape", [(11, 3), (13, 40), (64, 17), (40, 90)])
def test_the_image_score_of_a_large_map_is_the_same_band_by_band(shape, monkeypatch):
    for seed in range(20):
        scores = np.random.default_rng(seed).random(shape, np.float32) ** 8
        whole = image_score(scores)
        for pixels in (1, 7 * shape[1], 11 * shape[1]):
            monkeypatch.setattr("defectkit.approaches.score_maps.BAND_PIXELS", pixels)
            assert image_score(scores) == pytest.approx(whole, abs=1e-6)
        monkeypatch.undo()
