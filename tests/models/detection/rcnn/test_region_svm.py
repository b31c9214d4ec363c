import numpy as np
import pytest

from defectkit.models.detection.rcnn.region_svm import fit_boxes, fit_svm


def test_the_machine_parts_two_clouds_with_probabilities():
    rng = np.random.default_rng(0)
    positive = rng.random(400) < 0.2
    features = rng.normal(size=(400, 6)).astype(np.float32) * [1, 10, 100, 1, 1, 1] + 50
    features[positive, 1] += 40
    machine = fit_svm(features.astype(np.float32), positive)
    assert machine.shape == (7,)
    assert machine.dtype == np.float32
    scores = 1 / (1 + np.exp(-(features @ machine[:-1] + machine[-1])))
    assert ((scores > 0.5) == positive).mean() > 0.95
    # Calibrated: the mean probability is the share of positives.
    assert scores.mean() == pytest.approx(positive.mean(), abs=0.02)


def test_a_shift_and_a_scale_of_the_features_change_nothing():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 4)).astype(np.float32)
    positive = features[:, 0] + 0.3 * rng.normal(size=200) > 0.5
    ways = np.stack([features[:, 1]] * 4, axis=1)
    moved = features * np.float32(8) + np.float32(3)
    for fit, truth in ((fit_svm, positive), (fit_boxes, ways)):
        one, other = fit(features, truth), fit(moved, truth)
        np.testing.assert_allclose(
            features @ one[..., :-1].T + one[..., -1],
            moved @ other[..., :-1].T + other[..., -1],
            atol=1e-3,
        )


def test_the_box_regressor_learns_a_linear_way_and_is_held_back_by_few_examples():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(50_000, 3)).astype(np.float32)
    ways = features @ rng.normal(size=(3, 4)).astype(np.float32) + np.float32(0.2)
    movers = fit_boxes(features, ways)
    assert movers.shape == (4, 4)
    np.testing.assert_allclose(
        features @ movers[:, :-1].T + movers[:, -1], ways, rtol=0.03, atol=0.03
    )
    (few,) = [fit_boxes(features[:5], ways[:5])]
    assert np.abs(few[:, :-1]).max() < 0.1
    np.testing.assert_allclose(
        (features[:5] @ few[:, :-1].T + few[:, -1]).mean(axis=0), ways[:5].mean(axis=0), atol=1e-4
    )
