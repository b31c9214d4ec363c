import pytest

from defectkit.preparation.image_index import ImageIndex
from defectkit.preparation.mask_files import class_masks_beside_images, divide_pictures, pair_masks


@pytest.fixture
def divide(tmp_path):
    """Divide files that need not be there; return their names."""

    def call(*names):
        groups = divide_pictures(tmp_path, [tmp_path / name for name in names])
        return [[file.relative_to(tmp_path).as_posix() for file in group] for group in groups]

    return call


@pytest.fixture
def pair(tmp_path, divide):
    """Divide and pair files; return image and class by mask, and the rest."""

    def call(*names):
        masks, images, _ = divide_pictures(tmp_path, [tmp_path / name for name in names])
        found = pair_masks(tmp_path, masks, ImageIndex(tmp_path, images))
        pairs = {
            mask.path.relative_to(tmp_path).as_posix(): (mask.image_id, mask.class_id)
            for mask in found.masks
        }
        return pairs, found

    return call


@pytest.mark.check(42)
@pytest.mark.parametrize("end", ["_GT", "_gt", "_mask", "-label", "_seg", "_labels", "_annotation"])
def test_masks_beside_their_images_are_known_file_by_file(divide, end):
    names = [f"a{end}.bmp", "a.jpg", "b.png", f"lot/c{end}.png", "lot/d.png"]
    masks, images, others = divide(*names)
    assert masks == [f"a{end}.bmp", f"lot/c{end}.png"]  # c is no image though it has none.
    assert images == ["b.png", "a.jpg", "lot/d.png"] or set(images) == {
        "a.jpg", "b.png", "lot/d.png"
    }  # fmt: skip
    assert others == []


@pytest.mark.check(42)
def test_a_word_for_masks_alone_makes_no_mask(divide):
    assert divide("seal_label.png", "label.png", "b.png")[0] == []


@pytest.mark.check(42)
def test_files_beside_photos_of_the_same_name_are_masks(divide):
    assert divide("a.jpg", "a.png", "b.JPG", "b.bmp", "c.jpg")[0] == ["a.png", "b.bmp"]
    assert divide("a.jpg", "a.png", "c.png")[0] == []


def test_arrays_of_masks_count_where_no_image_has_their_name(divide):
    masks, _, others = divide(
        "JPEGImages/a.jpg", "SegmentationClass/a.npy", "SegmentationClassPNG/a.png", "gt/lot/a.npy"
    )
    assert masks == ["SegmentationClassPNG/a.png", "gt/lot/a.npy"]
    assert others == ["SegmentationClass/a.npy"]


def test_folders_of_masks_and_of_instances(divide):
    masks, images, others = divide(
        "JPEGImages/a.png", "SegmentationClass/a.png", "SegmentationObject/a.png"
    )
    assert (masks, images, others) == (
        ["SegmentationClass/a.png"], ["JPEGImages/a.png"], ["SegmentationObject/a.png"]
    )  # fmt: skip


def test_the_layout_of_mvtec(pair):
    pairs, found = pair(
        "train/good/000.png", "test/good/000.png", "test/crack/000.png", "test/Hole/000.png",
        "ground_truth/crack/000_mask.png", "ground_truth/Hole/000_mask.png",
    )  # fmt: skip
    assert pairs == {
        "ground_truth/crack/000_mask.png": ("test/crack/000.png", "crack"),
        "ground_truth/Hole/000_mask.png": ("test/Hole/000.png", "Hole"),
    }
    assert found.good == ["train/good/000.png", "test/good/000.png"]
    assert found.notes[0].startswith("the classes (Hole, crack) are read from the names")
    assert found.notes[1] == "2 images without masks are good: their folders are named so"


def test_the_layout_of_visa_and_of_several_parts(pair):
    pairs, found = pair(
        "pcb/Data/Images/Anomaly/0.JPG", "pcb/Data/Images/Normal/0.JPG",
        "nut/Data/Images/Anomaly/0.JPG", "pcb/Data/Masks/Anomaly/0.png",
    )  # fmt: skip
    assert pairs == {"pcb/Data/Masks/Anomaly/0.png": ("pcb/Data/Images/Anomaly/0.JPG", "Anomaly")}
    assert found.good == ["pcb/Data/Images/Normal/0.JPG"]


def test_the_layout_of_aitex(pair):
    pairs, found = pair(
        "Defect_images/1.png", "NODefect_images/23-U/2.png", "Mask_images/1_mask.png"
    )
    assert pairs == {"Mask_images/1_mask.png": ("Defect_images/1.png", "")}
    assert found.good == ["NODefect_images/23-U/2.png"]


def test_a_folder_of_good_images_has_no_masks(pair):
    _, found = pair("images/normal/1.png", "images/normal/2.png", "masks/normal/1.png")
    assert found.good == []


def test_the_layout_of_dagm(pair):
    pairs, _ = pair(
        "Class1/Train/0.PNG", "Class1/Test/0.PNG", "Class2/Train/0.PNG",
        "Class1/Train/Label/0_label.PNG", "Class2/Train/Label/0_label.PNG",
    )  # fmt: skip
    assert pairs == {
        "Class1/Train/Label/0_label.PNG": ("Class1/Train/0.PNG", ""),
        "Class2/Train/Label/0_label.PNG": ("Class2/Train/0.PNG", ""),
    }


@pytest.mark.parametrize("form", ["{}_{}", "{}_mask_{}", "{}_{}_mask", "{}-{}", "{} {}"])
def test_a_mask_for_each_class_by_name(pair, form):
    names = [form.format(*one) for one in (("a_1", "dent"), ("a_1", "scratch"), ("b", "dent"))]
    pairs, _ = pair("images/a_1.png", "images/b.png", *(f"masks/{name}.png" for name in names))
    assert list(pairs.values()) == [("a_1.png", "dent"), ("a_1.png", "scratch"), ("b.png", "dent")]


def test_a_mask_for_each_class_in_a_folder_of_its_own(pair):
    pairs, _ = pair("images/a.png", "masks/dent/a.png", "masks/scratch/a_mask.png")
    assert pairs == {
        "masks/dent/a.png": ("a.png", "dent"),
        "masks/scratch/a_mask.png": ("a.png", "scratch"),
    }


def test_a_folder_of_masks_for_each_image(pair):
    pairs, _ = pair(
        "train/good/000.png", "test/bent/000.png", "test/bent/001.png",
        "ground_truth/bent/000/000.png", "ground_truth/bent/001/000.png",
    )  # fmt: skip
    assert list(pairs.values()) == [("test/bent/000.png", "bent"), ("test/bent/001.png", "bent")]
    pairs, _ = pair("a/images/a.png", "b/images/b.png", "a/masks/91fc.png", "b/masks/04ba.png")
    assert list(pairs.values()) == [("a/images/a.png", ""), ("b/images/b.png", "")]
    pairs, _ = pair("img/a.png", "img/b.png", "gt/a/dent.png", "gt/a/rust.png", "gt/b/dent.png")
    assert list(pairs.values()) == [("a.png", "dent"), ("a.png", ""), ("b.png", "dent")]


def test_masks_of_classes_beside_their_images_if_masks_are_asked_for(tmp_path):
    names = ["a.png", "a_dent.png", "a_2.png", "b.png", "c_dent.png"]
    found = class_masks_beside_images([tmp_path / name for name in names])
    assert [file.name for file in found] == ["a_dent.png"]


@pytest.mark.check(42)
def test_what_may_be_another_image_is_no_class(pair):
    pairs, _ = pair(
        "images/a.png", "masks/a.png", "masks/a_left.png", "masks/a_2.png", "masks/a_mask_2.png"
    )
    assert pairs == {
        "masks/a.png": ("a.png", ""),
        "masks/a_left.png": ("a_left", ""),
        "masks/a_2.png": ("a_2", ""),
        "masks/a_mask_2.png": ("a.png", ""),
    }


def test_masks_without_images_lose_their_words_one_by_one(pair):
    pairs, _ = pair("masks/a_mask.png", "masks/lot/b_GT.png", "masks/c.png", "masks/gt_d.png")
    assert [image_id for image_id, _ in pairs.values()] == ["a", "c", "d", "lot/b"]
