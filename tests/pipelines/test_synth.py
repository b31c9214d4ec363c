"""``synth`` writes the same labels and pixels each time, and nothing over what is not its own."""

from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.errors import ConfigError, OutputError
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.pipelines.synth import run
from defectkit.synthesis.generator import MIN_SIZE, synthesize

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"


@pytest.mark.slow
def test_sample_data_is_what_the_defaults_draw(tmp_path):
    run(tmp_path)
    assert (tmp_path / "train.csv").read_bytes() == (SAMPLE_DATA / "train.csv").read_bytes()
    names = sorted(path.name for path in (SAMPLE_DATA / "Train").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "Train").iterdir())
    for name in names:
        # Decoded pixels, not file bytes: these depend on the zlib that Pillow was built with.
        committed = read_image(SAMPLE_DATA / "Train" / name)
        assert committed.shape == (512, 512)
        np.testing.assert_array_equal(read_image(tmp_path / "Train" / name), committed, name)


def test_sample_data_fits_and_is_balanced():
    assert sum(path.stat().st_size for path in SAMPLE_DATA.rglob("*") if path.is_file()) <= 8e6
    rows = read_csv(SAMPLE_DATA / "train.csv")
    images = {row["ImageId"] for row in rows}
    assert images == {path.name for path in (SAMPLE_DATA / "Train").iterdir()}
    classes = [row["ClassId"] for row in rows]
    assert (len(images), classes.count("")) == (88, 43)
    assert abs(classes.count("1") - classes.count("2")) <= 2
    assert all(bool(row["ClassId"]) == bool(row["EncodedPixels"]) for row in rows)
    for row in rows:
        assert rle.decode(row["EncodedPixels"], (512, 512)).mean() < 0.1


def test_an_image_follows_from_seed_and_index_alone(tmp_path):
    for folder, images in (("few", 2), ("more", 4)):
        run(tmp_path / folder, images=images, size=MIN_SIZE, levels=256, seed=3)
    few = (tmp_path / "few" / "train.csv").read_text()
    assert (tmp_path / "more" / "train.csv").read_text().startswith(few)
    for index in (1, 0):
        written = read_image(tmp_path / "few" / "Train" / f"{index:04d}.png")
        np.testing.assert_array_equal(
            written, read_image(tmp_path / "more" / "Train" / f"{index:04d}.png")
        )
        np.testing.assert_array_equal(written, synthesize(index, size=MIN_SIZE, seed=3).image)
    other = synthesize(0, size=MIN_SIZE, seed=4)
    assert (written != other.image).mean() > 0.5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"images": 0}, "--images 0 is out of range. Choose between 1 and 100000."),
        ({"size": 127}, "--size 127 is out of range. Choose between 128 and 16384."),
        ({"textures": 7}, "--textures 7 is out of range. Choose between 1 and 6."),
        ({"images": 10**12}, "--images 1000000000000 is out of range. Choose between 1"),
        ({"size": 10**6}, "--size 1000000 is out of range. Choose between 128 and 16384."),
        ({"seed": -1}, "--seed -1 is out of range. Choose between 0 and 4294967295."),
        ({"difficulty": float("nan")}, "--difficulty nan is out of range. Choose between 0 and 1."),
        ({"difficulty": 1.1}, "--difficulty 1.1 is out of range. Choose between 0 and 1."),
        ({"levels": 1}, "--levels 1 is out of range. Choose between 2 and 256."),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "out", **setting)
    assert not (tmp_path / "out").exists()


def test_other_labels_are_not_overwritten(tmp_path):
    table = run(tmp_path, images=3, size=MIN_SIZE)
    ours = table.read_bytes()
    (tmp_path / "Train" / "0001.png").unlink()
    run(tmp_path, images=3, size=MIN_SIZE)  # The same again is no harm and repairs the folder.
    assert (tmp_path / "Train" / "0001.png").exists()
    table.write_bytes(b"\xff\xfe theirs")
    (tmp_path / "Train" / "0000.png").write_bytes(b"theirs")
    with pytest.raises(OutputError, match=r"train\.csv exists and has other labels.*--force"):
        run(tmp_path, images=3, size=MIN_SIZE)
    assert table.read_bytes() == b"\xff\xfe theirs"
    assert (tmp_path / "Train" / "0000.png").read_bytes() == b"theirs"
    run(tmp_path, images=3, size=MIN_SIZE, force=True)
    assert table.read_bytes() == ours


@pytest.mark.check(52)
def test_other_images_are_not_overwritten(tmp_path):
    theirs = tmp_path / "Train" / "0001.png"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    with pytest.raises(OutputError, match=r"0001\.png is not a file that this .* add --force"):
        run(tmp_path, images=3, size=MIN_SIZE)
    assert theirs.read_bytes() == b"theirs"
    assert not (tmp_path / "train.csv").exists()
    run(tmp_path, images=3, size=MIN_SIZE, force=True)
    assert theirs.read_bytes() != b"theirs"
    (tmp_path / ".defectkit.json").unlink()  # As by an earlier version, or from a repository.
    run(tmp_path, images=3, size=MIN_SIZE)


def test_images_of_the_user_stay(tmp_path):
    mine = tmp_path / "Train" / "mine.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    run(tmp_path, images=3, size=MIN_SIZE)
    run(tmp_path, images=2, size=MIN_SIZE, force=True)
    assert sorted(path.name for path in mine.parent.iterdir()) == [
        "0000.png", "0001.png", "mine.png"
    ]  # fmt: skip
