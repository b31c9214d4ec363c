import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy import ndimage

from defectkit.labels.rle import decode, encode
from defectkit.regions import StripRegions, label_regions, measure_regions

SIDES = st.integers(1, 14)
MASKS = hnp.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1))
EIGHT = np.ones((3, 3))


def from_picture(*rows):
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_two_regions_give_two_boxes_of_the_right_sides():
    # Wider than high, and off the diagonal, so that no swap of x and y or of sides goes unseen.
    mask = np.zeros((20, 30), np.uint8)
    mask[12:14, 5:11] = 1
    mask[3:8, 21:24] = 1
    _, regions = label_regions(mask)
    assert [region.box_xywh for region in regions] == [(21, 3, 3, 5), (5, 12, 6, 2)]
    assert [region.area for region in regions] == [15, 12]


def test_a_region_in_the_hole_of_another_is_found_and_holes_have_no_area():
    mask = from_picture(
        ".......",
        ".#####.",
        ".#...#.",
        ".#.#.#.",
        ".#...#.",
        ".#####.",
        ".......",
    )
    labels, regions = label_regions(mask)
    assert [(region.box_xywh, region.area) for region in regions] == [
        ((1, 1, 5, 5), 16),
        ((3, 3, 1, 1), 1),
    ]
    assert labels[3, 3] == 2
    assert labels[2, 2] == 0


def test_pixels_that_touch_at_corners_are_one_region_and_may_touch_all_edges():
    mask = from_picture("#...", ".#..", "..##")
    labels, (region,) = label_regions(mask)
    assert region.box_xywh == (0, 0, 4, 3)
    assert region.area == 4
    np.testing.assert_array_equal(labels, mask)


def test_regions_in_one_row_and_at_both_ends_of_neighboring_rows_stay_apart():
    # The last pixel of a row and the first of the next follow each other in memory.
    mask = from_picture("...#", "#...", "....", "##.#")
    labels, regions = label_regions(mask)
    assert [region.box_xywh for region in regions] == [
        (3, 0, 1, 1),
        (0, 1, 1, 1),
        (0, 3, 2, 1),
        (3, 3, 1, 1),
    ]
    np.testing.assert_array_equal(labels, [[0, 0, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0], [3, 3, 0, 4]])


@given(MASKS, st.booleans())
def test_labels_and_measures_agree_with_scipy(mask, fortran):
    labels, regions = label_regions(np.asfortranarray(mask) if fortran else mask)
    assert labels.dtype == np.int32
    reference, count = ndimage.label(mask, EIGHT)
    assert len(regions) == count == labels.max()
    np.testing.assert_array_equal(labels > 0, reference > 0)
    # Each label of ours goes with exactly one of the reference's.
    assert len(np.unique(np.stack([labels, reference], axis=-1)[mask > 0], axis=0)) == count
    keys = [(region.box_xywh[1], region.box_xywh[0]) for region in regions]
    assert keys == sorted(keys)
    for number, region in enumerate(regions, start=1):
        rows, columns = ndimage.find_objects(labels == number, 1)[0]
        x, y, width, height = region.box_xywh
        assert (x, x + width, y, y + height) == (
            columns.start,
            columns.stop,
            rows.start,
            rows.stop,
        )
        assert region.area == np.count_nonzero(labels == number)
        assert all(type(value) is int for value in (*region.box_xywh, region.area))


@given(MASKS, st.booleans())
def test_measures_are_those_of_the_labeled_regions(mask, fortran):
    _, regions = label_regions(mask)
    measured = measure_regions(np.asfortranarray(mask) if fortran else mask)
    assert measured == regions
    assert all(type(value) is int for one in measured for value in (*one.box_xywh, one.area))


@given(MASKS)
def test_boxes_agree_with_pycocotools(mask):
    labels, regions = label_regions(mask)
    for number, region in enumerate(regions, start=1):
        packed = coco.encode(np.asfortranarray(labels == number).view(np.uint8))
        assert coco.toBbox(packed).tolist() == list(region.box_xywh)
        assert coco.area(packed) == region.area


@pytest.mark.check(31)
def test_boxes_of_many_masks_agree_with_pycocotools(tally):
    rng = np.random.default_rng(31)
    for _ in range(tally.number(short=300, full=10_000)):
        mask = (rng.random(rng.integers(1, 24, 2)) < rng.random() ** 2).astype(np.uint8)
        with tally.case(mask.tolist()):
            labels, regions = label_regions(mask)
            packed = [
                coco.encode(np.asfortranarray(labels == number).view(np.uint8))
                for number in range(1, len(regions) + 1)
            ]
            boxes = [list(region.box_xywh) for region in regions]
            assert boxes == [coco.toBbox(one).tolist() for one in packed]
            assert [list(region.box_xywh) for region in measure_regions(mask)] == boxes


def test_regions_whose_boxes_share_a_corner_have_a_fixed_order():
    mask = from_picture(".#..#", "#..#.", "..#..", ".#...", "#....")
    expected = [(0, 0, 2, 2), (0, 0, 5, 5)]
    assert [region.box_xywh for region in label_regions(mask)[1]] == expected
    assert [region.box_xywh for region in measure_regions(mask)] == expected
    # Upside down, OpenCV comes upon them the other way round.
    flipped = [(0, 0, 5, 5), (0, 3, 2, 2)]
    assert [region.box_xywh for region in label_regions(mask[::-1])[1]] == flipped
    assert [region.box_xywh for region in measure_regions(mask[::-1])] == flipped


@pytest.mark.parametrize("shape", [(5, 7), (0, 7), (0, 0)])
def test_an_empty_mask_has_no_regions(shape):
    labels, regions = label_regions(np.zeros(shape, bool))
    assert regions == []
    assert measure_regions(np.zeros(shape, bool)) == []
    assert labels.shape == shape
    assert labels.dtype == np.int32


def test_every_kind_of_mask_gives_the_same():
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=(60, 90)), 2) > 0.1
    expected, regions = label_regions(mask)
    assert len(regions) > 5
    wide = np.zeros((120, 180), np.uint8)
    wide[::2, ::2] = mask
    for same in (
        mask.astype(np.uint8) * 255,
        mask.astype(np.float32) * -0.5,
        decode(encode(mask), mask.shape),
        wide[::2, ::2],
    ):
        np.testing.assert_array_equal(label_regions(same)[0], expected)
        assert measure_regions(same) == regions


@given(MASKS, st.integers(1, 5))
def test_regions_of_strips_are_those_of_the_whole_mask(mask, rows):
    region_map, regions = label_regions(mask)
    strips = StripRegions()
    parts = np.concatenate(
        [strips.add(mask[top : top + rows] > 0) for top in range(0, len(mask), rows)]
    )
    assert strips.boxes() == [region.box_xywh for region in regions]
    numbers = strips.regions_of(parts[mask > 0])
    pairs = {*zip(numbers.tolist(), region_map[mask > 0].tolist(), strict=True)}
    assert len(pairs) == len(regions) == len(dict(pairs))
    last = set(region_map[-1].tolist()) - {0}
    assert {dict(pairs)[one] for one in strips.open_regions().tolist() if one} == last
