"""Images of masks: the values that are stored."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from defectkit.data.mask_images import PaletteColor, read_mask
from defectkit.errors import ImageError

RNG = np.random.default_rng(3)
NUMBERS = RNG.integers(0, 3, (23, 37)).astype(np.uint8)
WIDE = RNG.integers(0, 65536, (23, 37)).astype(np.uint16)
RED, BLUE = 0xFF0000, 0x0000FF


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def palette(*colors, numbers=NUMBERS):
    image = Image.fromarray(numbers, "P")
    image.putpalette([channel for color in colors for channel in color])
    return image


def layers(*channels):
    return Image.fromarray(np.dstack(channels).astype(np.uint8))


@pytest.fixture
def read(tmp_path):
    def call(image, kind="PNG", **options):
        (tmp_path / "a").write_bytes(encoded(image, kind))
        return read_mask(tmp_path / "a", **options)

    return call


ON, FULL = (NUMBERS > 0) * 255, np.full(NUMBERS.shape, 255)
VALUES = {
    "gray": (Image.fromarray(NUMBERS), NUMBERS),
    "palette": (palette((9, 9, 9), (200, 0, 0), (0, 90, 0)), NUMBERS),
    "one bit": (Image.fromarray(NUMBERS > 0), NUMBERS > 0),
    "16 bits": (Image.fromarray(WIDE), WIDE),
    "gray as RGB": (Image.fromarray(NUMBERS).convert("RGB"), NUMBERS),
    "opaque RGBA": (layers(ON, ON, ON, FULL), ON),
    "RGBA whose alpha was never set": (layers(ON, ON, ON, FULL * 0), ON),
    "opaque gray and alpha": (layers(NUMBERS, FULL), NUMBERS),
    "what alpha hides": (layers(NUMBERS + 1, (NUMBERS > 0) * 200), (NUMBERS + 1) * (NUMBERS > 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_the_values_of_a_mask_are_those_that_are_stored(read, name):
    image, expected = VALUES[name]
    mask = read(image)
    assert mask.values.dtype == np.int32
    assert (mask.kind, mask.lossy) == ("values", False)
    np.testing.assert_array_equal(mask.values, expected)
    np.testing.assert_array_equal(mask.brightness(), expected)


@pytest.mark.parametrize("color", [0, 255, 90])
def test_alpha_is_the_mask_where_one_color_is_seen(read, color):
    for image in (
        layers(*[np.where(ON, color, 7)] * 3, ON),
        layers(np.where(ON, color, 7), ON),
    ):
        mask = read(image)
        assert mask.kind == "alpha"
        np.testing.assert_array_equal(mask.values, ON)
    assert not read(layers(*[FULL] * 3, FULL * 0)).values.any()  # A good image's.


def test_colors_are_kept(read):
    image = layers(ON, FULL * 0, (NUMBERS == 0) * 255)
    mask = read(image)
    assert mask.kind == "colors"
    np.testing.assert_array_equal(mask.values, np.where(NUMBERS > 0, RED, BLUE))
    assert (mask.brightness() == 255).all()
    colors = palette((0, 0, 0), (255, 0, 0), (0, 0, 255))
    expected = np.choose(NUMBERS, [0, RED, BLUE])
    np.testing.assert_array_equal(read(colors, as_colors=True).values, expected)
    one_bit = read(Image.fromarray(NUMBERS > 0), as_colors=True)
    np.testing.assert_array_equal(one_bit.values, np.where(NUMBERS > 0, 0xFFFFFF, 0))


def test_the_colors_of_a_palette_can_be_read_instead_of_its_numbers(read):
    image = palette((255, 255, 255), (0, 0, 0), numbers=(NUMBERS == 0).astype(np.uint8))
    mask = read(image)
    np.testing.assert_array_equal(mask.values, NUMBERS == 0)
    zeros = int((NUMBERS == 0).sum())
    assert mask.palette == (
        PaletteColor(0, 0xFFFFFF, NUMBERS.size - zeros),
        PaletteColor(1, 0, zeros),
    )
    colors = read(image, palette_colors=True)
    np.testing.assert_array_equal(colors.values, ON)
    assert (colors.kind, colors.palette) == ("values", ())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_arrays_are_masks(tmp_path, dtype):
    np.save(tmp_path / "a.npy", (NUMBERS > 0).astype(dtype))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy").values, NUMBERS > 0)


@pytest.mark.parametrize("values", [NUMBERS / 2, np.dstack([NUMBERS] * 3), np.full((2, 2), 2**40)])
def test_other_arrays_are_no_masks(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ImageError, match="whole numbers"):
        read_mask(tmp_path / "a.npy")


def test_jpeg_is_said_to_be_lossy(read):
    assert read(Image.fromarray(NUMBERS), "JPEG").lossy


def test_whole_numbers_may_be_floating_point_and_others_not(read):
    whole = Image.fromarray(NUMBERS.astype(np.float32))
    np.testing.assert_array_equal(read(whole, "TIFF").values, NUMBERS)
    with pytest.raises(ImageError, match="no whole numbers, .*--mask-threshold 128"):
        read(Image.fromarray(NUMBERS.astype(np.float32) / 2), "TIFF")


def test_what_cannot_be_a_mask_is_refused(read, tmp_path):
    with pytest.raises(ImageError, match="numbers or colors, not CMYK"):
        read(Image.fromarray(NUMBERS).convert("CMYK"), "TIFF")
    (tmp_path / "cut").write_bytes(encoded(Image.fromarray(WIDE))[:200])
    with pytest.raises(ImageError, match="damaged or cut off"):
        read_mask(tmp_path / "cut")


def deep(tmp_path, *channels):
    """The path of an image of 16-bit colors, red first, and alpha."""
    order = (2, 1, 0, 3)[: len(channels)]
    stored = np.dstack([channels[index] for index in order]).astype(np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(cv2.imencode(".png", stored)[1])
    return path


@pytest.mark.check(61)
@pytest.mark.parametrize("step", [1, 257], ids=["0 to 255", "0 to 65535"])
def test_masks_of_16_bit_colors_are_those_of_8(tmp_path, step):
    mask = read_mask(deep(tmp_path, *[ON * step] * 3))
    np.testing.assert_array_equal(mask.values, ON)
    mask = read_mask(deep(tmp_path, ON * step, ON * 0, ON * 0))
    np.testing.assert_array_equal(mask.values, (NUMBERS > 0) * RED)
    mask = read_mask(deep(tmp_path, *[NUMBERS.astype(int) * step] * 3, FULL * 257))
    np.testing.assert_array_equal(mask.values, NUMBERS)
    mask = read_mask(deep(tmp_path, *[FULL * step] * 3, ON * 257))
    assert mask.kind == "alpha"
    np.testing.assert_array_equal(mask.values, ON)


@pytest.mark.check(61)
def test_masks_of_more_colors_than_8_bits_have_are_refused(tmp_path):
    with pytest.raises(ImageError, match="deep.png: the colors of a mask have 8 bits"):
        read_mask(deep(tmp_path, *[ON + 300] * 3))
