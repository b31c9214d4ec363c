import json

import numpy as np
import pytest

from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.errors import ImageError

ALL = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_images_of_a_camera_become_what_they_are_in_8_bits(bits):
    pixels = PixelFormat(window=(0, 2**bits - 1))
    step = 2 ** (bits - 8)
    for stored in (
        ALL.astype(np.uint16) * step,
        ALL.astype(np.uint16) * step + (step - 1),
        np.rint(ALL * ((2**bits - 1) / 255)).astype(np.uint16),
    ):
        np.testing.assert_array_equal(pixels.to_8_bits(stored, name="x"), ALL)


def test_a_window_clips_and_counts_what_it_clips():
    pixels = PixelFormat(window=(100, 355))
    values = np.array([[0, 99, 100, 101, 354, 355, 356, 65535]], np.uint16)
    np.testing.assert_array_equal(
        pixels.to_8_bits(values, name="x"), [[0, 0, 0, 1, 254, 255, 255, 255]]
    )
    assert pixels.clipped_share(values) == 0.5
    assert EIGHT_BITS.clipped_share(values) == pixels.clipped_share(ALL) == 0.0


def test_8_bits_are_never_changed():
    assert PixelFormat(window=(3, 9)).to_8_bits(ALL, name="x") is ALL


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_reach_from_black_to_white(dtype):
    values = np.array([-1, 0, 0.25, 0.5, 0.999, 1, np.inf], dtype)
    got = PixelFormat(window=(0, 1)).to_8_bits(values, name="x")
    np.testing.assert_array_equal(got, [0, 0, 64, 128, 255, 255, 255])


def test_whole_numbers_of_any_dtype_are_mapped_alike():
    pixels = PixelFormat(window=(7, 3000.5))
    values = np.arange(0, 65536, 13)
    expected = pixels.to_8_bits(values.astype(np.uint16), name="x")
    np.testing.assert_array_equal(pixels.to_8_bits(values.astype(np.int32), name="x"), expected)


def test_without_a_window_more_bits_are_refused():
    with pytest.raises(ImageError, match="x: its pixels have more than 8 bits, but the images"):
        EIGHT_BITS.to_8_bits(np.zeros((2, 2), np.uint16), name="x")
    with pytest.raises(ImageError, match=r"x: float32 pixels have no defined white.*--window"):
        EIGHT_BITS.to_8_bits(np.zeros((2, 2), np.float32), name="x")


def test_three_channels_are_shown():
    image = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    np.testing.assert_array_equal(EIGHT_BITS.show(image), image[:, :, :3])
    np.testing.assert_array_equal(EIGHT_BITS.show(image[:, :, :2]), image[:, :, [0, 1, 1]])
    chosen = PixelFormat(shown=(4, 0, 0))
    np.testing.assert_array_equal(chosen.show(image), image[:, :, [4, 0, 0]])
    assert chosen.show(image[:, :, :3]).shape == (2, 3, 3)
    assert chosen.show(image[:, :, 0]).shape == (2, 3)


@pytest.mark.parametrize(
    "pixels",
    [EIGHT_BITS, PixelFormat(window=(0, 4095), pages="channels", shown=(3, 1, 0))],
)
def test_json_keeps_it(pixels):
    assert PixelFormat.from_dict(json.loads(json.dumps(pixels.to_dict()))) == pixels


def test_what_was_written_before_takes_all_of_16_bits():
    assert PixelFormat.from_dict(None) == PixelFormat(window=(0, 65535))


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": [9, 9]},
        {"window": [0, float("nan")]},
        {"window": 3},
        {"window": ["0", "9"]},
        {"shown": [0, 1]},
        {"shown": [0, 1, -1]},
        {"pages": "all"},
    ],
    ids=str,
)
def test_damaged_values_are_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        PixelFormat.from_dict({**EIGHT_BITS.to_dict(), **wrong})
