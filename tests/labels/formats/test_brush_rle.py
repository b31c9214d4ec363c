import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.brush_rle import decode_brush

SIZE = (3, 2)
HEAD = f"{24:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))


def stream(bits):
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_repeated_values_and_lists_of_values():
    bits = HEAD + f"1{0:02b}{7:03b}{0:08b}"  # 8 bytes of 0: two pixels
    bits += f"0{1:02b}{3:04b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 200))  # one pixel
    bits += f"1{2:02b}{11:08b}{255:08b}"  # 12 bytes of 255: three pixels
    mask = decode_brush(stream(bits), SIZE)
    np.testing.assert_array_equal(mask, [[False, False], [True, True], [True, True]])


def test_stretches_may_begin_and_end_within_a_pixel():
    values = np.random.default_rng(3).integers(0, 2, 24) * 200
    bits, at = HEAD, 0
    for length in (1, 6, 2, 8, 7):
        own = values[at : at + length]
        bits += f"0{1:02b}{length - 1:04b}" + "".join(f"{value:08b}" for value in own)
        at += length
    mask = decode_brush(stream(bits), SIZE)
    np.testing.assert_array_equal(mask, values.reshape(3, 2, 4)[:, :, 3] > 0)


def test_masks_that_are_too_large_are_refused_before_they_are_made():
    with pytest.raises(LabelError, match="16385x16384 pixels: too many"):
        decode_brush([1], (16384, 16385))


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (["a"], "not a list of bytes"),
        ([256], "not a list of bytes"),
        ([], "is cut off"),
        (stream(HEAD), "is cut off"),
        (stream(HEAD + f"1{3:02b}{50:016b}{0:08b}"), "is cut off"),
        (stream(f"{25:032b}" + HEAD[32:]), "is not of an image of 2x3"),
        (stream(HEAD[:32] + f"{15:05b}" + HEAD[37:]), "is not of an image of 2x3"),
    ],
)
def test_what_is_malformed_is_refused(encoded, message):
    with pytest.raises(LabelError, match=message):
        decode_brush(encoded, SIZE)
