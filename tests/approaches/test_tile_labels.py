from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skimage.measure import label

from defectkit.approaches.tile_labels import (
    TileLabel,
    count_labels,
    count_pixels,
    label_tiles,
    scope_tiles,
    tile_starts,
)
from defectkit.data.dataset import ImageRecord
from defectkit.labels import rle
from defectkit.labels.scope import Scope
from defectkit.regions import measure_regions


def slow_label(mask: np.ndarray, row: int, column: int, tile: int, part: float) -> TileLabel:
    """The rule read aloud, pixel by pixel."""
    numbers = label(mask, connectivity=2)
    height, width = mask.shape
    within = [
        (y, x)
        for y in range(row, row + tile)
        for x in range(column, column + tile)
        if 0 <= y < height and 0 <= x < width
    ]
    held = [numbers[place] for place in within if mask[place]]
    if held and len(held) >= part * len(within):
        return TileLabel.COVERED
    if any(held.count(n) >= part * (numbers == n).sum() for n in range(1, numbers.max() + 1)):
        return TileLabel.WHOLE
    return TileLabel.PARTIAL if held else TileLabel.GOOD


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    density=st.floats(0, 1),
    tile=st.integers(1, 9),
    part=st.sampled_from([0.1, 0.5, 2 / 3, 1.0]),
)
@example(seed=0, height=5, width=5, density=1.0, tile=3, part=1.0)
@example(seed=0, height=11, width=13, density=0.5, tile=6, part=0.1)  # a tile just covered
def test_labels_are_those_of_a_slow_loop(seed, height, width, density, tile, part):
    rng = np.random.default_rng(seed)
    masks = (rng.random((2, height, width)) < density).astype(np.uint8)
    masks[1] &= rng.random((height, width)) < 0.3  # small regions
    corners = rng.integers(-tile, max(height, width) + 2, (12, 2))
    labels = label_tiles(masks, corners, tile=tile, min_coverage=part)
    expected = [
        [slow_label(mask, row, column, tile, part) for mask in masks]
        for row, column in corners.tolist()
    ]
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels, expected)


def drawn(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A mask (200, 200) of rectangles y, x, height, width."""
    mask = np.zeros((200, 200), np.uint8)
    for y, x, height, width in boxes:
        mask[y : y + height, x : x + width] = 1
    return mask


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 150, 150), TileLabel.COVERED),
        ((60, 60, 5, 5), TileLabel.WHOLE),  # a speck: 25 of 4096 pixels
        ((80, 30, 2, 90), TileLabel.WHOLE),  # a scratch, 64 of 90 pixels of it
        ((80, 20, 2, 110), TileLabel.PARTIAL),  # a longer one
        ((0, 0, 80, 200), TileLabel.PARTIAL),  # it covers half of the tile
        ((0, 0, 40, 200), TileLabel.GOOD),
    ],
)
def test_by_which_rule(box, expected):
    corners = np.array([[50, 50]])
    assert label_tiles(drawn(box)[None], corners, tile=64, min_coverage=2 / 3) == [[expected]]


def test_the_parts_of_two_defects_are_not_one_whole_defect():
    # Half of each of two: as many pixels as one has.
    masks = drawn((60, 40, 10, 20), (90, 40, 10, 20))[None]
    assert label_tiles(masks, np.array([[50, 50]]), tile=64, min_coverage=0.6) == TileLabel.PARTIAL


def test_a_tile_that_leaves_the_image_is_judged_by_the_part_within():
    masks = np.ones((1, 40, 40), np.uint8)
    corners = np.array([[-10, -10], [20, 30], [40, 0], [-16, 5]])
    labels = label_tiles(masks, corners, tile=16, min_coverage=1.0)
    assert labels[:, 0].tolist() == [
        TileLabel.COVERED,
        TileLabel.COVERED,
        TileLabel.GOOD,
        TileLabel.GOOD,
    ]


def test_pixels_are_counted_in_tiles_that_leave_the_image():
    mask = np.arange(12).reshape(3, 4).astype(np.uint8) % 2
    corners = np.array([[0, 0], [-1, -1], [2, 3], [5, 5]])
    assert count_pixels(mask, corners, tile=2).tolist() == [2, 0, 1, 0]


@given(length=st.integers(1, 90), tile=st.integers(1, 40), stride=st.integers(1, 40))
def test_every_pixel_is_in_as_many_tiles_as_any_other(length, tile, stride):
    stride = min(stride, tile)
    starts = tile_starts(length, tile=tile, stride=stride)
    assert set(np.diff(starts)) <= {stride}
    assert 0 in starts
    counts = np.array([((starts <= x) & (x < starts + tile)).sum() for x in range(length)])
    assert counts.min() >= tile // stride
    assert counts.max() <= -(-tile // stride)
    # None lies wholly outside.
    assert starts[0] > -tile
    assert starts[-1] < length


def test_counts_are_those_of_the_tiles_of_all_images():
    mask = drawn((100, 100, 5, 5), (0, 0, 90, 90))[:, :180]
    common = {"path": Path("nowhere"), "channels": 1, "sha256": "", "group": "", "split": "train"}
    records = [
        ImageRecord(
            image_id="a", height=200, width=180, rles={"2": rle.encode(mask)},
            regions=tuple(measure_regions(mask, "2")), **common,
        ),
        ImageRecord(image_id="b", height=64, width=70, rles={}, regions=(), **common),
    ]  # fmt: skip
    counts = count_labels(records, ("1", "2"), tile=64, stride=32, min_coverage=2 / 3)
    # Tiles start at -32, 0 ... below the side: 8 x 7 of the one image, 3 x 4 of the other.
    assert counts[0].tolist() == [56 + 12, 0, 0, 0]
    corners = [(y, x) for y in range(-32, 200, 32) for x in range(-32, 180, 32)]
    own = [slow_label(mask, *corner, 64, 2 / 3) for corner in corners]
    expected = np.bincount(own, minlength=4)
    expected[TileLabel.GOOD] += 12
    assert counts[1].tolist() == expected.tolist()
    assert (expected > 0).all()


def test_tiles_outside_of_the_region_do_not_count_and_ignored_pixels_make_no_tile_good():
    roi = np.zeros((40, 60), bool)
    roi[:, :30] = True
    ignored = np.zeros((40, 60), bool)
    ignored[30, 5] = True
    corners = np.array([(0, 0), (0, 22), (0, 23), (-8, 22), (25, 0), (25, 6), (25, 40)])
    counts, may_be_good = scope_tiles(Scope(roi, ignored), corners, tile=16)
    assert counts.tolist() == [True, True, False, True, True, True, False]
    assert may_be_good.tolist() == [True, True, False, True, False, True, False]
    assert all(one.all() for one in scope_tiles(Scope(), corners, tile=16))


def test_tiles_that_do_not_count_are_not_counted(tmp_path):
    record = ImageRecord(
        image_id="a", path=tmp_path, height=32, width=64, channels=1, sha256="", group="",
        split="train", rles={}, regions=(), roi="0,0,32,32",
    )  # fmt: skip
    counts = count_labels([record], ("1",), tile=16, stride=16, min_coverage=0.5)
    assert counts.tolist() == [[4, 0, 0, 0]]
