from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from defectkit.data.tiles import Tile, blend_weight, cover_with_tiles

sides = st.integers(1, 500)


@st.composite
def coverings(draw):
    size = draw(st.integers(1, 200))
    overlap = draw(st.integers(0, size - 1))
    # The number of tiles goes by this step: keep it small enough to check each.
    assume(size - overlap > 2)
    return draw(sides), draw(sides), size, overlap


@given(coverings())
def test_tiles_cover_every_pixel_and_stay_inside(covering):
    height, width, size, overlap = covering
    tiles = list(cover_with_tiles(height, width, size=size, overlap=overlap))
    seen = np.zeros((height, width), bool)
    for tile in tiles:
        assert tile.x >= 0
        assert tile.y >= 0
        assert tile.x + tile.width <= width
        assert tile.y + tile.height <= height
        seen[tile.window] = True
    assert seen.all()
    assert len(set(tiles)) == len(tiles)


@given(coverings())
def test_tiles_have_one_size_and_neighbors_overlap_as_asked(covering):
    height, width, size, overlap = covering
    tiles = list(cover_with_tiles(height, width, size=size, overlap=overlap))
    assert {(tile.height, tile.width) for tile in tiles} == {(min(size, height), min(size, width))}
    for start, length in (("x", "width"), ("y", "height")):
        starts = sorted({getattr(tile, start) for tile in tiles})
        for one, next_one in pairwise(starts):
            assert one + getattr(tiles[0], length) - next_one >= overlap


@given(coverings())
def test_there_are_no_more_tiles_than_needed(covering):
    height, width, size, overlap = covering
    columns = len({tile.x for tile in cover_with_tiles(height, width, size=size, overlap=overlap)})
    # One tile fewer could not reach both ends with the overlap asked for.
    assert columns == 1 or (columns - 1) * (size - overlap) + overlap < width


def test_an_image_of_the_size_of_a_tile_is_one_tile():
    assert list(cover_with_tiles(64, 40, size=64, overlap=16)) == [Tile(0, 0, 40, 64)]
    assert [(tile.x, tile.y) for tile in cover_with_tiles(64, 65, size=64, overlap=16)] == [
        (0, 0),
        (1, 0),
    ]


def test_the_window_is_rows_then_columns():
    image = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(image[Tile(x=3, y=1, width=2, height=3).window], image[1:4, 3:5])


@given(coverings(), st.floats(0, 1))
def test_blending_tiles_of_a_map_gives_the_map(covering, value):
    height, width, size, overlap = covering
    scores = np.full((height, width), value, np.float32)
    scores[:: 1 + height // 3] = 1 - value
    total, weights = np.zeros_like(scores), np.zeros_like(scores)
    for tile in cover_with_tiles(height, width, size=size, overlap=overlap):
        weight = blend_weight(tile, overlap)
        total[tile.window] += scores[tile.window] * weight
        weights[tile.window] += weight
    np.testing.assert_allclose(total / weights, scores, atol=1e-5)


@given(sides, sides, st.integers(0, 200))
def test_weights_are_above_0_symmetric_and_1_far_from_the_sides(height, width, overlap):
    weight = blend_weight(Tile(7, 9, width, height), overlap)
    assert (weight.shape, weight.dtype) == ((height, width), np.float32)
    assert weight.min() > 0
    assert weight.max() <= 1
    np.testing.assert_array_equal(weight, weight[::-1])
    np.testing.assert_array_equal(weight, weight[:, ::-1])
    assert (weight[overlap : height - overlap, overlap : width - overlap] == 1).all()


def test_across_an_overlap_one_tile_fades_into_the_other():
    left, right = cover_with_tiles(50, 110, size=60, overlap=10)
    assert (left.x + left.width, right.x) == (60, 50)
    row = np.zeros((2, 110))
    for tile, shares in zip((left, right), row, strict=True):
        shares[tile.x : tile.x + tile.width] = blend_weight(tile, 10)[25]
    share = row[1] / row.sum(axis=0)
    assert share[50] == pytest.approx(1 / 11)
    assert (np.diff(share[49:61]) > 0).all()
    np.testing.assert_allclose(np.diff(share[50:60]), 1 / 11, atol=1e-6)


@pytest.mark.parametrize(("size", "overlap"), [(10, 10), (10, 12), (10, -1)])
def test_an_overlap_that_leaves_no_step_is_refused(size, overlap):
    with pytest.raises(AssertionError):
        list(cover_with_tiles(100, 100, size=size, overlap=overlap))
