import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from defectkit.data.image_pages import ImagePages
from defectkit.errors import ImageError

RNG = np.random.default_rng(6)
GRAY = RNG.integers(0, 256, (64, 90), np.uint8)
RGB = RNG.integers(0, 256, (64, 90, 3), np.uint8)
COLORS = RNG.integers(0, 4096, (64, 90, 3)).astype(np.uint16)
FIVE = np.dstack([RGB, GRAY, 255 - GRAY])


def in_one_file(kind, *layers, **options):
    first, *others = map(Image.fromarray, layers)
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, **options)
    return buffer.getvalue()


def deep_pages(*layers):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for layer in layers:
            kind = "rgb" if layer.shape[-1] == 3 else "minisblack"
            writer.write(layer, photometric=kind, planarconfig="contig")
    return buffer.getvalue()


LAYERS = (RGB, 255 - RGB, RGB[:, ::-1])
SEVERAL = {
    "TIFF": (in_one_file("TIFF", *LAYERS), LAYERS),
    "TIFF of several sizes": (in_one_file("TIFF", RGB, GRAY[:9]), (RGB, GRAY[:9])),
    "TIFF of deep colors": (deep_pages(COLORS, COLORS[::-1]), (COLORS, COLORS[::-1])),
    "TIFF of channels": (deep_pages(FIVE, 255 - FIVE), (FIVE, 255 - FIVE)),
    "APNG": (in_one_file("PNG", *LAYERS), LAYERS),
    "WebP": (in_one_file("WEBP", *LAYERS, lossless=True), LAYERS),
    "GIF": (in_one_file("GIF", GRAY, 255 - GRAY), (GRAY, 255 - GRAY)),
}


@pytest.mark.check(53)
@pytest.mark.parametrize("kind", SEVERAL)
def test_each_page_or_frame_is_an_image_of_its_own(kind):
    content, layers = SEVERAL[kind]
    file = ImagePages(content, name="x")
    assert file.numbers == list(range(len(layers)))
    for number in reversed(file.numbers):
        np.testing.assert_array_equal(file.read(number).values, layers[number])


def test_a_page_is_the_same_when_it_is_read_again():
    file = ImagePages(cv2.imencode(".png", COLORS[:, :, ::-1])[1].tobytes(), name="x")
    for _ in range(2):
        np.testing.assert_array_equal(file.read().values, COLORS)


@pytest.mark.check(53)
def test_thumbnails_and_gain_maps_in_a_jpeg_are_no_images_of_their_own():
    file = ImagePages(in_one_file("MPO", RGB, 255 - RGB, RGB[:9]), name="x")
    assert file.numbers == [0, 1]
    assert file.read(1).values.mean() == pytest.approx((255 - RGB).mean(), abs=3)
    assert not ImagePages(in_one_file("MPO", RGB, RGB[:9]), name="x").has_several


@pytest.mark.check(53)
@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_pages_that_are_cut_off_are_not_lost_in_silence(kind):
    content = SEVERAL[kind][0]
    file = ImagePages(content[: len(content) * 6 // 10], name="x")
    with pytest.raises(ImageError, match="x: the image is cut off: it lacks pages or frames"):
        file.numbers  # noqa: B018


@pytest.mark.check(53)
@pytest.mark.parametrize("kind", ["APNG", "WebP"])
def test_a_frame_that_is_cut_off_is_an_error(kind):
    content = SEVERAL[kind][0]
    with pytest.raises(ImageError, match="x"):
        [ImagePages(content[:-300], name="x").read(number) for number in range(3)]


def encoded(kind: str, image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


ALONE = {
    **{kind: encoded(kind, RGB) for kind in ("JPEG", "PNG", "PPM")},
    "PGM": encoded("PPM", GRAY),
    "16-bit PGM": encoded("PPM", COLORS[:, :, 0]),
    "16-bit PPM": cv2.imencode(".ppm", COLORS)[1].tobytes(),
    "PBM": encoded("PPM", GRAY > 99),
    "PFM": encoded("PPM", np.full((64, 90), np.frombuffer(b"PPPP", np.float32))),
}


@pytest.mark.check(53)
@pytest.mark.parametrize("kind", ALONE)
def test_whole_files_that_follow_one_another_are_refused(kind):
    assert ImagePages(ALONE[kind], name="x").numbers == [0]
    assert ImagePages(ALONE[kind] + b"\n\0trailer", name="x").numbers == [0]
    file = ImagePages(ALONE[kind] * 2, name="x")
    with pytest.raises(ImageError, match="x: after the first image there is another one"):
        file.numbers  # noqa: B018
    assert file.read().values.shape[:2] == (64, 90)


@pytest.mark.check(53)
@pytest.mark.parametrize("padding", [b"", b"\xff\xff"])
def test_previews_in_the_head_of_a_jpeg_are_no_second_image(padding):
    jpeg, preview = ALONE["JPEG"], encoded("JPEG", GRAY[:9, :9])
    segment = b"\xff\xe5" + (2 + 2 * len(preview)).to_bytes(2) + 2 * preview
    content = jpeg[:2] + padding + segment + jpeg[2:]
    assert ImagePages(content, name="x").numbers == [0]
    np.testing.assert_array_equal(
        ImagePages(content, name="x").read().values, ImagePages(jpeg, name="x").read().values
    )
    with pytest.raises(ImageError, match="x: after the first image there is another one"):
        ImagePages(content + jpeg, name="x").numbers  # noqa: B018


@pytest.mark.check(53)
def test_a_second_array_is_not_lost_in_silence():
    buffer = io.BytesIO()
    for image in (GRAY, 255 - GRAY):
        np.save(buffer, image)
    with pytest.raises(ImageError, match="x: there is more than one array"):
        ImagePages(buffer.getvalue(), name="x").read()
