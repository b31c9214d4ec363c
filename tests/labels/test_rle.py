import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from defectkit.labels.rle import RleError, Runs, decode, encode, encode_pixels, parse_runs

SHAPE = (3, 4)  # 12 pixels; not symmetric, so that a swap of rows and columns shows.

SIDES = st.integers(1, 12)
MASKS = hnp.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1))
BASES = st.sampled_from([0, 1])
ORDERS = st.sampled_from(["column", "row"])


def canonical(text, shape, base=1, order="column"):
    runs = parse_runs(text, shape[0] * shape[1], base=base)
    return (runs if order == "column" else runs.rows_to_columns(shape)).to_text()


def pairs_by_hand(mask, base, order):
    """Pixel by pixel, from the definition."""
    pixels = (mask if order == "row" else mask.T).reshape(-1).tolist()
    pairs = []
    for index, pixel in enumerate(pixels):
        if pixel and index and pixels[index - 1]:
            pairs[-1][1] += 1
        elif pixel:
            pairs.append([index + base, 1])
    return pairs


def as_text(pairs):
    return " ".join(f"{start} {length}" for start, length in pairs)


def decode_by_hand(rle, shape, base):
    """Decode with Python's own integers and a set of pixels; None where the text is malformed."""
    tokens = re.split(r"[ \t\r\n]+", rle.strip(" \t\r\n")) if rle.strip(" \t\r\n") else []
    if len(tokens) % 2 or not all(re.fullmatch("[0-9]+", token) for token in tokens):
        return None
    size = shape[0] * shape[1]
    flat = [0] * size
    for start, length in zip(tokens[::2], tokens[1::2], strict=True):
        first, last = int(start) - base, int(start) - base + int(length) - 1
        if first < 0 or last < first or last >= size or any(flat[first : last + 1]):
            return None
        flat[first : last + 1] = [1] * int(length)
    return np.array(flat).reshape(shape[1], shape[0]).T


def test_decode_follows_the_worked_example():
    # Kaggle's rule: pixels are numbered from 1, from top to bottom, then from left to right.
    down = [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
    right = [[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(decode("2 3 12 1", SHAPE), down)
    np.testing.assert_array_equal(decode("2 3 11 1", SHAPE, base=0, order="row"), right)


@given(MASKS, BASES, ORDERS)
def test_round_trip_is_exact_and_the_text_is_the_definition(mask, base, order):
    rle = encode(mask, base=base, order=order)
    assert rle == as_text(pairs_by_hand(mask, base, order))
    decoded = decode(rle, mask.shape, base=base, order=order)
    np.testing.assert_array_equal(decoded, mask, strict=True)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
@given(MASKS)
def test_agrees_with_pycocotools(mask):
    packed = coco.encode(np.asfortranarray(mask))
    np.testing.assert_array_equal(decode(encode(mask), mask.shape), coco.decode(packed))
    runs = parse_runs(encode(mask), mask.size)
    assert runs.lengths.sum() == coco.area(packed)


@pytest.mark.check(18)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_many_masks_that_are_not_symmetric_come_back_and_equal_pycocotools(tally):
    rng = np.random.default_rng(18)
    for _ in range(tally.number(short=300, full=10_000)):
        height, width = rng.choice(np.arange(2, 40), 2, replace=False)
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        with tally.case(mask.tolist()):
            for order in ("column", "row"):
                text = encode(mask, order=order)
                np.testing.assert_array_equal(decode(text, mask.shape, order=order), mask)
            packed = coco.encode(np.asfortranarray(mask))
            np.testing.assert_array_equal(decode(encode(mask), mask.shape), coco.decode(packed))


@given(MASKS, BASES, ORDERS, st.randoms(use_true_random=False))
def test_canonical_sorts_merges_and_renumbers(mask, base, order, random):
    pixels = [
        (start + i, 1) for start, length in pairs_by_hand(mask, base, order) for i in range(length)
    ]
    random.shuffle(pixels)
    text = as_text(pixels)
    assert canonical(text, mask.shape, base=base, order=order) == encode(mask)
    runs = parse_runs(text, mask.size, base=base)
    assert runs.was_unsorted == (pixels != sorted(pixels))
    assert runs.starts.tolist() == sorted(start - base for start, _ in pixels)
    assert runs.lengths.tolist() == [1] * len(pixels)


@pytest.mark.parametrize(
    "text",
    ["2 3 12 1", "02 3 12 1", "2 03 12 1", " 2 3 12 1", "2 3 12 1\n", "2  3 12 1", "2 3\t12 1",
     "2 1 3 2 12 1", "12 1 2 3"],
)  # fmt: skip
def test_however_it_is_spelled_canonical_form_is_one(text):
    assert canonical(text, SHAPE) == "2 3 12 1"


@given(MASKS)
def test_columns_are_those_of_the_mask_from_the_first_to_the_last_defect(mask):
    if not mask.any():
        return
    part, first = parse_runs(encode(mask), mask.size).to_columns(len(mask))
    columns = np.flatnonzero(mask.any(axis=0))
    assert (part.dtype, first) == (np.uint8, columns[0])
    np.testing.assert_array_equal(part, mask[:, columns[0] : columns[-1] + 1])


@given(MASKS, ORDERS)
def test_runs_of_a_mask_are_those_of_its_text(mask, order):
    runs, parsed = (
        Runs.from_mask(mask, order=order),
        parse_runs(encode(mask, order=order), mask.size),
    )
    assert runs.stretches.tolist() == parsed.stretches.tolist()
    np.testing.assert_array_equal(runs.to_mask(mask.shape, order=order), mask, strict=True)
    if order == "column":
        assert runs.to_text() == encode(mask)


@given(st.tuples(SIDES, SIDES).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))] * 3)
))  # fmt: skip
def test_union_is_the_mask_of_all(masks):
    runs = [parse_runs(encode(mask), mask.size) for mask in masks]
    assert runs[0].union(runs[1]).to_text() == encode(masks[0] | masks[1])
    assert runs[0].union(*runs[1:]).to_text() == encode(masks[0] | masks[1] | masks[2])
    assert runs[0].union().to_text() == encode(masks[0])


def test_unsorted_runs_keep_their_lengths():
    runs = parse_runs("9 4 1 2 5 4", 12)
    assert (runs.starts.tolist(), runs.lengths.tolist()) == ([0, 4, 8], [2, 4, 4])
    assert runs.was_unsorted
    assert not parse_runs("1 2 5 4 9 4", 12).was_unsorted
    assert canonical("9 4 1 2 5 4", SHAPE) == "1 2 5 8"


@pytest.mark.parametrize("blank", ["", " ", "\n", " \t\r\n "])
@pytest.mark.parametrize("base", [0, 1])
def test_blank_text_is_an_empty_mask(blank, base):
    mask = decode(blank, SHAPE, base=base)
    np.testing.assert_array_equal(mask, np.zeros(SHAPE, np.uint8), strict=True)
    runs = parse_runs(blank, 12, base=base)
    assert len(runs.starts) == len(runs.lengths) == 0
    assert not runs.was_unsorted
    assert encode(mask) == canonical(blank, SHAPE, base=base) == ""


@pytest.mark.parametrize("rle", [" 2 3 12 1", "2 3 12 1 ", "2\t3\r\n12  1\n", "002 03 0012 1"])
def test_white_space_and_leading_zeros_change_nothing(rle):
    assert canonical(rle, SHAPE) == "2 3 12 1"


def test_encode_takes_any_kind_and_layout_of_mask():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (37, 53), np.uint8)
    expected = encode(mask)
    for same in (mask > 0, mask * 255, np.asfortranarray(mask), mask.astype(np.int64) * -7):
        assert encode(same) == expected
    wide = np.zeros((74, 106), np.uint8)
    wide[::2, ::2] = mask
    assert encode(wide[::2, ::2]) == expected
    assert encode(wide[::2, ::2], order="row") == encode(mask, order="row")


def test_encode_leaves_the_mask_as_it_was():
    mask = np.eye(5, dtype=np.uint8)
    encode(mask)
    np.testing.assert_array_equal(mask, np.eye(5))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_images_without_pixels_hold_no_runs(shape):
    assert decode("", shape).shape == shape
    assert encode(np.zeros(shape, np.uint8)) == ""
    with pytest.raises(RleError, match="past the last"):
        decode("1 1", shape)


HUGE = "9" * 40
MALFORMED = [
    # An odd count of numbers.
    ("1", 1, r"odd \(1\)"),
    ("1 3 7", 1, r"odd \(3\)"),
    ("1 3 7 2 9", 1, r"odd \(5\)"),
    ("0", 0, r"odd \(1\)"),
    (HUGE, 1, r"odd \(1\)"),
    # Not whole numbers.
    ("1.5 3", 1, r"'1\.5' in pair 1 is not a whole number"),
    ("1 3.0", 1, r"'3\.0' in pair 1 is not a whole number"),
    ("1 2 1e1 1", 1, r"'1e1' in pair 2 is not a whole number"),
    ("0x1 3", 1, r"'0x1' in pair 1 is not"),
    ("1_0 1", 1, r"'1_0' in pair 1 is not"),
    ("+1 3", 1, r"'\+1' in pair 1 is not"),
    ("1 +3", 1, r"'\+3' in pair 1 is not"),
    ("nan 3", 1, r"'nan' in pair 1 is not"),
    ("1 NaN", 1, r"'NaN' in pair 1 is not"),
    ("inf 1", 1, r"'inf' in pair 1 is not"),
    ("a b", 1, r"'a' in pair 1 is not"),
    ("1 3 x", 1, r"'x' in pair 2 is not"),
    ("1,3", 1, r"'1,3' in pair 1 is not"),
    ("1, 3", 1, r"'1,' in pair 1 is not"),
    ("1 3;5 2", 1, r"'3;5' in pair 1 is not"),
    ("[1 3]", 1, r"'\[1' in pair 1 is not"),
    ('"1 3"', 1, r"in pair 1 is not"),
    ("1:3", 1, r"'1:3' in pair 1 is not"),
    ("1-3", 1, r"'1-3' in pair 1 is not"),
    ("- 3", 1, r"'-' in pair 1 is not"),
    ("1 3\0 5 2", 1, r"'3\\x00' in pair 1 is not"),
    ("1\v3", 1, r"'1\\x0b3' in pair 1 is not"),
    ("1\u00a03", 1, r"'1\\xa03' in pair 1 is not"),
    ("1\u30003", 1, r"'1\\u30003' in pair 1 is not"),
    ("\uff11 \uff13", 1, r"'\\uff11' in pair 1 is not"),
    ("\u0661 3", 1, r"'\\u0661' in pair 1 is not"),
    ("\u00b2 3", 1, r"'\\xb2' in pair 1 is not"),
    ("\ufeff1 3", 1, r"'\\ufeff1' in pair 1 is not"),
    ("\ud800 3", 1, r"'\\ud800' in pair 1 is not"),
    ("z" * 10_000, 1, r"'z{24}\.\.\.' in pair 1 is not"),
    # Negative numbers.
    ("-1", 1, r"start -1 in pair 1 is negative"),
    ("-1 3", 0, r"start -1 in pair 1 is negative"),
    ("5 -2", 1, r"length -2 in pair 1 is negative"),
    ("1 2 5 -2", 1, r"length -2 in pair 2 is negative"),
    ("-0 1", 0, r"start -0 in pair 1 is negative"),
    # Zero lengths.
    ("5 0", 1, r"run 5 0 \(pair 1\) has length 0"),
    ("1 3 5 0", 1, r"run 5 0 \(pair 2\) has length 0"),
    ("1 3 5 00 7 1", 0, r"run 5 0 \(pair 2\) has length 0"),
    ("9 1 5 0", 1, r"run 5 0 \(pair 2\) has length 0"),
    # Starts before the base.
    ("0 5", 1, r"run 0 5 \(pair 1\) starts before the first pixel, 1"),
    ("4 2 0 1", 1, r"run 0 1 \(pair 2\) starts before the first pixel, 1"),
    # Past the end.
    ("13 1", 1, r"run 13 1 \(pair 1\) ends at pixel 13, past the last, 12"),
    ("12 1", 0, r"run 12 1 \(pair 1\) ends at pixel 12, past the last, 11"),
    ("12 2", 1, r"run 12 2 \(pair 1\) ends at pixel 13, past the last, 12"),
    ("1 13", 1, r"run 1 13 \(pair 1\) ends at pixel 13, past the last, 12"),
    ("1 2 11 3", 1, r"run 11 3 \(pair 2\) ends at pixel 13"),
    ("11 3 1 2", 1, r"run 11 3 \(pair 1\) ends at pixel 13"),
    # Overlaps and repeated pixels.
    ("1 3 3 2", 1, r"runs 1 3 and 3 2 overlap at pixel 3"),
    ("1 3 1 3", 1, r"runs 1 3 and 1 3 overlap at pixel 1"),
    ("3 2 1 3", 1, r"runs 1 3 and 3 2 overlap at pixel 3"),
    ("0 12 4 1", 0, r"runs 0 12 and 4 1 overlap at pixel 4"),
    ("1 12 12 1", 1, r"runs 1 12 and 12 1 overlap at pixel 12"),
    # Numbers that int64 cannot hold, and sums that would wrap around to fit.
    (f"{HUGE} 1", 1, r"pair 1 has a number that is too large"),
    (f"1 {HUGE}", 1, r"pair 1 has a number that is too large"),
    (f"1 2 5 {2**63}", 1, r"pair 2 has a number that is too large"),
    (f"{2**64 + 1} 3", 1, r"pair 1 has a number that is too large"),
    (f"{2**63 - 2} 1", 1, r"past the last, 12"),
    (f"1 {2**63 - 2}", 1, rf"ends at pixel {2**63 - 2}, past the last"),
    (f"{2**62} {2**62} 1 1", 1, rf"ends at pixel {2**63 - 1}, past the last"),
    (f"0 {2**62} {2**62} {2**62} 1 1", 0, r"past the last, 11"),
]


@pytest.mark.check(1)
@pytest.mark.parametrize(("rle", "base", "message"), MALFORMED)
def test_malformed_text_is_refused_with_its_reason(rle, base, message):
    for order in ("column", "row"):
        with pytest.raises(RleError, match=message) as caught:
            decode(rle, SHAPE, base=base, order=order)
        assert len(str(caught.value)) < 150
    with pytest.raises(RleError, match=message):
        parse_runs(rle, 12, base=base)


# Numbers around the ends of the image and of the machine's integers.
NUMBERS = st.one_of(
    st.integers(0, 14),
    st.sampled_from([2**31, 2**32, 2**62, 2**63 - 13, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]),
)


@pytest.mark.check(1)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), BASES)
@example([(2**62, 2**62)] * 4, 0)
@example([(0, 2**62), (2**62, 2**62), (2**63 - 1, 1)], 0)
def test_any_pairs_are_decoded_exactly_or_refused(pairs, base):
    expected = decode_by_hand(as_text(pairs), SHAPE, base)
    try:
        mask = decode(as_text(pairs), SHAPE, base=base)
    except RleError:
        assert expected is None
    else:
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.check(1)
@given(st.text(st.sampled_from("0123456789   \t\n-+.,exNa\0\u0663\u00a0\v"), max_size=12), BASES)
@example("1 1 3 2\v", 1)
def test_any_text_is_decoded_exactly_or_refused(rle, base):
    expected = decode_by_hand(rle, SHAPE, base)
    try:
        mask = decode(rle, SHAPE, base=base)
    except RleError:
        assert expected is None
    else:
        np.testing.assert_array_equal(mask, expected)
        assert mask.dtype == np.uint8


def test_many_runs_and_large_images():
    rng = np.random.default_rng(0)
    for shape in ((256, 1600), (1600, 256)):
        mask = rng.integers(0, 2, shape, np.uint8)
        rle = encode(mask)
        assert len(rle) > 131_072  # Longer than a cell that the csv module takes by default.
        np.testing.assert_array_equal(decode(rle, shape), mask)
        tokens = rle.split()
        pairs = list(zip(tokens[::2], tokens[1::2], strict=True))
        assert canonical(as_text(reversed(pairs)), shape) == rle


@given(MASKS, st.randoms())
def test_pixels_are_encoded_as_their_mask(mask, random):
    pixels = np.flatnonzero(mask).tolist()
    random.shuffle(pixels)
    assert encode_pixels(np.array(pixels, np.int32), mask.shape) == encode(mask)
