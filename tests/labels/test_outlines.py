import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycoco

from defectkit.errors import LabelError
from defectkit.labels.outlines import Box, CocoMask, PlacedMask, Polygons, RleMask, rasterize

SIZE = (24, 40)
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def mask_of(outline):
    runs, _ = rasterize(outline, SIZE)
    return runs.to_mask(SIZE)


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
        (Polygons(((), ())), "a polygon has 0 numbers"),
        (Polygons(((),), names_pixels=True), "a polygon has 0 numbers"),
        (Polygons(((1, 2, 3),), names_pixels=True), "a polygon has 3 numbers"),
        (
            Polygons(((1, 1, 42, 1, 5, 5),)),
            r"1 of its 3 points .* image of 40x24, by up to 2 pixels, the first at \(42, 1\)",
        ),
        (Polygons(((1, 1, float("nan"), 1, 5, 5),)), r"without end, the first at \(nan, 1\)"),
        (Polygons(((1, 1, 1e300, 1, 5, 5),)), r"by up to 1e\+300 pixels"),
        (Polygons(((0, 0, 1.2, 0, 0.5, 0.5),), relative=True), r"the first at \(48, 0\)"),
        (Polygons(((1, 1, 1.2, 1, 1.2, 1.2),)), "covers no pixel"),
        (Box(5, 5, 3, 9), "covers no pixel"),
        (Box(5, 5, 5.2, 9), "covers no pixel"),
        (Box(-2, 5, 5, 9), r"1 of its 2 points .* at \(-2, 5\). Correct them, or .* --clip"),
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


def test_outlines_are_cut_where_the_user_asks_for_it():
    ring = (-10, 3, 50, 3, 50, 12, -10, 12)
    runs, note = rasterize(Polygons((ring,)), SIZE, clip=True)
    expected = np.zeros(SIZE, np.uint8)
    expected[3:12] = 1
    np.testing.assert_array_equal(runs.to_mask(SIZE), expected)
    assert note == (
        "4 of its 4 points are outside the image of 40x24, by up to 10 pixels, and are cut at its "
        "border"
    )
    runs, note = rasterize(Box(-10, 3, 50, 12), SIZE, clip=True)
    np.testing.assert_array_equal(runs.to_mask(SIZE), expected)
    assert note.startswith("2 of its 2 points")
    # The edges are cut, not the corners moved: the slope stays.
    slanted = Polygons(((20, 0, 60, 0, 20, 40),))
    runs, _ = rasterize(slanted, SIZE, clip=True)
    x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(24) + 0.5)
    np.testing.assert_array_equal(runs.to_mask(SIZE), (x > 20) & (x + y < 60))
    for beyond in (Box(41.5, 2, 60, 9), Polygons(((-9, -9, -2, -9, -2, -2),))):
        with pytest.raises(LabelError, match="covers no pixel of the image"):
            rasterize(beyond, SIZE, clip=True)
    for wrong in (float("nan"), float("inf"), 1e300):
        with pytest.raises(LabelError, match="1 of its 3 points are outside"):
            rasterize(Polygons(((1, 1, wrong, 1, 5, 5),)), SIZE, clip=True)


def test_rings_that_cover_nothing_are_ignored_beside_others():
    ring = (2, 3, 9, 3, 9, 8, 2, 8)
    runs, note = rasterize(Polygons((ring, (5, 5), (7, 7, 8, 8), (1, 1, 5, 1, 3, 1))), SIZE)
    np.testing.assert_array_equal(runs.to_mask(SIZE), mask_of(Polygons((ring,))))
    assert note == "3 of its 4 rings cover no pixel and are ignored"
    with pytest.raises(LabelError, match="a polygon has 5 numbers"):
        rasterize(Polygons((ring, (1, 2, 3, 4, 5))), SIZE)


def test_corners_that_name_pixels_are_whole_and_inside():
    runs, note = rasterize(Polygons(((5, 5, 8, 5),), names_pixels=True), SIZE)
    assert (runs.to_mask(SIZE).sum(), note) == (4, "")
    for ring in ((5, 5, 8.5, 5), (5, 5, 40, 5), (-1, 5, 8, 5), (float("nan"), 5, 8, 5)):
        with pytest.raises(LabelError, match="not the numbers of pixels .* --polygons points"):
            rasterize(Polygons((ring,), names_pixels=True), SIZE)


def test_a_mask_of_a_part_lies_at_its_place():
    part = RleMask("1 2 5 1", (2, 3))
    expected = np.zeros(SIZE, np.uint8)
    expected[7:9, 20] = expected[7, 22] = 1
    np.testing.assert_array_equal(mask_of(PlacedMask(part, 20, 7)), expected)
    with pytest.raises(LabelError, match="covers no pixel"):
        mask_of(PlacedMask(RleMask("", (2, 3)), 20, 7))


def test_exchanged_sides_are_explained():
    with pytest.raises(LabelError, match="width and height are exchanged. The camera's EXIF"):
        mask_of(Box(1, 1, 2, 2, size=(40, 24)))
    with pytest.raises(LabelError) as error:
        mask_of(Box(1, 1, 2, 2, size=(41, 24)))
    assert "EXIF" not in str(error.value)


@pytest.mark.check(58)
def test_an_outline_of_very_many_corners_is_refused():
    for rings in (((1.5,) * 200_002,), ((1.0, 2.0, 3.0),) * 100_000):
        with pytest.raises(LabelError, match="more than 100,000 corners"):
            Polygons(rings)
