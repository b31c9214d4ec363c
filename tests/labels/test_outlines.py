import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycoco

from defectkit.errors import LabelError
from defectkit.labels.outlines import Box, CocoMask, Polygons, RleMask, rasterize

SIZE = (24, 40)
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def mask_of(outline):
    return rasterize(outline, SIZE).to_mask(SIZE)


@quiet
@given(st.tuples(*[st.integers(0, 39)] * 2), st.tuples(*[st.integers(0, 23)] * 2))
def test_boxes_of_whole_numbers_are_exact_in_every_outline(xs, ys):
    (left, right), (top, bottom) = sorted(xs), sorted(ys)
    right, bottom = right + 1, bottom + 1
    ring = (left, top, right, top, right, bottom, left, bottom)
    expected = np.zeros(SIZE, np.uint8)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(mask_of(Polygons((ring,))), expected)
    np.testing.assert_array_equal(mask_of(Box(left, top, right, bottom)), expected)
    packed = pycoco.merge(pycoco.frPyObjects([list(map(float, ring))], *SIZE))
    np.testing.assert_array_equal(pycoco.decode(packed), expected)
    sides = np.array([40, 24] * 4)
    relative = tuple((np.array(ring) / sides).round(6).tolist())
    np.testing.assert_array_equal(mask_of(Polygons((relative,), relative=True)), expected)


def center_by_center(ring):
    """Cast a ray from the center of each pixel to the left and count the edges it meets."""
    points = np.array(ring).reshape(-1, 2)
    mask = np.zeros(SIZE, np.uint8)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            x, y = column + 0.5, row + 0.5
            for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
                if (ay <= y < by or by <= y < ay) and ax + (y - ay) * (bx - ax) / (by - ay) <= x:
                    mask[row, column] ^= 1
    return mask


CORNERS = st.tuples(st.floats(0, 40, width=32), st.floats(0, 24, width=32))


@settings(max_examples=25)
@given(st.lists(CORNERS, min_size=3, max_size=7))
def test_a_pixel_is_inside_where_its_center_is(corners):
    ring = tuple(number for corner in corners for number in corner)
    expected = center_by_center(ring)
    if expected.any():
        np.testing.assert_array_equal(mask_of(Polygons((ring,))), expected)


def test_a_triangle_and_a_star_follow_the_even_odd_rule():
    for ring in ((2, 3, 30.5, 8.25, 11, 22), (20, 1, 28, 22, 6, 9, 34, 9, 12, 22)):
        np.testing.assert_array_equal(mask_of(Polygons((ring,))), center_by_center(ring))


@quiet
def test_slanted_polygons_differ_from_other_tools_along_the_edges_alone():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radii = rng.uniform(4, 11, 7)
        points = np.stack([20 + radii * np.cos(angles), 12 + radii * np.sin(angles)], axis=1)
        ours = mask_of(Polygons((tuple(points.ravel().tolist()),)))
        near = np.zeros(SIZE, np.uint8)
        cv2.polylines(near, [np.floor(points).astype(np.int32)], True, 1, thickness=3)
        packed = pycoco.merge(pycoco.frPyObjects([points.ravel().tolist()], *SIZE))
        drawn = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.floor(points).astype(np.int32)], 1)
        for theirs in (pycoco.decode(packed), drawn):
            assert not ((ours != theirs) & (near == 0)).any()


def test_neighbors_share_no_pixel_and_leave_no_gap():
    left, right = (0, 0, 17.5, 0, 23.5, 24, 0, 24), (17.5, 0, 40, 0, 40, 24, 23.5, 24)
    assert (mask_of(Polygons((left,))) + mask_of(Polygons((right,))) == 1).all()


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        (Polygons(((1, 2, 3, 4),)), "a polygon has 4 numbers"),
        (Polygons(((1, 2, 3, 4, 5),)), "a polygon has 5 numbers"),
        (Polygons(((1, 1, 42, 1, 5, 5),)), r"the point \(42, 1\) lies outside the image of 40x24"),
        (Polygons(((1, 1, float("nan"), 1, 5, 5),)), r"the point \(nan, 1\)"),
        (Polygons(((1, 1, 1e300, 1, 5, 5),)), r"the point \(1e\+300, 1\)"),
        (Polygons(((0, 0, 1.2, 0, 0.5, 0.5),), relative=True), r"the point \(48, 0\)"),
        (Polygons(((1, 1, 1.2, 1, 1.2, 1.2),)), "covers no pixel"),
        (Box(5, 5, 3, 9), "covers no pixel"),
        (Box(5, 5, 5.2, 9), "covers no pixel"),
        (Box(-2, 5, 5, 9), r"the point \(-2, 5\) lies outside"),
        (Box(1, 1, 2, 2, size=(40, 24)), "of an image of 24x40 pixels, but it has 40x24"),
        (CocoMask((0, 960), (40, 24)), "of an image of 24x40 pixels, but it has 40x24"),
        (CocoMask((0, 961), SIZE), "they sum to 961"),
        (RleMask("1 961", SIZE), "past the last, 960"),
    ],
)
def test_what_does_not_fit_is_refused(outline, message):
    with pytest.raises(LabelError, match=message):
        rasterize(outline, SIZE)


def test_an_outline_may_reach_a_pixel_past_the_image():
    assert mask_of(Box(-0.6, -1, 40.9, 25)).all()
