import numpy as np
import pytest

from defectkit.preparation.leaks.alignment import band_pass
from defectkit.preparation.leaks.pattern import compare_remainders
from defectkit.synthesis.generator import synthesize


def noise(seed, shape=(160, 200)):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def lattice(shape=(160, 200)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (20 * np.tanh(3 * np.cos(x / 2.1) * np.cos(y / 1.7))).astype(np.float32)


def test_where_nothing_is_regular_nearly_all_remains():
    one, other = noise(0), noise(1)
    same, unlike = compare_remainders(one, one), compare_remainders(one, other)
    assert same.similarity == pytest.approx(1)
    assert min(same.share, unlike.share) > 0.9
    assert abs(unlike.similarity) < 0.05
    half = compare_remainders(one, one + other)
    assert half.similarity == pytest.approx(0.5**0.5, abs=0.05)


@pytest.mark.check(50)
def test_what_a_lattice_has_in_common_with_another_is_taken_out():
    one, other = lattice() + noise(0), 0.9 * lattice() + noise(1)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
    unlike, same = compare_remainders(one, other), compare_remainders(one, 0.9 * one)
    assert unlike.share < 0.05
    assert abs(unlike.similarity) < 0.15
    assert same.similarity == pytest.approx(1)


@pytest.mark.check(50)
@pytest.mark.parametrize("period", [9.0, 14.3, 25.0])
def test_a_grid_under_uneven_light_is_taken_out_though_it_is_far_stronger_than_the_grain(period):
    y, x = np.mgrid[:240, :240]
    waves = np.cos(x * 2 * np.pi / period) + np.cos(y * 2 * np.pi / period)
    grid = 60 * np.tanh(6 * (waves - 0.6)) * (1 + 0.1 * np.cos((x + y) / 200))
    grain = [noise(seed, grid.shape) for seed in (0, 1)]
    one, other = ((grid + 2 * own).astype(np.float32) for own in grain)
    unlike, same = compare_remainders(one, other), compare_remainders(one, one + grain[1])
    assert unlike.share < 0.01
    assert unlike.similarity < 0.4
    assert same.similarity > 0.75


def test_brushed_surfaces_are_not_taken_for_periodic_ones():
    drawn = synthesize(5, size=192)
    assert drawn.texture == "strokes"
    strokes = band_pass(drawn.image)
    noisy = band_pass(drawn.image + 20 * noise(3, drawn.image.shape))
    assert compare_remainders(strokes, noisy).similarity > 0.75


def test_uniform_images_have_nothing_in_common():
    assert compare_remainders(np.zeros((40, 40), np.float32), noise(0, (40, 40))).similarity == 0
