import numpy as np
import pytest

from defectkit.data.image_measures import (
    LAYOUT_SIDE,
    MAX_REGIONS,
    measure_contrast,
    measure_image,
)
from defectkit.regions import Region, label_regions


def scene(shape=(80, 100), top=30, left=40, height=20, width=10):
    """Noise of deviation 10 around 100, and a region 30 gray levels above it."""
    rng = np.random.default_rng(0)
    defects = np.zeros(shape, bool)
    defects[top : top + height, left : left + width] = True
    gray = rng.normal(100, 10, shape) + 30 * defects
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8), defects


def regions_of(defects):
    return label_regions(defects, "1")[1]


def test_the_contrast_of_a_region_is_told_in_deviations_of_its_surroundings():
    image, defects = scene()
    (region,) = regions_of(defects)
    assert measure_contrast(image, region, defects) == pytest.approx(3.0, abs=0.3)
    assert measure_contrast(255 - image, region, defects) == pytest.approx(3.0, abs=0.3)
    colors = np.repeat(image[:, :, None], 3, axis=2)
    assert measure_contrast(colors, region, defects) == pytest.approx(
        measure_contrast(image, region, defects), rel=0.01
    )


def test_other_defects_are_no_surroundings():
    image, defects = scene()
    image, around = image.copy(), defects.copy()
    image[30:50, 50:60], around[30:50, 50:60] = 255, True
    (region,) = regions_of(defects)
    assert measure_contrast(image, region, around) == pytest.approx(3.0, abs=0.3)
    assert measure_contrast(image, region, defects) < 2


def test_large_regions_are_measured_as_well_as_small_ones():
    image, defects = scene((900, 900), 100, 100, 600, 700)
    (region,) = regions_of(defects)
    assert measure_contrast(image, region, defects) == pytest.approx(3.0, abs=0.2)


def test_a_region_without_surroundings_has_no_contrast():
    image = np.zeros((8, 8), np.uint8)
    region = Region(box_xywh=(0, 0, 8, 8), area=64)
    assert measure_contrast(image, region, np.ones((8, 8), bool)) is None


def test_uniform_surroundings_give_a_finite_contrast():
    image = np.full((40, 40), 7, np.uint8)
    defects = np.zeros((40, 40), bool)
    defects[10:20, 10:20] = True
    image[defects] = 9
    assert measure_contrast(image, regions_of(defects)[0], defects) == 2.0


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (64, 64, 1), (200, 90, 3), (300, 40, 5)])
def test_the_layout_of_any_image_has_one_size(shape):
    measures = measure_image(np.full(shape, 80, np.uint8), (), None)
    assert measures.layout == bytes([80]) * LAYOUT_SIDE**2
    assert measures.contrasts == {}


def test_the_layout_shows_where_an_image_is_bright():
    image = np.zeros((400, 640), np.uint8)
    image[200:, 320:] = 255
    layout = np.frombuffer(measure_image(image, (), None).layout, np.uint8).reshape(16, 16)
    assert np.array_equal(layout > 0, np.kron([[0, 0], [0, 1]], np.ones((8, 8))) > 0)


def test_of_many_regions_a_part_is_measured_spread_over_all():
    defects = np.zeros((200, 200), bool)
    defects[::4, ::4] = True
    image = np.where(defects, 200, 100).astype(np.uint8)
    regions = regions_of(defects)
    assert len(regions) == 2500
    measures = measure_image(image, regions, defects)
    assert MAX_REGIONS / 2 < len(measures.contrasts["1"]) <= MAX_REGIONS
