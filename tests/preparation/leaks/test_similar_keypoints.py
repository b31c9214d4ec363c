import numpy as np
import pytest

from defectkit.errors import OutputError
from defectkit.preparation.leaks import similar_keypoints
from defectkit.preparation.leaks.similar_keypoints import (
    MAX_DIFFERING_BITS,
    NEIGHBORS,
    NUMBER_BITS,
    SORTS,
    find_similar_keypoints,
)

CODE_BITS = similar_keypoints.DESCRIPTOR_BITS
PLACE_BITS = similar_keypoints.PLACE_BITS


def draw_keypoints(count, *, kinds=60, images=40, seed=0):
    """Descriptors of a few kinds, each with some bits turned, and the images that have them."""
    rng = np.random.default_rng(seed)
    code = rng.choice(rng.integers(0, 2**CODE_BITS, kinds), count)
    turned = (rng.random((count, CODE_BITS)) < 0.1) @ (1 << np.arange(CODE_BITS))
    place = rng.integers(0, 2**PLACE_BITS, count)
    packed = ((code ^ turned) << PLACE_BITS).astype(np.uint64) | place.astype(np.uint64)
    return packed, np.sort(rng.integers(0, images, count)).astype(np.int32)


def expected_pairs(packed, owner):
    """All pairs, found one by one."""
    codes = [int(one) >> PLACE_BITS for one in packed]
    found = set()
    for sort in range(SORTS):
        by = sort * CODE_BITS // SORTS
        rotated = [(code << by | code >> CODE_BITS - by) % 2**CODE_BITS for code in codes]
        order = sorted(range(len(codes)), key=lambda number: (rotated[number], number))
        for place, one in enumerate(order):
            for other in order[place + 1 : place + 1 + NEIGHBORS]:
                differing = (codes[one] ^ codes[other]).bit_count()
                if owner[one] != owner[other] and differing <= MAX_DIFFERING_BITS:
                    found.add((min(one, other), max(one, other)))
    return sorted(found)


def found_pairs(packed, owner, ends, folder=None):
    with find_similar_keypoints(packed, owner, folder) as similar:
        blocks = [*similar.split(ends)]
    for start, end, block in zip([0, *ends[:-1]], ends, blocks, strict=True):
        assert ((start <= block >> NUMBER_BITS) & (block >> NUMBER_BITS < end)).all()
    return [divmod(pair, 2**NUMBER_BITS) for pair in np.concatenate(blocks).tolist()]


@pytest.mark.parametrize("in_file", [False, True])
def test_the_pairs_are_those_of_all_sorts_however_few_are_held(tmp_path, monkeypatch, in_file):
    packed, owner = draw_keypoints(600)
    if in_file:
        monkeypatch.setattr(similar_keypoints, "MAX_HELD", 500)
        monkeypatch.setattr(similar_keypoints, "READ_AT_ONCE", 7)
        monkeypatch.setattr(similar_keypoints, "STEP", 100)
    expected = expected_pairs(packed, owner)
    assert len(expected) > 1500  # Several runs, where only 500 are held.
    assert found_pairs(packed, owner, [1, 150, 150, 599, 600], tmp_path) == expected
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_few_keypoints_are_compared_too(count):
    packed, owner = draw_keypoints(count, kinds=1, images=9)
    assert found_pairs(packed, owner, [count]) == expected_pairs(packed, owner)


def test_no_more_pairs_are_held_than_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(similar_keypoints, "MAX_HELD", 600)
    monkeypatch.setattr(similar_keypoints, "STEP", 500)
    monkeypatch.setattr(similar_keypoints, "READ_AT_ONCE", 100)
    packed, owner = draw_keypoints(2000, kinds=300)
    held, sort_once = [], similar_keypoints._sorted_once

    def spied(parts):
        held.append(sum(map(len, parts)))
        return sort_once(parts)

    monkeypatch.setattr(similar_keypoints, "_sorted_once", spied)
    pairs = found_pairs(packed, owner, [*range(20, 2001, 20)], tmp_path)
    assert len(pairs) > 5 * 600
    assert max(held) < 2 * 600


def test_a_folder_that_takes_no_file_is_an_error_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(similar_keypoints, "MAX_HELD", 500)
    packed, owner = draw_keypoints(600)
    with pytest.raises(OutputError, match=r"cannot write .*pairs of keypoints: .* Choose another"):
        found_pairs(packed, owner, [600], tmp_path / "missing")
