import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectkit.approaches.tile_labels import TileLabel, count_inside, label_tiles, tile_starts
from defectkit.labels.regions import label_regions


def one_tile(mask: np.ndarray, row: int, column: int, tile: int, least: float) -> TileLabel:
    """The rules as they are said, for one tile of one class."""
    inside = np.zeros(mask.shape, bool)
    inside[max(row, 0) : max(row + tile, 0), max(column, 0) : max(column + tile, 0)] = True
    held = int(mask[inside].sum())
    if not held:
        return TileLabel.GOOD
    if held >= least * inside.sum():
        return TileLabel.COVERED
    numbers, regions = label_regions(mask)
    for number, region in enumerate(regions, 1):
        if (numbers[inside] == number).sum() >= least * region.area:
            return TileLabel.WHOLE
    return TileLabel.BETWEEN


@given(seed=st.integers(0, 10_000), tile=st.integers(2, 12), least=st.sampled_from([0.3, 2 / 3, 1]))
@settings(max_examples=60)
def test_tiles_are_labeled_as_the_rules_say(seed, tile, least):
    rng = np.random.default_rng(seed)
    masks = (rng.random((2, 15, 19)) < rng.choice([0.0, 0.05, 0.3, 0.8])).astype(np.uint8)
    corners = rng.integers(-tile + 1, [15, 19], (20, 2))
    got = label_tiles(masks, corners, tile=tile, min_coverage=least)
    expected = [[one_tile(m, row, column, tile, least) for m in masks] for row, column in corners]
    np.testing.assert_array_equal(got, expected)


def test_a_small_defect_makes_a_tile_defective_and_a_corner_of_a_large_one_does_not():
    masks = np.zeros((1, 200, 200), np.uint8)
    masks[0, 20:24, 30:33] = 1
    masks[0, 100:180, 100:180] = 1
    corners = np.array([[0, 0], [24, 0], [22, 0], [60, 60], [110, 110]])
    labels = label_tiles(masks, corners, tile=64, min_coverage=2 / 3)[:, 0]
    assert labels.tolist() == [
        TileLabel.WHOLE, TileLabel.GOOD, TileLabel.BETWEEN, TileLabel.BETWEEN, TileLabel.COVERED,
    ]  # fmt: skip


def test_pixels_are_counted_also_beyond_the_border():
    mask = np.ones((5, 7), np.uint8)
    corners = np.array([[0, 0], [-2, -2], [3, 5], [9, 9], [-9, 0]])
    assert count_inside(mask, corners, tile=4).tolist() == [16, 4, 4, 0, 0]


@pytest.mark.parametrize("length", [1, 16, 63, 64, 65, 200])
@pytest.mark.parametrize(("tile", "stride"), [(64, 64), (64, 16), (64, 24), (20, 1)])
def test_every_pixel_lies_in_equally_many_tiles(length, tile, stride):
    starts = tile_starts(length, tile=tile, stride=stride)
    counts = [((starts <= pixel) & (pixel < starts + tile)).sum() for pixel in range(length)]
    assert min(counts) >= max(tile // stride, 1)
    assert max(counts) - min(counts) <= (tile % stride > 0)
