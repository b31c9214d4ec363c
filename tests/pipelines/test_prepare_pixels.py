"""Images of more than 8 bits and of other numbers of channels: prepared, trained, inspected."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.errors import DatasetError, ImageError, LabelError
from defectkit.files import read_csv, read_json
from defectkit.labels import rle

SIDE = 64
COUNT = 14


def scene(index):
    """A gray image; every other one has a bright square."""
    rng = np.random.default_rng([9, index])
    image = rng.integers(20, 130, (SIDE, SIDE), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if index % 2 == 0:
        x, y = rng.integers(2, SIDE - 24, 2)
        mask[y : y + 20, x : x + 20] = 1
        image[mask == 1] = rng.integers(200, 256, 400, dtype=np.uint8)
    return image, mask


def save_png(path, pixels):
    Image.fromarray(pixels).save(path)


def save_tiff(path, pixels):
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")


@pytest.fixture
def make(tmp_path, quiet):
    """Write the scenes as ``stored`` makes them of 8 bits, and prepare them."""

    def call(name, stored, *, save=save_png, suffix=".png", **options):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        lines = ["ImageId,ClassId,EncodedPixels"]
        for index in range(COUNT):
            image, mask = scene(index)
            image_id = f"p{index:02}{suffix}"
            save(folder / "images" / image_id, stored(image))
            lines.append(f"{image_id},1,{rle.encode(mask)}" if mask.any() else f"{image_id},,")
        (folder / "train.csv").write_text("\n".join(lines) + "\n")
        options = {"out": folder / "dataset", "console": quiet, "workers": 0, **options}
        return defectkit.prepare(folder / "train.csv", **options)

    return call


def pixels_of(summary):
    return np.stack([one.read_image(one.channels) for one in Dataset.load(summary.out).records])


def split_of(summary):
    rows = read_csv(summary.out / "images.csv")
    return [(row["image_id"], row["group"], row["split"]) for row in rows]


@pytest.mark.check(47)
def test_images_of_a_camera_of_more_bits_are_those_of_8_bits(make):
    as_8 = make("8", lambda image: image)
    for name, stored in {
        "10": lambda image: image.astype(np.uint16) * 4 + 3,
        "12": lambda image: image.astype(np.uint16) * 16 + 9,
        "12 of 4095": lambda image: np.rint(image * (4095 / 255)).astype(np.uint16),
        "12 in the upper bits": lambda image: (image.astype(np.uint16) * 16 + 9) * 16,
        "16": lambda image: image.astype(np.uint16) * 257,
        "8 in 16": lambda image: image.astype(np.uint16),
    }.items():
        deep = make(name, stored)
        np.testing.assert_array_equal(pixels_of(deep), pixels_of(as_8))
        for table in ("masks.csv", "defects.csv", "leaks.csv"):
            assert (deep.out / table).read_bytes() == (as_8.out / table).read_bytes()
        assert split_of(deep) == split_of(as_8)
        shown = [read_image(path.out / "preview" / "good.png") for path in (deep, as_8)]
        np.testing.assert_array_equal(*shown)


def test_workers_find_the_same_window(make):
    one = make("a", lambda image: image.astype(np.uint16) * 16, workers=0)
    other = make("b", lambda image: image.astype(np.uint16) * 16, workers=2)
    for name in ("dataset.json", "masks.csv"):
        first, second = ((one.out / name).read_text(), (other.out / name).read_text())
        assert first == second
    assert read_json(one.out / "dataset.json")["pixels"]["window"] == [0, 4095]


def test_a_window_and_percentiles_can_be_given(make):
    def stored(image):
        return image.astype(np.uint16) * 2 + 1000

    measured = make("measured", stored)
    assert any("a small part of 0 to 4095" in text for text in measured.warnings)
    given = make("given", stored, window="1000,1511")
    np.testing.assert_array_equal(pixels_of(given), pixels_of(make("8", lambda image: image)))
    percent = make("percent", stored, percentile="0,100")
    low, high = read_json(percent.out / "dataset.json")["pixels"]["window"]
    training = [
        np.asarray(Image.open(one.path)) for one in Dataset.load(percent.out).split("train")
    ]
    assert (low, high) == (np.min(training), np.max(training))
    assert Dataset.load(given.out).fingerprint != Dataset.load(measured.out).fingerprint
    clipped = make("clipped", stored, window="1000,1100")
    assert any("lie outside of 1000 to 1100 and become" in text for text in clipped.warnings)


@pytest.mark.check(47)
def test_the_window_is_that_of_the_training_images(make, tmp_path):
    """What is tested takes no part in it, however bright."""
    meta = tmp_path / "meta.csv"
    splits = ["test" if index in (0, 1) else "val" if index in (2, 3) else "train"
              for index in range(COUNT)]  # fmt: skip
    lines = [f"p{index:02}.png,{split}" for index, split in enumerate(splits)]
    meta.write_text("\n".join(["ImageId,split", *lines]) + "\n")
    numbers = iter(range(COUNT))

    def stored(image):
        return image.astype(np.uint16) * (64 if next(numbers) < 2 else 16)

    summary = make("brighter", stored, meta=meta)
    assert read_json(summary.out / "dataset.json")["pixels"]["window"] == [0, 4095]
    [said] = [text for text in summary.warnings if "above those of the training images" in text]
    assert said.startswith("2 images have values")
    assert said.endswith("(p00.png, p01.png)")


def test_8_bits_among_more_are_left_as_they_are(make):
    def stored(image):
        return image if image.max() < 200 else image.astype(np.uint16) * 16

    summary = make("mixed", stored)
    np.testing.assert_array_equal(pixels_of(summary), pixels_of(make("8", lambda image: image)))
    assert any("7 images have 8 bits and are not scaled" in text for text in summary.warnings)


def test_floats_need_a_window(make):
    def stored(image):
        return image / np.float32(256)

    with pytest.raises(LabelError, match=r"float32 pixels have no defined white\. Save 8 bits"):
        make("none", stored, save=np.save, suffix=".npy")
    summary = make("floats", stored, save=np.save, suffix=".npy", window="0,1")
    np.testing.assert_array_equal(pixels_of(summary), pixels_of(make("8", lambda image: image)))


def five(image):
    return np.dstack([image, 255 - image, image // 2, np.roll(image, 3), image])


def test_all_images_have_the_same_channels(make):
    def stored(image):
        return five(image) if image.max() < 200 else five(image)[:, :, :4]

    with pytest.raises(DatasetError, match=r"p\d\d.tif has 4 and p\d\d.tif has 5"):
        make("mixed", stored, save=save_tiff, suffix=".tif")


def test_pages_are_said_or_are_channels(make):
    def save(path, pixels):
        planes = [Image.fromarray(plane) for plane in np.moveaxis(pixels, 2, 0)]
        planes[0].save(path, save_all=True, append_images=planes[1:])

    first = make("first", five, save=save, suffix=".tif")
    assert any("14 images have several pages or frames" in text for text in first.warnings)
    np.testing.assert_array_equal(pixels_of(first), pixels_of(make("8", lambda image: image)))
    channels = make("channels", five, save=save, suffix=".tif", pages="channels")
    assert not any("pages" in text for text in channels.warnings)
    one = Dataset.load(channels.out).records[0]
    np.testing.assert_array_equal(one.read_image(5)[:, :, 0], one.read_image(5)[:, :, 4])


def train(summary, out, quiet, *settings):
    defectkit.train(
        data=summary.out,
        out=out,
        approach="segment",
        settings=["train.samples_per_epoch=4", "data.crop=64", "data.workers=0", *settings],
        epochs=1,
        device="cpu",
        console=quiet,
    )
    return out


@pytest.mark.slow
@pytest.mark.check(47)
def test_a_model_reads_the_next_lot_by_the_window_of_its_own(make, tmp_path, quiet):
    summary = make("first lot", lambda image: image.astype(np.uint16) * 16)
    run = train(summary, tmp_path / "run", quiet, "model.architecture=pixel_net")
    assert read_json(run / "model" / "model.json")["pixels"]["window"] == [0, 4095]
    model = defectkit.load(run, device="cpu")

    # The next lot is darker: a window measured on it would be another, 0 to 1023.
    image, _ = scene(0)
    stored, shown = (image // 8).astype(np.uint16) * 16 + 5, image // 8
    lot = tmp_path / "lot"
    lot.mkdir()
    save_png(lot / "deep.png", stored)
    expected = model.find(shown)
    np.testing.assert_array_equal(model.find(stored).score_map, expected.score_map)
    defectkit.inspect(run, lot, out=tmp_path / "out", device="cpu", console=quiet)
    (row,) = read_csv(tmp_path / "out" / "findings.csv")[:1]
    assert row["score"] == f"{expected.score:.9g}"


@pytest.mark.slow
def test_n_channels_are_trained_inspected_and_shown(make, tmp_path, quiet):
    summary = make("n", five, save=save_tiff, suffix=".tif", show_channels="4,1,0")
    run = train(summary, tmp_path / "run", quiet)
    defectkit.evaluate(run, console=quiet)
    model = defectkit.load(run, device="cpu")
    assert (model.approach.channels, model.pixels.shown) == (5, (4, 1, 0))
    image = five(scene(0)[0])
    lot = tmp_path / "lot"
    lot.mkdir()
    save_tiff(lot / "a.tif", image)
    write_png(lot / "b.png", image[:, :, 0])
    (lot / "notes.txt").write_text("no image")
    found = defectkit.inspect(
        run, lot, out=tmp_path / "out", overlays="all", device="cpu", console=quiet
    )
    assert found.unreadable == 1
    (error,) = read_csv(tmp_path / "out" / "errors.csv")
    assert error["error"] == (
        "the image has the shape (64, 64), but the model takes (H, W, 5), as the images that it "
        "was trained on."
    )
    overlay = read_image(tmp_path / "out" / "overlays" / "a.tif.png")
    places = np.lib.stride_tricks.sliding_window_view(overlay, (SIDE, SIDE, 3))[:, :, 0]
    same = (places == image[:, :, [4, 1, 0]]).all(axis=(2, 3, 4))
    assert same.any()
    with pytest.raises(ImageError, match=r"image must be \(H, W, 5\) uint8 but got \(64, 64\)"):
        model.find(image[:, :, 0])
