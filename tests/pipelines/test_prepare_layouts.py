"""The layouts of public data sets, written small, and prepared as a whole."""

import numpy as np
import pytest
from label_forms import prepared

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.files import read_csv, read_json

SIZE = (24, 40)
NAMES = [f"{index:03}" for index in range(12)]
DEFECTIVE = NAMES[:8]
CLASSES = {name: ("dent", "crack")[index % 2] for index, name in enumerate(NAMES)}
SPLIT = {name: ("train", "train", "test")[index // 2 % 3] for index, name in enumerate(NAMES)}


def image_of(name):
    return np.random.default_rng(int(name)).integers(0, 256, SIZE, np.uint8)


def mask_of(name, value=255):
    mask = np.zeros(SIZE, np.uint8)
    mask[4:9, 6 : 12 + int(name)] = value * (name in DEFECTIVE)
    return mask


def write_mvtec(root):
    for name in NAMES:
        if name in DEFECTIVE:
            write_png(root / "test" / CLASSES[name] / f"{name}.png", image_of(name))
            path = root / "ground_truth" / CLASSES[name] / f"{name}_mask.png"
            write_png(path, mask_of(name))
        else:
            write_png(root / "train" / "good" / f"{name}.png", image_of(name))


def write_ksdd(root):
    for name in NAMES:
        write_png(root / f"kos{name}" / "Part0.png", image_of(name))
        write_png(root / f"kos{name}" / "Part0_label.bmp", mask_of(name))


def write_ksdd2(root):
    for name in NAMES:
        write_png(root / SPLIT[name] / f"{name}.png", image_of(name))
        write_png(root / SPLIT[name] / f"{name}_GT.png", mask_of(name))


def write_dagm(root):
    for name in NAMES:
        folder = root / "Class1" / SPLIT[name].capitalize()
        write_png(folder / f"{name}.PNG", image_of(name))
        if name in DEFECTIVE:
            write_png(folder / "Label" / f"{name}_label.PNG", mask_of(name))


def write_cvat(root):
    colors = {"dent": (250, 50, 83), "crack": (51, 221, 255)}
    for name in NAMES:
        write_png(root / "JPEGImages" / f"{name}.png", image_of(name))
        color = np.array(colors[CLASSES[name]], np.uint8)
        mask = (mask_of(name, 1)[:, :, None] * color).astype(np.uint8)
        write_png(root / "SegmentationClass" / f"{name}.png", mask)
        write_png(root / "SegmentationObject" / f"{name}.png", mask[:, :, ::-1].copy())
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in colors.items()]
    (root / "labelmap.txt").write_text("\n".join(["background:0,0,0::", *lines]))


def write_one_mask_per_class(root):
    for name in NAMES:
        write_png(root / "Images" / f"{name}.png", image_of(name))
        for class_id in ("dent", "crack"):
            mask = mask_of(name) * (CLASSES[name] == class_id)
            write_png(root / "MASKS" / f"{name}_{class_id}.png", mask)


def write_photos_and_masks(root):
    for name in NAMES:
        write_png(root / f"{name}.jpg", image_of(name))  # By its name; its content is PNG.
        write_png(root / f"{name}.png", mask_of(name))


LAYOUTS = {
    "mvtec": (write_mvtec, {"dent", "crack"}, {}),
    "ksdd": (write_ksdd, {"1"}, {}),
    "ksdd2": (write_ksdd2, {"1"}, {}),
    "dagm": (write_dagm, {"1"}, {"unlisted": "good"}),
    "cvat": (write_cvat, {"dent", "crack"}, {}),
    "one mask per class": (write_one_mask_per_class, {"dent", "crack"}, {}),
    "photos and masks": (write_photos_and_masks, {"1"}, {}),
}


@pytest.mark.check(42)
@pytest.mark.check(43)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_public_data_sets_are_read_as_a_person_does(tmp_path, layout):
    write, classes, options = LAYOUTS[layout]
    write(tmp_path / "set")
    out = prepared(tmp_path / "set", tmp_path / "out", **options)
    images = read_csv(out / "images.csv")
    assert len(images) == len(NAMES)  # Masks are no images.
    assert sum(row["defective"] == "1" for row in images) == len(DEFECTIVE)
    info = read_json(out / "dataset.json")
    assert set(info["classes"]) == classes
    areas = sum(int(row["area"]) for row in read_csv(out / "defects.csv"))
    assert areas == sum(int((mask_of(name) > 0).sum()) for name in NAMES)
    if layout in ("ksdd2", "dagm"):
        for row in images:
            name = row["image_id"].rpartition("/")[2].partition(".")[0]
            assert (row["split"] == "test") == (SPLIT[name] == "test")


@pytest.mark.check(42)
def test_soft_masks_stop_and_a_threshold_reads_them(tmp_path):
    for name in NAMES:
        write_png(tmp_path / "images" / f"{name}.png", image_of(name))
        mask = mask_of(name)
        mask[3:10, 5 : 13 + int(name)] = np.maximum(mask_of(name, 90)[4:5, 6:7], 0)
        mask[4:9, 6 : 12 + int(name)] = mask_of(name)[4:5, 6:7]
        write_png(tmp_path / "masks" / f"{name}.png", mask)
    with pytest.raises(LabelError, match="soft edges .*--mask-threshold 128"):
        prepared(tmp_path, tmp_path / "out")
    out = prepared(tmp_path, tmp_path / "out", mask_threshold=128)
    areas = sum(int(row["area"]) for row in read_csv(out / "defects.csv"))
    assert areas == sum(int((mask_of(name) > 0).sum()) for name in NAMES)
