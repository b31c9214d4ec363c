import cv2
import numpy as np
import pytest

from defectkit.labels.outlines import Polygons, rasterize
from defectkit.labels.polygon_convention import why_pixels

SIZE = (48, 64)


def shapes():
    """A thick blob, a crack of one pixel, a single pixel, and a line at the border."""
    masks = [np.zeros(SIZE, np.uint8) for _ in range(4)]
    cv2.ellipse(masks[0], (20, 30), (12, 7), 30, 0, 360, 1, -1)
    cv2.polylines(masks[1], [np.array([[3, 4], [20, 9], [33, 30], [60, 44]])], False, 1)
    masks[2][10, 40] = 1
    masks[3][20:31, 63] = 1
    return masks


def contours(mask, approximation=cv2.CHAIN_APPROX_SIMPLE):
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, approximation)
    return Polygons(tuple(tuple(map(float, ring.ravel())) for ring in found), SIZE)


def relative(polygons, digits):
    sides = np.tile([SIZE[1], SIZE[0]], 10_000)
    rings = [tuple((ring / sides[: len(ring)]).round(digits)) for ring in polygons.rings]
    return Polygons(tuple(rings), relative=True)


def mask_of(outline):
    runs, _ = rasterize(outline, SIZE)
    return runs.to_mask(SIZE)


@pytest.mark.check(44)
@pytest.mark.parametrize("approximation", [cv2.CHAIN_APPROX_SIMPLE, cv2.CHAIN_APPROX_NONE])
@pytest.mark.parametrize("digits", [None, 6, 8])
def test_polygons_of_findcontours_come_back_to_the_pixel(approximation, digits):
    polygons = [contours(mask, approximation) for mask in shapes()]
    if digits:
        polygons = [relative(one, digits) for one in polygons]
    why = why_pixels((one, SIZE) for one in polygons)
    assert "edges that were checked run straight or diagonally from pixel to pixel" in why
    for mask, one in zip(shapes(), polygons, strict=True):
        named = Polygons(one.rings, one.size, one.relative, names_pixels=True)
        np.testing.assert_array_equal(mask_of(named), mask)


def test_cracks_alone_show_it_and_borders_alone_too():
    lines = [Polygons(((5, y, 20, y),), SIZE) for y in (3, 8, 13)]
    assert why_pixels((one, SIZE) for one in lines).startswith("3 of them go there and back")
    assert why_pixels((one, SIZE) for one in lines[:2]) == ""
    corners = [(50, 3 + 9 * i, 63, 5 + 9 * i, 63, 9 + 9 * i, 52, 6 + 9 * i) for i in range(4)]
    slanted = [Polygons((ring,), SIZE) for ring in corners]
    assert "4 of them end in the last row or column" in why_pixels((one, SIZE) for one in slanted)
    beyond = Polygons(((50, 3, 64, 5, 63, 9),), SIZE)
    assert why_pixels((one, SIZE) for one in [*slanted, beyond]) is None


def test_boxes_that_count_pixels_show_it():
    rings = [(3 * i, 4, 9 + 4 * i, 4 + i, 9 + 4 * i, 9, 3 * i, 12) for i in range(1, 5)]
    boxed = [(9 + i + 1, 8 + 1) for i in range(1, 5)]
    wider = [Polygons((ring,), SIZE, box_sides=box) for ring, box in zip(rings, boxed, strict=True)]
    why = why_pixels((one, SIZE) for one in wider)
    assert why == "the boxes of 4 of them are a pixel wider and higher"
    exact = Polygons((rings[0],), SIZE, box_sides=(boxed[0][0] - 1, boxed[0][1] - 1))
    assert why_pixels((one, SIZE) for one in [*wider, exact]) == ""


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        ((3, 4, 20, 4, 20, 9, 3, 9), ""),  # rectangles with sides along the axes
        ((3, 4, 12, 4, 12, 8, 7, 8, 7, 20, 3, 20), ""),
        ((3, 4, 20, 4, 20, 21), ""),
        ((9, 4, 14, 9, 9, 14, 4, 9), ""),
        ((3, 4, 20, 7, 15, 30), ""),  # drawn by hand, rounded
        ((3.5, 4, 20, 4, 21, 5, 20, 6, 3, 6), None),
        ((60, 3, 64, 3, 64, 9, 60, 9), None),
    ],
)
def test_other_polygons_have_points(ring, why):
    assert why_pixels([(Polygons((ring,), SIZE), SIZE)] * 20) == why


def test_a_stray_ring_of_two_points_shows_nothing():
    ring = (3.0, 4.0, 20.0, 4.0, 20.0, 9.0, 3.0, 9.0)
    assert why_pixels([(Polygons((ring, (5, 5, 9, 5)), SIZE), SIZE)] * 6) == ""
    assert why_pixels([]) is None
    for malformed in ((), (1.0, 2.0, 3.0)):
        assert why_pixels([(Polygons((malformed,)), SIZE)]) is None
