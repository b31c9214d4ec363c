import io
import re
import resource
import struct
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from locked_files import lock
from PIL import Image, ImageFile
from stores import memory_store

from defectkit.data import image_kinds, stored_image
from defectkit.data.images import (
    convert_channels,
    decode_image,
    encode_jpeg,
    encode_png,
    pad_image,
    png_pieces,
    read_given,
    read_image,
    read_image_size,
    resize_image,
    write_png,
)
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.errors import ImageError, StoreError
from defectkit.files import write_pieces
from defectkit.object_stores import StoredObject
from defectkit.preparation.worker_pool import open_worker_pool

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (23, 37), np.uint8)
RGB = RNG.integers(0, 256, (23, 37, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(image: np.ndarray, orientation: object, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[stored_image.EXIF_ORIENTATION] = orientation
    return encoded(Image.fromarray(image), kind, exif=exif)


def palette_image() -> tuple[Image.Image, np.ndarray]:
    index = RNG.integers(0, 3, (23, 37)).astype(np.uint8)
    colors = np.array([[10, 20, 30], [200, 0, 90], [0, 0, 0]], np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colors.tobytes())
    return image, colors[index]


def alpha() -> np.ndarray:
    return RNG.integers(0, 256, (23, 37), np.uint8)


SIXTEEN_BITS = PixelFormat(window=(0, 65535))
MANY_CHANNELS = PixelFormat(window=(0, 65535), pages="channels")
WIDE = RNG.integers(0, 65536, (23, 37), np.uint16)
PALETTE, PALETTE_PIXELS = palette_image()
RGBA = Image.fromarray(np.dstack([RGB, alpha()]))
LA = Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha())])
EXACT = {
    "L png": (encoded(Image.fromarray(GRAY)), GRAY),
    "L bmp": (encoded(Image.fromarray(GRAY), "BMP"), GRAY),
    "L tiff": (encoded(Image.fromarray(GRAY), "TIFF"), GRAY),
    "L tiff lzw": (encoded(Image.fromarray(GRAY), "TIFF", compression="tiff_lzw"), GRAY),
    "RGB png": (encoded(Image.fromarray(RGB)), RGB),
    "RGB tiff": (encoded(Image.fromarray(RGB), "TIFF"), RGB),
    "RGB bmp": (encoded(Image.fromarray(RGB), "BMP"), RGB),
    "RGB webp": (encoded(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "RGBA png": (encoded(RGBA), RGB),
    "LA png": (encoded(LA), GRAY),
    "P png": (encoded(PALETTE), PALETTE_PIXELS),
    "P png with transparency": (encoded(PALETTE, transparency=1), PALETTE_PIXELS),
    "1 png": (encoded(Image.fromarray(GRAY > 99)), np.where(GRAY > 99, 255, 0)),
    "1 tiff": (
        encoded(Image.fromarray(GRAY > 99), "TIFF", compression="group4"),
        np.where(GRAY > 99, 255, 0),
    ),
    "CMYK tiff": (
        encoded(Image.fromarray(np.dstack([GRAY, GRAY, GRAY, 0 * GRAY]), "CMYK"), "TIFF"),
        np.dstack([255 - GRAY] * 3),
    ),
    "16-bit png": (encoded(Image.fromarray(WIDE)), WIDE >> 8),
    "16-bit tiff": (encoded(Image.fromarray(WIDE), "TIFF"), WIDE >> 8),
    "32-bit tiff": (
        encoded(Image.fromarray(WIDE.astype(np.int32)), "TIFF"),
        WIDE >> 8,
    ),
}
LOSSY = {
    "L jpeg": (encoded(Image.fromarray(GRAY), "JPEG"), (23, 37)),
    "RGB jpeg": (encoded(Image.fromarray(RGB), "JPEG"), (23, 37, 3)),
    "RGB progressive jpeg": (encoded(Image.fromarray(RGB), "JPEG", progressive=True), (23, 37, 3)),
    "CMYK jpeg": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), (23, 37, 3)),
    "RGB webp": (encoded(Image.fromarray(RGB), "WEBP"), (23, 37, 3)),
}
# Smooth, as photographs are: random pixels would make the files longer than they are in life.
ROWS, COLUMNS = np.mgrid[:64, :80]
SMOOTH = (127 + 60 * np.sin(ROWS / 9) + 60 * np.cos(COLUMNS / 7)).astype(np.uint8)
SMOOTH_RGB = np.dstack([SMOOTH, SMOOTH.T.copy().reshape(64, 80), 255 - SMOOTH])


@pytest.mark.check(27)
@pytest.mark.parametrize("kind", EXACT)
def test_golden_pixels(kind):
    content, pixels = EXACT[kind]
    got = decode_image(content, name=kind, pixels=SIXTEEN_BITS)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_have_the_right_shape(kind):
    content, shape = LOSSY[kind]
    assert decode_image(content, name=kind).shape == shape


@pytest.mark.check(27)
def test_cmyk_jpeg_keeps_its_colors():
    content = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    red = decode_image(content, name="red").reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(red, (255, 0, 0), atol=4)


# What a viewer does to stored pixels, by EXIF orientation (EXIF 2.32, tag 0x0112).
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.check(27)
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation, pixels):
    content = with_orientation(pixels, orientation)
    got = decode_image(content, name="turned")
    np.testing.assert_array_equal(got, UPRIGHT[orientation](pixels))


@pytest.mark.check(27)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_of_a_jpeg(orientation):
    plain = decode_image(encoded(Image.fromarray(SMOOTH), "JPEG"), name="plain")
    content = with_orientation(SMOOTH, orientation, "JPEG")
    np.testing.assert_array_equal(decode_image(content, name="x"), UPRIGHT[orientation](plain))


@pytest.mark.parametrize("orientation", [0, 9, 17])
def test_an_orientation_that_exif_does_not_know_changes_nothing(orientation):
    content = with_orientation(GRAY, orientation)
    np.testing.assert_array_equal(decode_image(content, name="x"), GRAY)


@pytest.mark.check(27)
def test_16_bit_white_is_white_and_its_lower_bits_are_dropped():
    values = np.array([[0, 255, 256, 257, 65535, 65280, 65279]], np.uint16)
    got = decode_image(encoded(Image.fromarray(values)), name="wide", pixels=SIXTEEN_BITS)
    np.testing.assert_array_equal(got, [[0, 0, 1, 1, 255, 255, 254]])


def test_pixels_without_a_defined_white_are_refused():
    floats = encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"x: float32 pixels have no defined white.*--window"):
        decode_image(floats, name="x")
    for value in (-1, 65536):
        wide = encoded(Image.fromarray(np.full((8, 8), value, np.int32)), "TIFF")
        with pytest.raises(ImageError, match=r"x: int32 pixels have no defined white.*--window"):
            decode_image(wide, name="x")


def deflated_tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, compression="zlib", **options)
    return buffer.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


SMOOTH_5 = np.dstack([SMOOTH_RGB, SMOOTH, 255 - SMOOTH])
FILES = {
    "png": encoded(Image.fromarray(SMOOTH)),
    "rgb png": encoded(Image.fromarray(SMOOTH_RGB)),
    "16-bit png": encoded(Image.fromarray(SMOOTH.astype(np.uint16) * 257)),
    "jpeg": encoded(Image.fromarray(SMOOTH), "JPEG"),
    "rgb jpeg": encoded(Image.fromarray(SMOOTH_RGB), "JPEG", quality=95),
    "progressive jpeg": encoded(Image.fromarray(SMOOTH_RGB), "JPEG", progressive=True),
    "bmp": encoded(Image.fromarray(SMOOTH_RGB), "BMP"),
    "tiff": encoded(Image.fromarray(SMOOTH_RGB), "TIFF"),
    "lzw tiff": encoded(Image.fromarray(SMOOTH_RGB), "TIFF", compression="tiff_lzw"),
    "webp": encoded(Image.fromarray(SMOOTH_RGB), "WEBP"),
    "jp2": encoded(Image.fromarray(SMOOTH_RGB), "JPEG2000"),
    "gif": encoded(Image.fromarray(SMOOTH), "GIF"),
    "pgm": encoded(Image.fromarray(SMOOTH), "PPM"),
    "16-bit rgb png": cv2.imencode(".png", SMOOTH_RGB.astype(np.uint16) * 257)[1].tobytes(),
    "tiff of 5 channels": deflated_tiff(SMOOTH_5, photometric="minisblack", planarconfig="contig"),
    "tiff of 5 planes": deflated_tiff(
        np.moveaxis(SMOOTH_5, 2, 0), photometric="minisblack", planarconfig="separate"
    ),
    "tiff of 5 pages": deflated_tiff(np.moveaxis(SMOOTH_5, 2, 0), photometric="minisblack"),
    "npy": npy(SMOOTH_5),
}


@pytest.mark.check(10)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_is_never_read_as_a_whole_one(kind, tally, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries leave it
    content = FILES[kind]
    whole = decode_image(content, name=kind, pixels=MANY_CHANNELS)
    refused = 0
    offsets = np.linspace(0, len(content) - 1, 50).astype(int).tolist()
    for offset in {*offsets, *range(len(content) - 20, len(content))}:
        with tally.case(f"{kind} cut off at {offset} of {len(content)}"):
            try:
                got = decode_image(content[:offset], name=kind, pixels=MANY_CHANNELS)
            except ImageError:
                refused += 1
            else:
                # Only a file that has all its pixels may pass, say without its end mark.
                np.testing.assert_array_equal(got, whole)
                assert offset >= len(content) - 20
    assert refused >= 49


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, insert, remove, repeat or cut off bytes, more often near the start than elsewhere."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        reach = min(len(changed), 200) if rng.random() < 0.6 else len(changed)
        place = int(rng.integers(0, max(reach, 1)))
        part = rng.bytes(rng.integers(1, 9))
        match rng.integers(5):
            case 0:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << rng.integers(8)])
            case 1:
                changed[place : place + len(part)] = part
            case 2:
                changed[place:place] = part
            case 3:
                changed[place:place] = changed[place : place + len(part)]
            case _:
                del changed[place : place + (len(part) if rng.random() < 0.7 else len(changed))]
        if not changed:
            break
    return bytes(changed)


def what_becomes_of(content: bytes) -> tuple[str, float, int]:
    """``refused``, or the kind of array; seconds of this process; its largest memory in bytes."""
    start = time.process_time()
    try:
        got = decode_image(content, name="mutated", pixels=MANY_CHANNELS)
    except ImageError:
        said = "refused"
    else:
        said = f"{got.dtype} {got.shape[2:]}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return said, time.process_time() - start, peak * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.check(25)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_files_end_no_worker(tally):
    rng = np.random.default_rng(25)
    contents = list(FILES.values())
    count = tally.number(short=500, full=10_000)
    damaged = [mutated(contents[n % len(contents)], rng) for n in range(count)]
    with open_worker_pool(1, n_jobs=count) as workers:
        _, _, before = next(workers.map(what_becomes_of, [FILES["png"]]))
        for content, (said, seconds, peak) in zip(
            damaged, workers.map(what_becomes_of, damaged), strict=True
        ):
            with tally.case(content.hex()):
                assert said == "refused" or said.startswith("uint8 (")
                assert seconds < 5
                # What the largest image may take: three bytes a pixel, twice on the way.
                assert peak - before < 6 * image_kinds.MAX_PIXELS


@pytest.mark.parametrize("kind", ["png", "rgb png", "16-bit png"])
def test_changed_pixel_data_of_a_png_is_refused(kind):
    content = FILES[kind]
    start = content.index(b"IDAT") + 4
    for place in np.linspace(start, len(content) - 20, 25).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        with pytest.raises(ImageError, match="the image is damaged or cut off .* Copy it again"):
            decode_image(bytes(damaged), name="flipped", pixels=SIXTEEN_BITS)


@pytest.mark.parametrize("kind_of_number", [2, 5, 7, 11, 12, 16])
def test_a_tiff_whose_tags_have_another_type_of_number_is_refused(kind_of_number):
    content = bytearray(FILES["tiff"])
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    entries = range(directory + 2, directory + 2 + 12 * count, 12)
    (strip_offsets,) = [e for e in entries if struct.unpack_from("<H", content, e) == (273,)]
    struct.pack_into("<H", content, strip_offsets + 2, kind_of_number)
    with pytest.raises(ImageError, match="x: the image is damaged or cut off"):
        decode_image(bytes(content), name="x")


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + idat + chunk(b"IEND", b"")


def grown_by(content: bytes) -> tuple[str, float, int]:
    """What ``what_becomes_of`` says in a fresh process, with the bytes that its memory grew by."""
    with open_worker_pool(1, n_jobs=1) as workers:
        (_, _, before), (said, seconds, after) = workers.map(
            what_becomes_of, [FILES["png"], content]
        )
    return said, seconds, after - before


@pytest.mark.check(26)
@pytest.mark.parametrize(
    ("width", "height"), [(40_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**30)]
)
def test_a_bomb_is_refused_from_its_header(width, height):
    content = bomb(width, height)
    assert len(content) < 70
    message = (
        rf"bomb: {width}x{height} pixels are more than the limit of 268435456\. Cut the image into"
    )
    with pytest.raises(ImageError, match=message):
        decode_image(content, name="bomb")
    said, seconds, grown = grown_by(content)
    assert (said, seconds < 0.1, grown < 50 * 2**20) == ("refused", True, True)


@pytest.mark.check(26)
@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_a_bomb_in_the_metadata_of_a_png_is_not_unpacked(kind):
    packer = zlib.compressobj(1)
    zeros = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    more = chunk(kind, b"name\0\0" + zeros)
    said, seconds, grown = grown_by(FILES["png"][:33] + more + FILES["png"][33:])
    assert said in ("refused", "uint8 ()")
    assert (seconds < 0.5, grown < 50 * 2**20) == (True, True)


def test_the_limit_of_pixels_is_exact(monkeypatch):
    monkeypatch.setattr(image_kinds, "MAX_PIXELS", GRAY.size)
    assert decode_image(encoded(Image.fromarray(GRAY)), name="x").shape == GRAY.shape
    monkeypatch.setattr(image_kinds, "MAX_PIXELS", GRAY.size - 1)
    with pytest.raises(ImageError, match="37x23 pixels are more than the limit of 850"):
        decode_image(encoded(Image.fromarray(GRAY)), name="x")


def test_large_images_below_the_limit_raise_no_warning_of_pillow(recwarn):
    # Pillow warns from 89 million pixels on.
    with pytest.raises(ImageError, match="large: the image is damaged or cut off"):
        decode_image(bomb(9_500, 9_500), name="large")
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"not an image at all",
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.4\n",
        b"%!PS-Adobe-3.0 EPSF",
    ],
)
def test_a_file_that_is_not_an_image_is_refused_with_the_known_formats(content):
    with pytest.raises(ImageError, match=r"x\.png: not an image that can be read \(png, jpg"):
        decode_image(content, name="x.png")


def test_an_empty_file_is_refused_as_that():
    with pytest.raises(ImageError, match=r"x\.png: the file is empty"):
        decode_image(b"", name="x.png")


def test_postscript_is_never_handed_to_an_interpreter():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
    assert Image.open(io.BytesIO(eps)).format == "EPS"  # Pillow would
    with pytest.raises(ImageError, match="not an image that can be read"):
        decode_image(eps, name="part.png")


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match=r"the image .*gone\.png: No such .* Check the path"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"cannot read the image .*: Is a directory"):
        read_image(tmp_path)
    (tmp_path / "mine.png").write_bytes(b"x")
    told = lock(monkeypatch, tmp_path / "mine.png")
    with pytest.raises(ImageError, match=f"^{re.escape(told)}$"):
        read_image(tmp_path / "mine.png")


@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_a_written_image_reads_back_the_same_from_any_path(pixels, tmp_path):
    path = tmp_path / "零件 [1]" / "=a 'b'.png"
    write_png(path, pixels)
    np.testing.assert_array_equal(read_image(path), pixels)
    np.testing.assert_array_equal(read_image(str(path)), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_reading_gives_pixels_that_may_be_changed(tmp_path):
    write_png(tmp_path / "x.png", RGB)
    image = read_image(tmp_path / "x.png")
    image[0, 0] = 0
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), RGB)


def test_convert_channels_repeats_gray_and_weights_color():
    np.testing.assert_array_equal(convert_channels(GRAY, 1), GRAY[:, :, None])
    np.testing.assert_array_equal(convert_channels(GRAY[:, :, None], 1), GRAY[:, :, None])
    np.testing.assert_array_equal(convert_channels(GRAY, 3), np.dstack([GRAY] * 3))
    np.testing.assert_array_equal(convert_channels(RGB, 3), RGB)
    luma = convert_channels(RGB, 1)
    assert (luma.shape, luma.dtype) == ((23, 37, 1), np.uint8)
    # Pillow computes the same ITU-R BT.601 luma in integers.
    pillow = np.asarray(Image.fromarray(RGB).convert("L"), np.int32)
    assert np.abs(luma[:, :, 0].astype(np.int32) - pillow).max() <= 1
    white = np.full((2, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(convert_channels(white, 1), white[:, :, :1])


def test_gray_to_color_and_back_is_the_same():
    np.testing.assert_array_equal(convert_channels(convert_channels(GRAY, 3), 1)[:, :, 0], GRAY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_in_the_header_is_that_of_the_pixels(tmp_path, kind, orientation):
    path = tmp_path / "a"
    path.write_bytes(with_orientation(GRAY, orientation, kind))
    assert read_image_size(path) == read_image(path).shape


def test_the_header_gives_the_size_of_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(GRAY))[:80])
    assert read_image_size(path) == GRAY.shape
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image that can be read"):
        read_image_size(path)
    with pytest.raises(ImageError, match="cannot read the image"):
        read_image_size(tmp_path / "b.png")


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3)])
def test_resized_images_have_the_width_and_height_asked_for_and_keep_their_channels(shape):
    image = np.full(shape, 7, np.uint8)
    resized = resize_image(image, (12, 8))
    assert resized.shape == (8, 12, *shape[2:])
    assert (resized == 7).all()
    masks = (RNG.random(shape) < 0.5).astype(np.uint8)
    assert set(np.unique(resize_image(masks, (45, 33), cv2.INTER_NEAREST))) == {0, 1}


@pytest.mark.parametrize(("height", "width"), [(32, 64), (33, 63), (1, 31)])
def test_padded_images_are_mirrored_to_the_next_multiple_of_the_stride(height, width):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    padded = pad_image(image, 32)
    assert padded.shape == (-height // 32 * -32, 64 if width > 32 else 32, 3)
    np.testing.assert_array_equal(padded[:height, :width], image)
    if width % 32:
        np.testing.assert_array_equal(padded[:height, width], image[:, -1])


def test_a_jpeg_for_people_keeps_thin_colored_lines(tmp_path):
    image = np.full((40, 60, 3), 128, np.uint8)
    image[20] = (204, 121, 167)
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(image))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).max() < 20


@pytest.mark.parametrize("shape", [(40, 60, 3), (1, 1, 3), (3, 701, 3), (700, 9, 3)])
def test_a_fast_png_has_every_pixel(tmp_path, shape):
    image = RNG.integers(0, 256, shape, np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    before = image.copy()
    assert encode_png(image, overwrite=True) == encode_png(before)


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("size", [(40, 60), (1, 1), (29, 701)])
def test_a_png_of_strips_has_every_pixel(tmp_path, size, rows):
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    strips = (image[top : top + rows] for top in range(0, size[0], rows))
    write_pieces(tmp_path / "a.png", png_pieces(size, strips))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_an_object_of_a_store_is_read_as_a_file_is(monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec comes with s3fs, and with torch")
    stored = StoredObject("memory://bucket/a.png")
    with memory_store() as store:
        store.pipe_file("/bucket/a.png", encoded(Image.fromarray(RGB)))
        assert np.array_equal(read_image(stored), RGB)
        assert read_image_size(stored) == RGB.shape[:2]
        assert np.array_equal(read_given(stored, 3, EIGHT_BITS), RGB)

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("no answer")

        monkeypatch.setattr(type(store), "cat_file", fail)
        for read in (read_image, read_image_size):
            with pytest.raises(StoreError, match="a.png: no answer. Check the connection and the"):
                read(stored)
