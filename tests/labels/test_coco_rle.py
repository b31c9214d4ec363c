import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as pycoco

from defectkit.labels import rle
from defectkit.labels.coco_rle import compress, parse_counts, runs_from_counts, runs_to_counts
from defectkit.labels.rle import RleError, Runs

SIDES = st.integers(1, 12)
MASKS = hnp.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1))
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def canonical(counts, shape):
    return runs_from_counts(counts, shape).to_text()


@quiet
@given(MASKS)
def test_both_ways_agree_with_pycocotools(mask):
    packed = pycoco.encode(np.asfortranarray(mask))
    text = packed["counts"].decode()
    counts = runs_to_counts(Runs.from_mask(mask))
    assert compress(counts) == text
    assert parse_counts(text).tolist() == counts
    assert canonical(text, mask.shape) == canonical(counts, mask.shape) == rle.encode(mask)


@given(st.lists(st.integers(0, 2**30), max_size=9))
def test_numbers_of_any_length_come_back(counts):
    assert parse_counts(compress(counts)).tolist() == counts


@pytest.mark.parametrize(
    "counts", [[0, 12], [0, 3, 0, 2, 7], [2, 0, 1, 9], [12], [0, 0, 12], [6, 6, 0]]
)
def test_empty_stretches_are_allowed(counts):
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    assert canonical(counts, (3, 4)) == rle.encode(flat.reshape(4, 3).T)
    assert canonical(compress(counts), (3, 4)) == canonical(counts, (3, 4))


@pytest.mark.check(1)
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "they sum to 0"),
        ([5, 3], "mask of 12 pixels: one is negative or they sum to 8"),
        ([5, 8], "they sum to 13"),
        ([5, -3, 10], "not all whole numbers"),
        ([5, 3.0, 4], "not all whole numbers"),
        ([True, 11], "not all whole numbers"),
        (["5", 7], "not all whole numbers"),
        ([2**62, 2**62, 2**62, 2**62, 12], "not all whole numbers"),
        ("", "they sum to 0"),
        ("53", "they sum to 8"),
        ("5 7", "a character that COCO does not write"),
        ("5\xb7", "a character that COCO does not write"),
        ("57q", "a character that COCO does not write"),
        ("5W", "end within a number"),
        ("5" + "P" * 8 + "1", "a number that is too large"),
        ("5OH", "they sum to"),
        (compress([5, 7, 5, 1]), "they sum to 18"),
    ],
)
def test_counts_that_do_not_fill_the_mask_are_refused(counts, message):
    with pytest.raises(RleError, match=message):
        canonical(counts, (3, 4))


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_any_text_is_a_mask_of_the_size_or_refused(text):
    try:
        mask = rle.decode(canonical(text, (3, 4)), (3, 4))
    except RleError:
        return
    assert set(np.unique(mask)) <= {0, 1}
    assert parse_counts(text).sum() == 12
