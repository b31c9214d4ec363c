import io
import struct
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
from peak_memory import can_measure, peak_bytes
from PIL import Image

from defectkit.data import image_kinds
from defectkit.data.image_pages import decode_stored
from defectkit.data.images import read_image_size
from defectkit.data.pixel_format import PixelFormat
from defectkit.data.stored_image import DEEP_BYTES, EXIF_ORIENTATION
from defectkit.errors import ImageError

RNG = np.random.default_rng(6)
WIDE = RNG.integers(0, 4096, (64, 90)).astype(np.uint16)
COLORS = RNG.integers(0, 4096, (64, 90, 3)).astype(np.uint16)
GRAY, RGB = (WIDE >> 4).astype(np.uint8), (COLORS >> 4).astype(np.uint8)
FIVE = np.dstack([RGB, GRAY, 255 - GRAY])


def pillow(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def opencv(suffix, array):
    return cv2.imencode(suffix, array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()


def png_of(array):
    """A PNG of 2 to 4 channels of 16 bits, by the rules of the format alone."""
    height, width, channels = array.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


EXACT = {
    "16-bit png": (pillow(Image.fromarray(WIDE), "PNG"), WIDE),
    "16-bit rgb png": (opencv(".png", COLORS), COLORS),
    "16-bit tiff": (tiff(WIDE), WIDE),
    "16-bit white is zero": (tiff(65535 - WIDE, photometric="miniswhite"), WIDE),
    "8-bit white is zero": (tiff(255 - GRAY, photometric="miniswhite"), GRAY),
    "16-bit rgb tiff": (tiff(COLORS, photometric="rgb"), COLORS),
    "16-bit rgb tiff in planes": (
        tiff(np.moveaxis(COLORS, 2, 0), photometric="rgb", planarconfig="separate"),
        COLORS,
    ),
    "16-bit rgba tiff": (
        tiff(np.dstack([COLORS, WIDE]), photometric="rgb", extrasamples=["unassalpha"]),
        COLORS,
    ),
    "16-bit pgm": (opencv(".pgm", WIDE), WIDE),
    "16-bit ppm": (opencv(".ppm", COLORS), COLORS),
    "pgm of 12 bits, scaled": (
        b"P5 90 64 4095\n" + WIDE.astype(">u2").tobytes(),
        np.rint(WIDE / 4095 * 65535),
    ),
    "pbm": (pillow(Image.fromarray(GRAY > 99), "PPM"), np.where(GRAY > 99, 255, 0)),
    "jp2": (pillow(Image.fromarray(RGB), "JPEG2000"), RGB),
    "16-bit jp2": (pillow(Image.fromarray(WIDE), "JPEG2000"), WIDE),
    "gif": (pillow(Image.fromarray(GRAY), "GIF"), GRAY),
    "dib": (pillow(Image.fromarray(RGB), "DIB"), RGB),
    "float tiff": (tiff(WIDE.astype(np.float32)), WIDE.astype(np.float32)),
    "float rgb tiff": (tiff(COLORS.astype(np.float32), photometric="rgb"), COLORS),
    "negative numbers": (npy(WIDE.astype(np.int32) - 9), WIDE.astype(np.int32) - 9),
    "npy of bool": (npy(GRAY > 99), np.where(GRAY > 99, 255, 0)),
    "npy of int64": (npy(WIDE.astype(np.int64)), WIDE),
    "npy": (npy(FIVE), FIVE),
    "npy of one channel": (npy(GRAY[:, :, None]), GRAY),
    "tiff of 5 channels": (tiff(FIVE, photometric="minisblack", planarconfig="contig"), FIVE),
    "tiff of 2 channels": (
        tiff(FIVE[:, :, :2], photometric="minisblack", planarconfig="contig"),
        FIVE[:, :, :2],
    ),
    "rgb and infrared": (
        tiff(FIVE[:, :, :4], photometric="rgb", extrasamples=["unspecified"]),
        FIVE[:, :, :4],
    ),
    "gray tiff with alpha": (
        tiff(
            FIVE[:, :, :2],
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
        ),
        FIVE[:, :, 0],
    ),
    "rgba png": (pillow(Image.fromarray(FIVE[:, :, :4].copy(), "RGBA"), "PNG"), RGB),
}


@pytest.mark.parametrize("kind", EXACT)
def test_all_bits_and_channels_are_read(kind, tmp_path):
    content, pixels = EXACT[kind]
    stored = decode_stored(content, name=kind)
    np.testing.assert_array_equal(stored.values, pixels)
    deep = (pixels.max() > 255 and pixels.dtype.kind == "u") or "scaled" in kind
    if stored.values.dtype != np.uint8:
        assert stored.values.dtype in (np.uint16, np.float32, np.int32)
        assert (stored.values.dtype == np.uint16) == (deep or "int64" in kind) or "float" in kind
    assert stored.notes == ()
    (tmp_path / "x").write_bytes(content)
    assert read_image_size(tmp_path / "x") == pixels.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colors_are_turned_as_a_viewer_does(orientation):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    shown = decode_stored(pillow(Image.fromarray(RGB), "PNG", exif=exif), name="x").values
    content = EXACT["16-bit rgb png"][0]
    plain = pillow(Image.fromarray(GRAY), "PNG", exif=exif)
    chunk = plain[plain.index(b"eXIf") - 4 :]
    chunk = chunk[: int.from_bytes(chunk[:4], "big") + 12]
    at = content.index(b"IDAT") - 4
    deep = decode_stored(content[:at] + chunk + content[at:], name="x").values
    np.testing.assert_array_equal(deep >> 4, shown)


def test_of_several_pages_or_frames_the_first_is_taken_and_that_is_said():
    frames = [Image.fromarray(255 - GRAY), Image.fromarray(GRAY // 2)]
    for kind in ("TIFF", "GIF"):
        content = pillow(Image.fromarray(GRAY), kind, save_all=True, append_images=frames)
        stored = decode_stored(content, name="x")
        np.testing.assert_array_equal(stored.values, GRAY)
        assert stored.notes == ("several pages",)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_are_channels_where_that_is_asked_for(dtype, compression):
    planes = [Image.fromarray(layer.astype(dtype)) for layer in np.moveaxis(FIVE, 2, 0)]
    content = pillow(
        planes[0], "TIFF", save_all=True, append_images=planes[1:], compression=compression
    )
    stored = decode_stored(content, name="x", pages="channels")
    np.testing.assert_array_equal(stored.values, FIVE)
    assert (stored.values.dtype, stored.notes) == (dtype, ())
    with pytest.raises(ImageError, match="x: the image is (cut off: it lacks pages|damaged)"):
        decode_stored(content[: len(content) * 3 // 4], name="x", pages="channels")


@pytest.mark.parametrize(
    "others", [[RGB], [GRAY[:9]], [GRAY] * 16], ids=["color", "smaller", "17 pages"]
)
def test_pages_that_are_no_channels_are_refused_where_channels_are_asked_for(others):
    images = [Image.fromarray(one) for one in others]
    content = pillow(Image.fromarray(GRAY), "TIFF", save_all=True, append_images=images)
    with pytest.raises(ImageError, match=r"2 to 16 gray pages of one size.*--pages first"):
        decode_stored(content, name="x", pages="channels")


def test_the_size_of_each_page_is_limited_before_it_is_decoded(monkeypatch):
    large = Image.new("L", (300, 200))
    content = pillow(
        Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[large], compression="tiff_lzw"
    )
    monkeypatch.setattr(image_kinds, "MAX_PIXELS", GRAY.size)
    with pytest.raises(ImageError, match="x: 300x200 pixels are more than the limit"):
        decode_stored(content, name="x", pages="channels")
    np.testing.assert_array_equal(decode_stored(content, name="x").values, GRAY)


def test_planes_before_rows_are_said_and_not_a_number_is_refused():
    stored = decode_stored(npy(np.moveaxis(FIVE, 2, 0)), name="x")
    np.testing.assert_array_equal(stored.values, FIVE)
    assert stored.notes == ("planes first",)
    with pytest.raises(ImageError, match="x: some pixels are not finite numbers"):
        decode_stored(npy(np.full((4, 4), np.nan)), name="x")


SIDE = 3000


def large(kind):
    ramp = (np.add.outer(np.arange(SIDE), np.arange(SIDE)) * 7 % 65536).astype(np.uint16)
    wide, gray = np.dstack([ramp, ramp.T, 65535 - ramp]), (ramp >> 8).astype(np.uint8)
    color = np.dstack([gray, gray.T, 255 - gray])
    match kind:
        case "gray":
            return pillow(Image.fromarray(gray), "PNG", compress_level=1), 4
        case "color":
            return pillow(Image.fromarray(color), "PNG", compress_level=1), 10
        case "cmyk":
            return pillow(Image.fromarray(color).convert("CMYK"), "JPEG"), 14
        case "16-bit gray":
            return opencv(".png", ramp), 6
        case "16-bit white is zero":
            return tiff(ramp, photometric="miniswhite"), 8
        case "16-bit color":
            return opencv(".png", wide), DEEP_BYTES
        case "float":
            return tiff(ramp.astype(np.float32)), 12
        case "16 channels":
            layers = np.dstack([gray] * 16)
            return tiff(layers, photometric="minisblack", planarconfig="contig"), 64
        case _:
            return npy(ramp.astype(np.int64)), 16


@pytest.mark.slow
@pytest.mark.check(61)
@pytest.mark.skipif(not can_measure(), reason="the system does not count memory")
@pytest.mark.parametrize(
    "kind",
    [
        *("gray", "color", "cmyk", "16-bit gray", "16-bit white is zero", "16-bit color"),
        *("float", "16 channels", "int64"),
    ],
)
def test_decoding_takes_no_more_memory_than_is_checked(kind, monkeypatch):
    content, pixel_bytes = large(kind)
    assert peak_bytes(lambda: decode_stored(content, name=kind)) < (pixel_bytes + 1) * SIDE**2
    monkeypatch.setattr("defectkit.memory.free_memory", lambda: pixel_bytes * SIDE**2 - 10**7)
    if kind == "16-bit white is zero":
        return  # its check is that of any gray of 16 bits
    with pytest.raises(ImageError, match=f"{kind}: decoding the image takes about 0.*Cut the"):
        decode_stored(content, name=kind)


@pytest.mark.check(61)
@pytest.mark.skipif(not can_measure(), reason="the system does not count memory")
@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_more_bits_become_8_in_little_memory(dtype):
    values = np.zeros((SIDE, SIDE), dtype)
    to_8_bits = partial(PixelFormat(window=(0, 4095)).to_8_bits, values, name="x")
    assert peak_bytes(to_8_bits) < 4 * SIDE**2


@pytest.mark.check(61)
@pytest.mark.parametrize("kind", ["LA", "RGB", "RGBA"])
def test_more_than_8_bits_with_and_without_alpha(kind):
    layers = {"LA": [WIDE], "RGB": [WIDE, 65535 - WIDE, WIDE[::-1]]}
    layers["RGBA"] = layers["RGB"]
    alpha = [] if kind == "RGB" else [WIDE.T.copy().reshape(WIDE.shape)]
    stored = decode_stored(png_of(np.dstack([*layers[kind], *alpha])), name="x").values
    np.testing.assert_array_equal(stored, np.squeeze(np.dstack(layers[kind])))
