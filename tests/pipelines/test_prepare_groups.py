import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from label_source import Source, boxes
from rich.console import Console

from defectkit.data.images import read_image, write_png
from defectkit.errors import DatasetError
from defectkit.files import read_csv
from defectkit.pipelines import prepare
from defectkit.synthesis.generator import synthesize


def groups_of(source: Source) -> dict[str, tuple[str, str]]:
    return {row["image_id"]: (row["group"], row["split"]) for row in source.table("images.csv")}


@pytest.mark.parametrize(
    ("column", "group_by"), [("group", None), ("lot", "lot"), (None, r"(\d)\.png$")]
)
def test_groups_come_from_a_column_or_a_pattern_and_stay_whole(source, column, group_by):
    meta = source.folder / "meta.csv"
    meta.write_text(
        f"ImageId,{column or 'other'}\n"
        + "".join(f"{row[0]},{row[0].removesuffix('.png')[-1]}\n" for row in source.rows[1:])
    )
    summary = source.prepare(meta=meta, group_by=group_by)
    found = groups_of(source)
    assert {group for group, _ in found.values()} == set("0123456789")
    assert len(set(found.values())) == 10  # so no group is in two splits
    assert summary.warnings == ()


def test_a_column_of_the_table_itself_groups_too(tmp_path):
    source = Source(tmp_path)
    source.good(6)
    source.defective(6)
    source.rows = [[*row, "group" if n == 0 else str(n % 5)] for n, row in enumerate(source.rows)]
    source.prepare()
    assert {group for group, _ in groups_of(source).values()} == set("01234")


def test_images_without_a_group_stand_alone_and_are_counted(source):
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,group\ngood0.png,bad0.png\ngood1.png,bad0.png\n")
    summary = source.prepare(meta=meta)
    found = groups_of(source)
    assert found["good0.png"] == found["good1.png"]
    assert found["bad0.png"][0] == "bad0.png_"  # an image, not the group of that name
    assert summary.warnings == ("17 images have no group; each is a group of its own",)


@pytest.mark.parametrize(
    ("group_by", "problem"),
    [
        ("part", "is not a column, and as a pattern it matches no image id"),
        ("(", "is neither a column"),
    ],
)
def test_a_grouping_that_fits_nothing_is_refused(source, group_by, problem):
    with pytest.raises(DatasetError, match=rf"--group-by .* {problem}.*The columns are: none"):
        source.prepare(group_by=group_by)


def test_a_given_split_is_honored(source):
    meta = source.folder / "meta.csv"
    names = [row[0] for row in source.rows[1:]]
    wanted = dict(zip(names, ["train", "val", "test", "train"] * 5, strict=False))
    meta.write_text("ImageId,split\n" + "".join(f"{k},{v}\n" for k, v in wanted.items()))
    source.prepare(meta=meta)
    assert {name: split for name, (_, split) in groups_of(source).items()} == wanted


@pytest.mark.check(4)
def test_copies_are_listed_and_share_a_split(source):
    for index in range(9):
        shutil.copy(source.images / f"bad{index}.png", source.images / f"copy{index}.png")
        source.add(f"copy{index}.png", "1", boxes((3 + index, 4, 6, 5)))
    shutil.copy(source.images / "good0.png", source.images / "odd.png")
    source.add("odd.png", "1", "5 2")
    summary = source.prepare()
    assert summary.leaks == 10
    found = groups_of(source)
    assert all(found[f"bad{index}.png"] == found[f"copy{index}.png"] for index in range(9))
    assert source.table("leaks.csv")[0] == {
        "image_id_a": "bad0.png",
        "image_id_b": "copy0.png",
        "kind": "exact",
        "similarity": "1.0000",
        "joined": "1",
    }
    assert summary.warnings == (
        "10 images are copies of another; both are in one split (leaks.csv)",
        "1 pairs of copies have different masks: good0.png and odd.png",
    )


@pytest.mark.check(4)
def test_a_given_split_that_divides_copies_is_refused_with_counts_and_pictures(source):
    shutil.copy(source.images / "bad0.png", source.images / "copy.png")
    source.add("copy.png", "1", boxes((3, 4, 6, 5)))
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,split\nbad0.png,train\ncopy.png,test\n")
    with pytest.raises(
        DatasetError,
        match=r"puts 1 of 1 pairs of images that show the same thing into different splits "
        r"\(1 exact\); "
        r"the first is bad0\.png \(train\) and copy\.png \(test\)\. All are in .*leaks\.csv, .*"
        r"preview/leaks\.png\..*give copies the same split.*--allow-leaks",
    ):
        source.prepare(meta=meta)
    assert [(row["image_id_b"], row["joined"]) for row in source.table("leaks.csv")] == [
        ("copy.png", "0")
    ]
    assert read_image(source.folder / "dataset" / "preview" / "leaks.png").ndim == 3
    assert not (source.folder / "dataset" / "dataset.json").exists()

    summary = source.prepare(meta=meta, allow_leaks=True)
    assert any("1 of these pairs are in different splits" in one for one in summary.warnings)
    splits = {row["image_id"]: row["split"] for row in source.table("images.csv")}
    assert (splits["bad0.png"], splits["copy.png"]) == ("train", "test")


@pytest.mark.check(4)
def test_copies_of_a_third_image_are_divided_too(source):
    for name in ("one.png", "other.png"):
        shutil.copy(source.images / "bad0.png", source.images / name)
        source.add(name, "1", boxes((3, 4, 6, 5)))
    meta = source.folder / "meta.csv"
    meta.write_text("ImageId,split\none.png,train\nother.png,test\n")
    with pytest.raises(
        DatasetError, match=r"1 of 2 pairs .* bad0\.png \(as another copy\) and other\.png \(test\)"
    ):
        source.prepare(meta=meta)


@pytest.fixture
def textures(tmp_path):
    """Twelve drawn textures, and three images that show one of them again."""
    source = Source(tmp_path / "textures")
    drawn = [synthesize(index, size=160).image for index in range(12)]
    pictures = {f"{index}.png": image for index, image in enumerate(drawn)}
    pictures["turned.png"] = np.rot90(drawn[2][4:])
    pictures["brighter.png"] = np.minimum(drawn[3], 235) + np.uint8(20)
    pictures["piece.png"] = drawn[4][:, 60:]
    for index, (name, image) in enumerate(pictures.items()):
        write_png(source.images / name, np.ascontiguousarray(image))
        source.add(name, *(("1", "5 2") if index % 2 else ("", "")))
    return source


@pytest.mark.check(4)
def test_near_duplicates_and_overlaps_are_joined_and_shown(textures):
    summary = textures.prepare()
    rows = {row["image_id_b"]: row for row in textures.table("leaks.csv")}
    assert {
        name: (row["image_id_a"], row["kind"], row["joined"]) for name, row in rows.items()
    } == {
        "turned.png": ("2.png", "near", "1"),
        "brighter.png": ("3.png", "near", "1"),
        "piece.png": ("4.png", "overlap", "1"),
    }
    assert all(0.9 < float(row["similarity"]) <= 1 for row in rows.values())
    found = groups_of(textures)
    assert all(found[name] == found[row["image_id_a"]] for name, row in rows.items())
    assert summary.warnings == (
        "2 pairs of images show the same thing in different files; both are in one split "
        "(leaks.csv)",
        "1 pair of images overlaps; both are in one split (leaks.csv)",
    )
    preview = textures.folder / "dataset" / "preview"
    assert (preview / "leaks.png").is_file()
    for name in rows:
        (textures.images / name).unlink()
    textures.rows = [row for row in textures.rows if row[0] not in rows]
    assert textures.prepare().leaks == 0
    assert not (preview / "leaks.png").exists()


@pytest.mark.check(4)
@pytest.mark.parametrize("name", ["turned.png", "brighter.png", "piece.png"])
def test_a_given_split_that_divides_near_duplicates_is_refused(textures, name):
    original = {"turned.png": "2.png", "brighter.png": "3.png", "piece.png": "4.png"}[name]
    meta = textures.folder / "meta.csv"
    textures.folder.mkdir(exist_ok=True)
    meta.write_text(f"ImageId,split\n{name},test\n{original},train\n")
    with pytest.raises(DatasetError, match=rf"1 of 3 pairs .*{original} \(train\) and {name}"):
        textures.prepare(meta=meta)


def test_a_given_split_that_divides_images_that_are_only_alike_is_warned_of(textures):
    image = synthesize(5, size=160).image
    noise = np.random.default_rng(0).normal(0, 30, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    write_png(textures.images / "noisy.png", noisy)
    textures.add("noisy.png", "1", "5 2")
    meta = textures.folder / "meta.csv"
    meta.write_text("ImageId,split\nnoisy.png,Testing\n5.png,TRAIN\n")
    summary = textures.prepare(meta=meta)
    (row,) = [row for row in textures.table("leaks.csv") if row["joined"] == "0"]
    assert (row["image_id_a"], row["image_id_b"]) == ("5.png", "noisy.png")
    assert 0.75 < float(row["similarity"]) < 0.95
    assert any(
        "1 of these pairs are in different splits; 1 of them are similar rather than "
        "identical: look at preview/leaks.png" in one
        for one in summary.warnings
    )
    assert (textures.folder / "dataset" / "preview" / "leaks.png").is_file()
    splits = {row["image_id"]: row["split"] for row in textures.table("images.csv")}
    assert (splits["5.png"], splits["noisy.png"]) == ("train", "test")


@pytest.mark.parametrize("val", [False, True])
def test_a_given_split_of_train_and_test_gets_its_validation_from_train(source, val):
    meta = source.folder / "meta.csv"
    names = [row[0] for row in source.rows[1:]]
    given = ["training", "Test", "Train", "validation" if val else "train"] * 5
    meta.write_text(
        "ImageId,split\n" + "".join(f"{a},{b}\n" for a, b in zip(names, given, strict=False))
    )
    summary = source.prepare(meta=meta)
    found = {name: split for name, (_, split) in groups_of(source).items()}
    kept = [name for name, one in zip(names, given, strict=False) if one == "Test"]
    assert all((found[name] == "test") == (name in kept) for name in names)
    assert summary.splits["val"] > 0
    assert val != any("the given split has no val images" in one for one in summary.warnings)


@pytest.mark.check(4)
def test_a_given_split_that_divides_a_group_is_refused(source, tally):
    names = [row[0] for row in source.rows[1:]]
    for index in range(1, tally.number(short=4, full=len(names))):
        pair = names[0], names[index]
        meta = source.folder / "meta.csv"
        meta.write_text(f"ImageId,group,split\n{pair[0]},g,train\n{pair[1]},g,test\n")
        with tally.case(pair), pytest.raises(DatasetError, match="divides 1 of 18 groups"):
            source.prepare(meta=meta)


@pytest.fixture(scope="module")
def fixed_camera(tmp_path_factory) -> Path:
    """16 images of one part under a fixed camera, of which the noise alone differs, and its CSV."""
    folder = tmp_path_factory.mktemp("camera")
    part = synthesize(0, size=128, surface="part").image.astype(np.float32)
    rows = ["ImageId,ClassId,EncodedPixels"]
    for index in range(16):
        noise = np.random.default_rng(index).normal(0, 3, part.shape)
        write_png(folder / "Train" / f"{index}.png", np.clip(part + noise, 0, 255).astype(np.uint8))
        rows.append(f"{index}.png,1,{1 + 128 * index} 9" if index % 2 else f"{index}.png,,")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


def prepare_camera(folder: Path, out: Path, **options: object) -> prepare.PrepareSummary:
    console = Console(file=io.StringIO())
    return prepare.run(folder / "train.csv", out=out, workers=0, console=console, **options)


@pytest.mark.slow
@pytest.mark.check(60)
def test_images_of_a_fixed_camera_can_be_split_in_the_ways_that_the_refusal_names(
    fixed_camera, tmp_path
):
    way_out = r"no defective images: .* keep them apart with --allow-leaks\."
    with pytest.raises(DatasetError, match=way_out):
        prepare_camera(fixed_camera, tmp_path / "out")
    assert len(read_csv(tmp_path / "out" / "leaks.csv")) > 14
    assert read_image(tmp_path / "out" / "preview" / "leaks.png").ndim == 3
    assert not (tmp_path / "out" / "dataset.json").exists()

    summary = prepare_camera(fixed_camera, tmp_path / "out", allow_leaks=True)
    assert all(summary.splits[split] >= 2 for split in ("train", "val", "test"))
    splits = {row["image_id"]: row["split"] for row in read_csv(tmp_path / "out" / "images.csv")}
    for row in read_csv(tmp_path / "out" / "leaks.csv"):
        same = splits[row["image_id_a"]] == splits[row["image_id_b"]]
        assert row["joined"] == str(int(same))
    assert any("of these pairs are in different splits" in one for one in summary.warnings)

    meta = tmp_path / "meta.csv"
    given = "".join(f"{n}.png,{('train', 'train', 'val', 'test')[n // 4]}\n" for n in range(16))
    meta.write_text(f"ImageId,split\n{given}")
    summary = prepare_camera(fixed_camera, tmp_path / "given", meta=meta, allow_leaks=True)
    assert summary.splits == {"train": 8, "val": 4, "test": 4}
