import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.preparation.leaks.alignment import orient
from defectkit.preparation.leaks.keypoints import find_keypoints, reduction_factor, unpack_keypoints
from defectkit.synthesis.generator import synthesize

IMAGE = synthesize(2, size=256).image


def parts(image):
    return unpack_keypoints(np.frombuffer(find_keypoints(np.ascontiguousarray(image)), "<u8"))


@pytest.mark.parametrize("orientation", range(8))
def test_flips_and_rotations_change_no_descriptor(orientation):
    code, *_ = parts(IMAGE)
    turned, *_ = parts(orient(IMAGE, orientation))
    assert len(code) > 20
    assert len({*code.tolist()} & {*turned.tolist()}) >= 0.9 * len(code)


def test_brightness_and_color_change_no_descriptor():
    code, *_ = parts(IMAGE)
    gray = np.clip(IMAGE, 0, 235)
    np.testing.assert_array_equal(parts(gray)[0], parts(gray + 20)[0])
    np.testing.assert_array_equal(parts(np.dstack([IMAGE] * 3))[0], code)


def test_positions_are_pixels_of_the_reduced_image():
    large = np.repeat(np.repeat(IMAGE, 2, axis=0), 2, axis=1)
    assert reduction_factor(*large.shape) == 2
    _, _, y, x = parts(large)
    assert 200 < max(y.max(), x.max()) < 256
    assert min(y.min(), x.min()) >= 8


@pytest.mark.parametrize("shape", [(1, 1), (16, 300), (17, 17), (40, 3)])
def test_small_and_plain_images_have_none(shape):
    assert find_keypoints(np.random.default_rng(0).integers(0, 2, shape, np.uint8)) == b""
    assert find_keypoints(np.full((64, 64, 3), 128, np.uint8)) == b""


@given(st.integers(0, 2**35 - 1), st.integers(0, 7), st.integers(0, 8191), st.integers(0, 8191))
def test_a_keypoint_is_one_integer(code, orientation, y, x):
    packed = np.array([code << 29 | orientation << 26 | y << 13 | x], np.uint64)
    assert [part.tolist() for part in unpack_keypoints(packed)] == [[code], [orientation], [y], [x]]
