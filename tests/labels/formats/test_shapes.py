import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.shapes import box_of, ellipse, rectangle
from defectkit.labels.outlines import Box, rasterize

SIZE = (40, 60)


def mask_of(outline):
    runs, _ = rasterize(outline, SIZE)
    return runs.to_mask(SIZE)


def test_a_box_has_any_two_opposite_corners():
    assert box_of(9, 3, 2, 8, SIZE) == box_of(2, 8, 9, 3, SIZE) == Box(2, 3, 9, 8, SIZE)


def test_an_ellipse_covers_the_pixels_inside():
    x, y = np.meshgrid(np.arange(60) + 0.5, np.arange(40) + 0.5)
    expected = ((x - 30) / 20) ** 2 + ((y - 20) / 8) ** 2 <= 1
    assert (mask_of(ellipse(30, 20, 20, 8, SIZE)) != expected).sum() <= 8
    turned = mask_of(ellipse(30, 20, 8, 20 * 0.9, SIZE))
    np.testing.assert_array_equal(mask_of(ellipse(30, 20, 20 * 0.9, 8, SIZE, 90)), turned)
    with pytest.raises(LabelError, match="its radius is not above 0"):
        ellipse(5, 5, 0, 3, SIZE)


def test_a_rectangle_turns_clockwise_about_its_corner():
    expected = np.zeros(SIZE, np.uint8)
    expected[10:20, 26:30] = 1
    np.testing.assert_array_equal(mask_of(rectangle(30, 10, 10, 4, SIZE, 90)), expected)
    np.testing.assert_array_equal(
        mask_of(rectangle(5, 6, 10, 4, SIZE, 0)), mask_of(Box(5, 6, 15, 10))
    )
