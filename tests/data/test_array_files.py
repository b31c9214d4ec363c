import io
import zlib

import numpy as np
import pytest
import tifffile

from defectkit.data.array_files import (
    MAX_PAGES,
    is_npy,
    is_tiff,
    read_npy,
    read_tiff,
    tiff_pages,
    tiff_size,
    turn,
)
from defectkit.errors import ImageError

RNG = np.random.default_rng(5)
FIVE = RNG.integers(0, 4096, (23, 37, 5)).astype(np.uint16)


def npy(array, version=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=True)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "f4", "?"])
def test_arrays_are_read_as_they_are(dtype, version):
    array = (FIVE % 2).astype(dtype)
    for one, planes in (
        (array, False),
        (array[:, :, 0], False),
        (np.asfortranarray(array), False),
        (np.moveaxis(array, 2, 0), True),
    ):
        values, by_planes = read_npy(npy(one, version), "x")
        assert by_planes == planes
        np.testing.assert_array_equal(values, array[:, :, 0] if one.ndim == 2 else array)
        assert values.dtype.isnative


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((20, 30, 17), np.uint8),
        np.zeros(20, np.uint8),
        np.zeros((2, 20, 30, 3), np.uint8),
        np.zeros((0, 30), np.uint8),
        np.zeros((4, 4), "c8"),
        np.zeros((4, 4), "U3"),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_arrays_that_are_no_image_are_refused(array):
    with pytest.raises(ImageError, match=r"x: an array of shape .* is no image.*\(C, H, W\)"):
        read_npy(npy(array), "x")


def test_an_array_of_objects_is_refused_and_not_unpickled():
    class Trap:
        def __reduce__(self):
            return print, ("trapped",)

    with pytest.raises(ImageError, match="dtype object is no image"):
        read_npy(npy(np.array([[Trap()]], object)), "x")


def test_an_array_file_is_limited_by_its_header_and_has_all_its_pixels():
    content = npy(FIVE)
    huge = content.replace(b"(23, 37, 5)", b"(99999,9999)")
    with pytest.raises(ImageError, match="pixels are more than the limit"):
        read_npy(huge, "x")
    with pytest.raises(ImageError, match="x: the image is cut off"):
        read_npy(content[:-1], "x")
    with pytest.raises(ImageError, match="x: the header is damaged"):
        read_npy(content[:40], "x")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["contig", "separate", "tiled", "big endian", "predictor"])
def test_channels_of_a_tiff(kind, compression):
    options = {"photometric": "minisblack", "planarconfig": "contig", "compression": compression}
    array = FIVE
    if kind == "separate":
        options["planarconfig"], array = "separate", np.moveaxis(FIVE, 2, 0)
    if kind == "tiled":
        options["tile"] = (16, 16)
    if kind == "big endian":
        options["byteorder"] = ">"
    if kind == "predictor" and compression:
        options["predictor"] = True
    content = tiff(array, **options)
    assert is_tiff(content)
    assert not is_npy(content)
    np.testing.assert_array_equal(read_tiff(content, "x"), FIVE)
    assert tiff_size(io.BytesIO(content), "x") == (23, 37)


def test_alpha_of_a_tiff_is_dropped_and_other_channels_are_not():
    rgba = tiff(FIVE[:, :, :4], photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_tiff(rgba, "x"), FIVE[:, :, :3])
    infrared = tiff(FIVE[:, :, :4], photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_tiff(infrared, "x"), FIVE[:, :, :4])


def test_what_cannot_be_read_says_why():
    lzw = bytearray(tiff(FIVE, photometric="minisblack", planarconfig="contig"))
    at = next(i for i in range(len(lzw)) if lzw[i : i + 4] == b"\x03\x01\x03\x00")
    lzw[at + 8] = 5
    with pytest.raises(ImageError, match="compression LZW cannot be read. Save it uncompressed or"):
        read_tiff(bytes(lzw), "x")
    with pytest.raises(ImageError, match="20 channels are more than the limit of 16"):
        read_tiff(tiff(np.zeros((8, 8, 20), np.uint8), photometric=1, planarconfig="contig"), "x")


def test_a_bomb_in_a_part_of_a_tiff_is_not_unpacked():
    content = bytearray(tiff(FIVE, photometric=1, planarconfig="contig", compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        (start,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    bomb = zlib.compress(bytes(2**22))
    assert len(bomb) <= count
    content[start : start + len(bomb)] = bomb
    with pytest.raises(ImageError, match="x: the image is damaged"):
        read_tiff(bytes(content), "x")


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}], ids=str)
def test_pages_are_counted_and_lost_ones_seen(options):
    content = tiff(np.moveaxis(FIVE, 2, 0), photometric="minisblack", **options)
    assert tiff_pages(content, limit=17) == ([0, 1, 2, 3, 4], True)
    assert tiff_pages(content, limit=2) == ([0, 1], True)
    cut = content[: int(len(content) * 0.6)]
    assert tiff_pages(cut, limit=17)[1] is False


def test_smaller_versions_of_a_page_are_no_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(FIVE[:, :, 0], photometric="minisblack")
        writer.write(FIVE[::2, ::2, 0], photometric="minisblack", subfiletype=1)
        writer.write(FIVE[:, :, 1], photometric="minisblack")
        writer.write(FIVE[:, :, 1] > 9, photometric="minisblack", subfiletype=4)
    assert tiff_pages(buffer.getvalue(), limit=9) == ([0, 2], True)


def test_pages_in_a_circle_are_no_whole_file():
    content = bytearray(tiff(FIVE[:, :, 0]))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        start = file.pages[0].offset
    end = start + 2 + 12 * int.from_bytes(content[start : start + 2], "little")
    content[end : end + 4] = start.to_bytes(4, "little")
    numbers, whole = tiff_pages(bytes(content), limit=2000)
    assert (len(numbers), whole) == (MAX_PAGES, False)


def test_turns():
    stored = np.arange(6).reshape(2, 3)
    turned = [turn(stored, orientation).tolist() for orientation in range(1, 9)]
    assert turned == [
        [[0, 1, 2], [3, 4, 5]],
        [[2, 1, 0], [5, 4, 3]],
        [[5, 4, 3], [2, 1, 0]],
        [[3, 4, 5], [0, 1, 2]],
        [[0, 3], [1, 4], [2, 5]],
        [[3, 0], [4, 1], [5, 2]],
        [[5, 2], [4, 1], [3, 0]],
        [[2, 5], [1, 4], [0, 3]],
    ]
