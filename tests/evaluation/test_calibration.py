import numpy as np
import pytest
from scipy.special import expit

from defectkit.approaches.image_mix import ImageMix
from defectkit.evaluation.calibration import (
    MIN_NOVELTY,
    choose_novelty_threshold,
    fit_image_mix,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.random(400) < 0.3
SIGNS = np.where(TRUTH, 1.0, -1.0)


def witnesses(of_map: np.ndarray, whole: np.ndarray) -> list[tuple[float, float | None]]:
    return list(zip(expit(of_map).tolist(), whole.tolist(), strict=True))


def test_the_witness_that_knows_more_weighs_more():
    good, bad = SIGNS + RNG.normal(size=400), SIGNS + 4 * RNG.normal(size=400)
    of_map = fit_image_mix(witnesses(good, bad), TRUTH)
    of_whole = fit_image_mix(witnesses(bad, good), TRUTH)
    assert of_map.map_weight > 4 * of_map.image_weight
    assert of_whole.image_weight > 4 * of_whole.map_weight


def test_a_witness_that_contradicts_is_not_heard():
    mix = fit_image_mix(witnesses(SIGNS + RNG.normal(size=400), -SIGNS), TRUTH)
    assert mix.image_weight == 0.0
    assert mix.map_weight > 0.0


def test_the_scores_are_probabilities():
    # Independent witnesses whose logits are true: those add up.
    one, other = (2 * SIGNS + 2 * RNG.normal(size=400) for _ in range(2))
    mix = fit_image_mix(witnesses(one, other), TRUTH)
    scores = np.array([mix.score(*pair) for pair in witnesses(one, other)])
    assert scores.mean() == pytest.approx(TRUTH.mean(), abs=0.03)
    assert mix.map_weight == pytest.approx(mix.image_weight, rel=0.5)


def test_a_few_images_cannot_silence_a_witness():
    pairs = witnesses(np.array([3.0, -3.0, 2.0, -2.0]), np.array([-0.1, 0.1, -0.1, 0.1]))
    mix = fit_image_mix(pairs, [True, False, True, False])
    assert mix.image_weight > 0.2
    assert mix.map_weight < 3.0  # nor trust one without end


def test_the_map_alone_gives_probabilities_too_with_and_without_a_judgment_of_the_whole():
    far_too_high = SIGNS + RNG.normal(size=400) + 3
    pairs = witnesses(far_too_high, 3 * SIGNS)
    only_map = [(score, None) for score, _ in pairs]
    some = [only if number % 2 else both for number, (both, only) in enumerate(
        zip(pairs, only_map, strict=True))]  # fmt: skip
    mixes = [fit_image_mix(known, TRUTH) for known in (pairs, some, only_map)]
    for mix in mixes:
        scores = np.array([mix.score(*one) for one in only_map])
        assert scores.mean() == pytest.approx(TRUTH.mean(), abs=0.05)  # that of the map is 0.8
        assert mix.alone_weight == pytest.approx(mixes[0].alone_weight)
    assert mixes[1].image_weight == pytest.approx(mixes[0].image_weight, rel=0.5)
    assert mixes[2].image_weight == ImageMix().image_weight  # nothing is known of it


def test_with_one_kind_of_image_there_is_nothing_to_fit():
    pairs = witnesses(SIGNS, SIGNS)
    assert fit_image_mix(pairs, np.ones(400)) == ImageMix()
    assert fit_image_mix(pairs, np.zeros(400)) == ImageMix()
    assert fit_image_mix(pairs, TRUTH) != ImageMix()


def test_a_map_that_contradicts_keeps_its_weight_where_it_is_alone():
    mix = fit_image_mix(witnesses(-SIGNS, SIGNS), TRUTH)
    assert (mix.map_weight, mix.alone_weight) == (0.0, 1.0)


def test_one_good_image_in_twenty_has_a_novel_place():
    novelties = RNG.uniform(0.5, 1.0, 400)
    threshold = choose_novelty_threshold(novelties.tolist(), TRUTH)
    assert np.mean(novelties[~TRUTH] > threshold) == pytest.approx(0.05, abs=0.005)
    worst = np.where(TRUTH, 1.0, novelties)  # what is labeled does not matter
    assert choose_novelty_threshold(worst.tolist(), TRUTH) == threshold


def test_a_few_inconspicuous_images_do_not_make_all_others_novel():
    assert choose_novelty_threshold([0.1, 0.2, 0.9], [False, False, True]) == MIN_NOVELTY
    assert choose_novelty_threshold([0.1, 0.6, 0.9], [False, False, True]) == 0.6


def test_without_good_images_there_is_no_novelty_threshold():
    assert choose_novelty_threshold([0.8, 0.9], [True, True]) is None
