"""A region is compared with its surroundings as it would be with the whole image at hand."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from defectkit.evaluation import flatness
from defectkit.evaluation.flatness import flatness_features, measure_flatness
from defectkit.regions import label_regions


def measure(features, mask):
    region_map, (region,) = label_regions(mask)
    return measure_flatness(features, region, region_map[region.window] == 1, mask)


def texture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(80, 160, (90, 100, 1)).astype(np.uint8)


@pytest.mark.parametrize("window", [np.s_[40:50, 40:52], np.s_[:10, :12], np.s_[80:, 88:]])
def test_what_differs_is_not_flat_and_what_does_not_is(window):
    image, mask = texture(), np.zeros((90, 100), bool)
    mask[window] = True
    assert measure(flatness_features(image), mask) > 0
    image[window] += 60
    assert measure(flatness_features(image), mask) == 0


def test_without_other_places_there_is_no_answer():
    mask = np.zeros((90, 100), bool)
    mask[5:85, 5:95] = True
    assert measure(flatness_features(texture()), mask) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_distance_is_that_of_kolmogorov_and_smirnov(seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 9 + seed * k, 50 * k).astype(np.float32) for k in (1, 3))
    expected = ks_2samp(one, other, method="asymp").statistic
    assert flatness._kolmogorov_smirnov(one, other) == pytest.approx(expected, abs=1e-12)
