import os
import re
import shutil

import numpy as np
import pytest
from locked_files import lock
from resealing import reseal_dataset, unseal

import defectkit
from defectkit.data.dataset import TABLES, Dataset
from defectkit.data.images import read_image, write_png
from defectkit.errors import DatasetError, DefectkitWarning, ImageError
from defectkit.files import read_csv, read_json
from defectkit.labels import rle
from defectkit.regions import Region, measure_regions
from defectkit.vocabulary import SPLITS


def test_a_prepared_dataset_reads_back(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    rows = read_csv(dataset_folder / "images.csv")
    assert dataset.classes == ("1", "2")
    assert dataset.channels == 1
    assert [record.image_id for record in dataset.records] == [row["image_id"] for row in rows]
    by_split = {name: dataset.split(name) for name in SPLITS}
    assert sum(map(len, by_split.values())) == len(rows) == 20
    assert all(record.split == name for name, records in by_split.items() for record in records)
    for record, row in zip(dataset.records, rows, strict=True):
        assert record.defective == (row["defective"] == "1") == bool(record.rles)


def test_images_and_masks_are_those_of_the_source(dataset_folder, source_csv):
    dataset = Dataset.load(dataset_folder)
    boxes = {row["image_id"]: row for row in read_csv(dataset_folder / "defects.csv")}
    for record in dataset.records:
        image, masks = record.read_image(1), record.read_masks(dataset.classes)
        assert (image.shape, image.dtype) == ((96, 96, 1), np.uint8)
        assert (masks.shape, masks.dtype) == ((2, 96, 96), np.uint8)
        stored = read_image(source_csv.parent / "Train" / record.image_id)
        np.testing.assert_array_equal(image[:, :, 0], stored)
        # In the fixture exactly the defects are bright.
        np.testing.assert_array_equal(masks.any(axis=0), stored >= 200)
        assert record.read_image(3).shape == (96, 96, 3)
        for region in measure_regions(masks.any(axis=0)):
            row = boxes[record.image_id]
            assert region.box_xywh == tuple(int(row[k]) for k in ("x", "y", "width", "height"))
            assert masks[dataset.classes.index(row["class_id"])].sum() == int(row["area"])


def test_the_regions_are_those_of_the_masks(dataset_folder):
    records = Dataset.load(dataset_folder).records
    for record in records:
        measured = [
            region
            for class_id in record.rles
            for region in measure_regions(record.read_masks([class_id])[0], class_id)
        ]
        assert record.regions == tuple(measured)
    assert sum(len(record.regions) for record in records) == 10


def test_the_regions_of_an_image_come_in_the_order_of_the_table(tmp_path, quiet):
    # Class 2 stands first in the labels; it has a ring with a region inside of it.
    mask = np.zeros((40, 50), np.uint8)
    mask[5:25, 5:30] = 1
    mask[8:22, 8:27] = 0
    mask[12:15, 12:16] = 1
    lines = ["ImageId,ClassId,EncodedPixels"]
    for index in range(9):
        write_png(tmp_path / "images" / f"{index}.png", np.full((40, 50), 10 * index, np.uint8))
        lines += [f"{index}.png,2,{rle.encode(mask)}", f"{index}.png,1,1 3"]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    defectkit.prepare(tmp_path / "train.csv", out=tmp_path / "out", console=quiet)
    record = Dataset.load(tmp_path / "out").records[0]
    assert record.regions == (
        *measure_regions(mask, "2"),
        Region(class_id="1", box_xywh=(0, 0, 1, 3), area=3),
    )
    assert [region.area for region in record.regions] == [20 * 25 - 14 * 19, 12, 3]


def test_a_mask_that_is_not_that_of_its_regions_is_refused(dataset_copy):
    masks = dataset_copy / "masks.csv"
    head, _, length = masks.read_text().rstrip().rpartition(" ")
    masks.write_text(f"{head} {int(length) - 1}\n")
    reseal_dataset(dataset_copy)
    dataset = Dataset.load(dataset_copy)
    record = next(one for one in reversed(dataset.records) if one.rles)
    message = (
        rf"masks\.csv and defects\.csv contradict each other: class {min(record.rles)} of "
        rf"{record.image_id} has 395 pixels in the one and 396 in the other\. Run 'defectkit prep"
    )
    with pytest.raises(DatasetError, match=message):
        record.read_masks(dataset.classes)


def test_masks_follow_the_order_of_the_classes_asked_for(dataset_folder):
    record = next(r for r in Dataset.load(dataset_folder).records if "2" in r.rles)
    forward, backward = record.read_masks(("1", "2")), record.read_masks(("2", "1"))
    np.testing.assert_array_equal(forward, backward[::-1])
    assert forward[1].any()
    assert not record.read_masks(("9",)).any()


def test_images_and_defects_are_frames_with_the_columns_of_their_files(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    for table, name in ((dataset.images, "images.csv"), (dataset.defects, "defects.csv")):
        rows = read_csv(dataset_folder / name)
        assert list(table.columns) == list(rows[0])
        assert (
            table.astype({"defective": int} if "defective" in table else {})
            .astype(str)
            .to_dict("records")
            == rows
        )
    assert dataset.images is dataset.images
    assert dataset.images["defective"].dtype == bool
    assert dataset.images["defective"].tolist() == [one.defective for one in dataset.records]
    assert dataset.images.loc[dataset.images["defective"], "split"].value_counts().sum() == 10
    assert dataset.defects.groupby("class_id")["area"].sum().to_dict() == {
        "1": 5 * 396,
        "2": 5 * 396,
    }
    assert len(dataset.defects) == sum(len(record.regions) for record in dataset.records)


def test_ids_and_classes_that_look_like_other_things_stay_text_in_the_frames(tmp_path, quiet):
    names = ["007", "NA", "1e5", "nan", "", "None", "=1+1", "1"]
    lines = ["ImageId,ClassId,EncodedPixels"]
    for index, name in enumerate(names):
        image_id = f"{name}{'x' if not name else ''}"
        write_png(tmp_path / "Train" / f"{image_id}.png", np.full((9, 9), 20 * index, np.uint8))
        lines.append(f"{image_id},{['01', 'NA', '1e5'][index % 3]},1 2")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    defectkit.prepare(tmp_path / "train.csv", out=tmp_path / "out", console=quiet)
    dataset = Dataset.load(tmp_path / "out")
    assert set(dataset.images["image_id"]) == {"007", "NA", "1e5", "nan", "x", "None", "=1+1", "1"}
    assert set(dataset.images["group"]) == set(dataset.images["image_id"])
    assert set(dataset.defects["class_id"]) == {"01", "NA", "1e5"}
    assert set(dataset.defects["image_id"]) == set(dataset.images["image_id"])
    assert dataset.defects["area"].sum() == 2 * len(names)


def test_the_frames_of_a_dataset_without_defects_have_their_columns(dataset_copy):
    for name in ("masks.csv", "defects.csv"):
        path = dataset_copy / name
        path.write_text(path.read_text().splitlines()[0] + "\n")
    reseal_dataset(dataset_copy)
    dataset = Dataset.load(dataset_copy)
    assert list(dataset.defects.columns)[:3] == ["image_id", "class_id", "defect_id"]
    assert len(dataset.defects) == 0
    assert not any(record.regions for record in dataset.records)


def test_color_images_make_a_color_dataset(dataset_copy):
    images = dataset_copy / "images.csv"
    lines = images.read_text().splitlines()
    lines[3] = lines[3].replace("96,96,1,", "96,96,3,")
    images.write_text("\n".join(lines) + "\n")
    reseal_dataset(dataset_copy)
    assert Dataset.load(dataset_copy).channels == 3


def test_a_folder_that_is_not_a_dataset_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "x").mkdir()
    message = r"x is not a dataset \(it has no dataset\.json\)\. Check the path, or make a"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(tmp_path / "x")
    with pytest.raises(DatasetError, match=r"y does not exist\. Check the path, or make a dataset"):
        Dataset.load(tmp_path / "y")


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_other_format_versions_are_refused(version, dataset_copy):
    reseal_dataset(dataset_copy, format_version=version)
    message = rf"format version {version}; this version of defectkit reads 1 to 2\. Run"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(dataset_copy)


def without_last_line(text):
    return "".join(text.splitlines(keepends=True)[:-1])


DAMAGE = {
    "dataset.json is cut": ("dataset.json", lambda text: text[: len(text) // 2]),
    "dataset.json is a list": ("dataset.json", lambda _: "[]"),
    "dataset.json has other classes": ("dataset.json", lambda text: text.replace('"1"', "1", 1)),
    "images.csv is cut": ("images.csv", lambda text: text[: len(text) * 2 // 3]),
    "images.csv has a word for a number": ("images.csv", lambda text: text.replace("96", "x", 1)),
    "images.csv has an unknown split": ("images.csv", lambda text: text.replace("val", "dev")),
    "images.csv lacks a column": ("images.csv", lambda text: text.replace("sha256", "sha", 1)),
    "images.csv has a cell too many": ("images.csv", lambda text: text[:-1] + ",x\n"),
    "masks.csv is no text": ("masks.csv", lambda _: "\x80\x81"),
    "masks.csv lacks a column": ("masks.csv", lambda text: text.replace("rle", "run")),
    "masks.csv lacks a mask": ("masks.csv", without_last_line),
    "defects.csv is cut": ("defects.csv", lambda text: text[: len(text) * 2 // 3]),
    "defects.csv has a word for a number": (
        "defects.csv",
        lambda text: text.replace(",18,22,396", ",18,x,396", 1),
    ),
    "defects.csv lacks a column": ("defects.csv", lambda text: text.replace("area", "size")),
    "defects.csv lacks a region": ("defects.csv", without_last_line),
    "defects.csv has a box without pixels": (
        "defects.csv",
        lambda text: text.replace(",18,22,396", ",18,0,396", 1),
    ),
    "defects.csv has a box that is smaller than its area": (
        "defects.csv",
        lambda text: text.replace(",18,22,396", ",18,21,396", 1),
    ),
    "defects.csv has a box outside of the image": (
        "defects.csv",
        lambda text: text.replace(",18,22,396", ",180,22,396", 1),
    ),
    "defects.csv has another class": (
        "defects.csv",
        lambda text: text.replace(".png,1,1,", ".png,2,1,", 1),
    ),
}


WHOLE_JSON = DAMAGE.keys() - {"dataset.json is cut", "dataset.json is a list"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_datasets_are_refused_with_the_way_out(damage, dataset_copy):
    name, change = DAMAGE[damage]
    path = dataset_copy / name
    before = path.read_text()
    assert change(before) != before
    path.write_bytes(change(before).encode("latin-1"))
    if damage in WHOLE_JSON:
        reseal_dataset(dataset_copy)
    message = r"dataset is damaged(: .* is not JSON)? \(.*\)\. Run 'defectkit prepare' again"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(dataset_copy)


@pytest.mark.parametrize("name", ["dataset.json", "images.csv", "masks.csv"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, dataset_copy, monkeypatch):
    told = lock(monkeypatch, dataset_copy / name)
    with pytest.raises(DatasetError, match=f"^{re.escape(told)}$"):
        Dataset.load(dataset_copy)


@pytest.mark.parametrize("name", ["images.csv", "masks.csv", "defects.csv"])
def test_a_missing_table_is_damage_too(name, dataset_copy):
    (dataset_copy / name).unlink()
    with pytest.raises(DatasetError, match=rf"is damaged: {name} is missing"):
        Dataset.load(dataset_copy)
    reseal_dataset(dataset_copy)
    with pytest.raises(DatasetError, match=rf"is damaged \(FileNotFoundError: .*{name}"):
        Dataset.load(dataset_copy)


@pytest.mark.check(55)
@pytest.mark.parametrize("name", TABLES[:-1])
def test_a_table_edited_by_hand_is_refused_with_the_way_out(name, dataset_copy):
    table = dataset_copy / name
    table.write_text(table.read_text() + "\n")
    message = rf"is damaged: {name} was changed after it was written\. Run .* again; .* --meta"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(dataset_copy)


@pytest.mark.check(55)
def test_no_mixture_of_two_datasets_is_loaded(dataset_folder, dataset_copy, tmp_path, quiet, tally):
    table = dataset_copy.parent / "train.csv"
    shutil.copy(dataset_folder.parent / "train.csv", table)
    other = tmp_path / "moved" / "other"
    defectkit.prepare(table, out=other, seed=5, console=quiet)
    assert (other / "images.csv").read_bytes() != (dataset_copy / "images.csv").read_bytes()
    for name in ("dataset.json", *TABLES):
        if not (other / name).exists():
            continue
        own = (dataset_copy / name).read_bytes()
        if own == (other / name).read_bytes():
            continue
        shutil.copy(other / name, dataset_copy / name)
        with tally.case(name), pytest.raises(DatasetError, match="was changed after"):
            Dataset.load(dataset_copy)
        (dataset_copy / name).write_bytes(own)
    assert tally.tried >= 2
    Dataset.load(dataset_copy)


@pytest.mark.check(55)
@pytest.mark.parametrize("name", ["dataset.json", "images.csv", "masks.csv", "defects.csv"])
def test_no_bit_of_a_dataset_can_flip_unseen(name, dataset_copy, tally):
    path = dataset_copy / name
    whole = path.read_bytes()
    places = np.random.default_rng(55).integers(8 * len(whole), size=tally.number(15, 500))
    for place in map(int, places):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with tally.case(place), pytest.raises(DatasetError, match="Run 'defectkit prepare' again"):
            Dataset.load(dataset_copy)


def test_a_dataset_whose_line_ends_git_changed_is_the_same(dataset_folder, dataset_copy):
    for name in ("dataset.json", *TABLES[:-1]):
        path = dataset_copy / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    ours, theirs = Dataset.load(dataset_copy), Dataset.load(dataset_folder)
    assert ours.fingerprint == theirs.fingerprint
    assert [one.rles for one in ours.records] == [one.rles for one in theirs.records]


def test_a_dataset_of_an_earlier_version_loads_with_a_warning(dataset_folder, dataset_copy):
    unseal(dataset_copy / "dataset.json")
    message = r"without a seal: .* is not known\. Run 'defectkit prepare' again to get one"
    with pytest.warns(DefectkitWarning, match=message):
        dataset = Dataset.load(dataset_copy)
    assert dataset.fingerprint == Dataset.load(dataset_folder).fingerprint


def test_a_split_without_images_is_refused(dataset_copy):
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",test,", ",train,"))
    reseal_dataset(dataset_copy)
    message = r"in the test split \(.*\): evaluate another with --split val, or run"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(dataset_copy).split("test")


def test_an_image_that_changed_its_size_is_refused(dataset_copy):
    record = Dataset.load(dataset_copy).records[0]
    write_png(record.path, np.zeros((50, 60), np.uint8))
    message = (
        r"is 60x50 but was 96x96 when the dataset was prepared\. Run 'defectkit prepare' again"
    )
    with pytest.raises(DatasetError, match=message):
        record.read_image(1)


def edit_in_place(path, before, after):
    """Replace bytes by as many others; size and times stay what they were."""
    times, content = path.stat(), path.read_bytes()
    assert content.count(before) >= 1
    assert len(before) == len(after)
    path.write_bytes(content.replace(before, after, 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)


@pytest.mark.slow
@pytest.mark.check(35)
def test_a_label_edited_in_place_is_seen_by_what_was_trained_on_it(dataset_copy, run_copy, quiet):
    before = Dataset.load(dataset_copy)
    record = next(one for one in before.records if one.rles)
    ((class_id, text),) = record.rles.items()
    moved = re.sub(r"^\d+", lambda start: str(int(start[0]) + 1), text)
    edit_in_place(dataset_copy / "masks.csv", text.encode(), moved.encode())
    with pytest.raises(DatasetError, match="masks.csv was changed after it was written"):
        Dataset.load(dataset_copy)
    reseal_dataset(dataset_copy)
    after = Dataset.load(dataset_copy)
    assert after.fingerprint != before.fingerprint
    edited = next(one for one in after.records if one.image_id == record.image_id)
    np.testing.assert_array_equal(
        edited.read_masks([class_id])[0], rle.decode(moved, (record.height, record.width))
    )
    evaluated = defectkit.evaluate(run_copy, data=dataset_copy, device="cpu", console=quiet)
    told = read_json(evaluated.folder / "metrics.json")["evaluated"]["another_lot"]
    assert told["seen_images"] == sum(one.split != "test" for one in after.records)


@pytest.mark.check(35)
def test_a_label_edited_in_the_table_is_seen_when_it_is_prepared_again(dataset_copy, quiet):
    table = dataset_copy.parent / "train.csv"
    rows = [f"part-{n:02d}.png,{'1,100 5' if n < 8 else ','}\n" for n in range(16)]
    table.write_text("".join(["ImageId,ClassId,EncodedPixels\n", *rows]))
    defectkit.prepare(table, out=dataset_copy, console=quiet)
    before = Dataset.load(dataset_copy)
    edit_in_place(table, b"100 5", b"200 7")
    defectkit.prepare(table, out=dataset_copy, console=quiet)
    after = Dataset.load(dataset_copy)
    assert [one.rles for one in before.records if one.rles] == [{"1": "100 5"}] * 8
    edited = [one.image_id for one in after.records if one.rles == {"1": "200 7"}]
    assert edited == ["part-00.png"]
    assert after.fingerprint != before.fingerprint
    assert after.info["source"]["sha256"] != before.info["source"]["sha256"]


@pytest.mark.check(35)
def test_an_image_edited_in_place_is_refused(dataset_copy):
    record = Dataset.load(dataset_copy).records[0]
    times, image = record.path.stat(), record.read_image(1)
    write_png(record.path, 255 - image[:, :, 0])
    os.utime(record.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DatasetError, match=r"was changed since .* \(its SHA-256 differs\)"):
        record.read_image(1)


def test_an_image_that_is_gone_is_refused(dataset_copy):
    record = Dataset.load(dataset_copy).records[0]
    record.path.unlink()
    with pytest.raises(ImageError, match=f"cannot read the image .*{record.image_id}"):
        record.read_image(1)


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(dataset_folder, dataset_copy):
    assert Dataset.load(dataset_copy).fingerprint == Dataset.load(dataset_folder).fingerprint
    reseal_dataset(dataset_copy, source={"path": "elsewhere", "sha256": "0"})
    assert Dataset.load(dataset_copy).fingerprint == Dataset.load(dataset_folder).fingerprint


@pytest.mark.parametrize("change", ["mask", "split", "image", "id"])
def test_the_fingerprint_changes_with(change, dataset_folder, dataset_copy):
    images, masks = dataset_copy / "images.csv", dataset_copy / "masks.csv"
    record = Dataset.load(dataset_copy).records[0]
    match change:
        case "mask":
            head, _, start_and_length = masks.read_text().rpartition(",")
            start, length, *rest = start_and_length.split()
            moved = " ".join([start, str(int(length) - 1), *rest])
            masks.write_text(f"{head},{moved}\n")
        case "split":
            images.write_text(images.read_text().replace(",val,", ",test,", 1))
        case "image":
            images.write_text(images.read_text().replace(record.sha256, "0" * 64))
        case "id":
            images.write_text(images.read_text().replace(record.image_id, "other", 1))
    reseal_dataset(dataset_copy)
    changed = Dataset.load(dataset_copy)
    assert changed.fingerprint != Dataset.load(dataset_folder).fingerprint


def test_a_dataset_and_its_images_move_together(dataset_folder, dataset_copy, tmp_path):
    moved = shutil.move(dataset_copy.parent, tmp_path / "further" / "away")
    dataset = Dataset.load(f"{moved}/dataset")
    for ours, theirs in zip(dataset.records, Dataset.load(dataset_folder).records, strict=True):
        assert ours.path != theirs.path
        np.testing.assert_array_equal(ours.read_image(1), theirs.read_image(1))


def test_scopes_are_read_and_part_of_the_fingerprint(tmp_path, dataset_folder):
    folder = shutil.copytree(dataset_folder, tmp_path / "dataset")
    plain = Dataset.load(folder)
    ids = [record.image_id for record in plain.records]
    text = f"image_id,kind,shape\n,roi,'2,3,40,50'\n{ids[1]},ignored,5 7\n{ids[2]},roi,'0,0,9,9'\n"
    (folder / "scope.csv").write_text(text.replace("'", '"'))
    with pytest.raises(DatasetError, match=r"is damaged: scope\.csv was changed after"):
        Dataset.load(folder)
    reseal_dataset(folder)
    dataset = Dataset.load(folder)
    scopes = [(record.roi, record.ignored) for record in dataset.records[:4]]
    assert scopes == [("2,3,40,50", ""), ("2,3,40,50", "5 7"), ("0,0,9,9", ""), ("2,3,40,50", "")]
    assert dataset.records[1].read_scope().ignored.sum() == 7
    assert plain.records[0].read_scope().counted is None
    assert dataset.fingerprint != plain.fingerprint
    assert dataset.common_roi is plain.common_roi is None
    for row, problem in ((",mask,5 7", "KeyError: 'mask'"), ("no.png,roi,5 7", "names no.png")):
        (folder / "scope.csv").write_text(f"image_id,kind,shape\n{row}\n")
        reseal_dataset(folder)
        with pytest.raises(DatasetError, match=f"is damaged.*{problem}"):
            Dataset.load(folder)
