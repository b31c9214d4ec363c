import numpy as np
import pytest

from defectkit.synthesis.textures import FAMILIES, Surface, uniform

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


@EVERY_FAMILY
@pytest.mark.parametrize("size", [128, 161])
def test_the_planes_of_a_surface_fit_each_other(family, size):
    surface = family(size, np.random.default_rng(0))
    assert isinstance(surface, Surface)
    for plane in (surface.plain, surface.altered, surface.cut, surface.axis):
        assert plane.shape == (size, size)
        assert plane.dtype == np.float64
        assert np.isfinite(plane).all()
    assert 0.1 < surface.plain.mean() < 0.9
    assert 1 <= surface.cut_width <= 6


@EVERY_FAMILY
def test_a_flaw_differs_from_the_plain_surface(family):
    surface = family(128, np.random.default_rng(1))
    for changed in (surface.altered, surface.cut):
        assert np.abs(changed - surface.plain).mean() > 0.03


@EVERY_FAMILY
def test_a_surface_follows_from_its_generator_alone(family):
    one, same, other = (family(128, np.random.default_rng(seed)) for seed in (2, 2, 3))
    np.testing.assert_array_equal(one.plain, same.plain)
    np.testing.assert_array_equal(one.altered, same.altered)
    assert np.abs(one.plain - other.plain).mean() > 0.01


def test_draws_between_two_bounds_reach_both_ends():
    rng = np.random.default_rng(0)
    drawn = np.array([uniform(rng, -2.0, 6.0) for _ in range(2000)])
    assert -2 <= drawn.min() < -1.9
    assert 5.9 < drawn.max() < 6
