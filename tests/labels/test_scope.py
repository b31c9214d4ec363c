import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.scope import (
    EVERYWHERE,
    Scope,
    count_roi,
    decode_roi,
    encode_roi,
    format_box,
    parse_box,
    read_scope,
)

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.bool_, shape)
)
sides = st.integers(1, 12)


def test_without_texts_all_pixels_count():
    assert read_scope("", "", (4, 5)) is EVERYWHERE
    assert EVERYWHERE.counted is None


@given(mask=masks)
def test_a_region_is_read_as_it_was_written(mask):
    if not mask.any():
        with pytest.raises(LabelError, match="has no pixel: in its mask 0 is outside"):
            encode_roi(mask)
        return
    text = encode_roi(mask)
    assert (text == "") == mask.all()
    if text:
        np.testing.assert_array_equal(decode_roi(text, mask.shape), mask)
        assert count_roi(text) == mask.sum()


@given(x=st.integers(0, 8), y=st.integers(0, 8), width=sides, height=sides)
def test_a_box_is_its_pixels_or_refused(x, y, width, height):
    text = format_box((x, y, width, height))
    assert parse_box(text) == (x, y, width, height)
    if x + width > 10 or y + height > 9:
        with pytest.raises(LabelError, match=r"is not inside the image of 10x9 pixels"):
            decode_roi(text, (9, 10))
        return
    mask = decode_roi(text, (9, 10))
    assert mask.sum() == count_roi(text) == width * height
    assert mask[y : y + height, x : x + width].all()


@pytest.mark.parametrize("text", ["1,2,3,4", " 1, 2,3 ,4 ", "[1, 2, 3, 4]", "(1;2;3;4)"])
def test_boxes_are_read_as_people_write_them(text):
    assert parse_box(text) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "1 2 3 4", "a,b,c,d", "-1,0,3,3", "1.5,0,3,3"]
)
def test_other_text_is_no_box(text):
    assert parse_box(text) is None


def test_a_box_without_pixels_is_refused():
    with pytest.raises(LabelError, match="not inside"):
        decode_roi("2,2,0,3", (9, 10))


@given(roi=masks, data=st.data())
def test_what_counts_is_inspected_and_not_ignored(roi, data):
    ignored = data.draw(arrays(np.bool_, roi.shape))
    np.testing.assert_array_equal(Scope(roi, ignored).counted, roi & ~ignored)
    np.testing.assert_array_equal(Scope(ignored=ignored).counted, ~ignored)
    assert Scope(roi).counted is roi
    read = read_scope("0,0,1,1", rle.encode(ignored), roi.shape)
    assert read.roi.sum() == 1
    if ignored.any():
        np.testing.assert_array_equal(read.ignored, ignored)
    else:
        assert read.ignored is None
