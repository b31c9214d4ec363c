from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectkit.data.images import write_png
from defectkit.data.roi_source import open_roi, read_roi
from defectkit.errors import DatasetError, ImageError, LabelError
from defectkit.labels.scope import decode_roi

SIZE = (20, 30)


def disk(value: int = 255) -> np.ndarray:
    rows, columns = np.mgrid[:20, :30]
    return (((rows - 10) ** 2 + (columns - 15) ** 2 < 60) * value).astype(np.uint8)


def test_a_box_is_the_same_for_all_images(tmp_path):
    source = open_roi("2, 3,10,12")
    chosen = source.choose(Path("a.png"))
    assert read_roi(chosen, SIZE) == "2,3,10,12"
    assert read_roi("0,0,30,20", SIZE) == ""  # the whole image
    with pytest.raises(LabelError, match="2, 3,10,12|2,3,10,12 is not inside the image of 8x8"):
        read_roi(chosen, (8, 8))


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_is_inside_where_it_is_not_0(tmp_path, value):
    write_png(tmp_path / "roi.png", disk(value))
    source = open_roi(str(tmp_path / "roi.png"))
    text = read_roi(source.choose(Path("images/a.png")), SIZE)
    np.testing.assert_array_equal(decode_roi(text, SIZE), disk() > 0)
    with pytest.raises(LabelError, match=r"roi.png, the region to inspect, has 30x20 pixels, but"):
        read_roi(str(tmp_path / "roi.png"), (20, 31))


def test_black_is_outside_whatever_its_place_in_a_palette(tmp_path):
    image = Image.fromarray((disk() == 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "roi.png")
    np.testing.assert_array_equal(
        decode_roi(read_roi(str(tmp_path / "roi.png"), SIZE), SIZE), disk() > 0
    )


def test_a_mask_that_is_edited_is_read_again(tmp_path):
    path = tmp_path / "roi.png"
    write_png(path, disk())
    before = read_roi(str(path), SIZE)
    write_png(path, np.where(disk(), 0, 255).astype(np.uint8))
    assert read_roi(str(path), SIZE) != before


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (np.zeros(SIZE, np.uint8), "has no pixel: in its mask 0 is outside"),
        (np.arange(600, dtype=np.uint16).reshape(SIZE).astype(np.uint8), "has the values 0, 1, 2"),
        (disk(100) + 5, "has the values 5, 105"),
    ],
)
def test_a_mask_that_is_none_is_refused(tmp_path, mask, problem):
    write_png(tmp_path / "roi.png", mask.astype(np.uint8))
    with pytest.raises(LabelError, match=problem):
        read_roi(str(tmp_path / "roi.png"), SIZE)


def test_a_folder_has_a_mask_for_each_image_by_its_name(tmp_path):
    for name in ("left/a.png", "right/a_roi.png", "b_mask.png", ".hidden.png"):
        write_png(tmp_path / "rois" / name, disk())
    source = open_roi(str(tmp_path / "rois"))
    assert len(source.files) == 3
    assert source.has_mask(tmp_path / "rois" / ".." / "rois" / "b_mask.png")
    assert not source.has_mask(tmp_path / "b_mask.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    assert not source.has_mask(tmp_path / "circle.png")
    for image, mask in (
        ("left/a.jpg", "left/a.png"),
        ("right/a.png", "right/a_roi.png"),
        ("b.bmp", "b_mask.png"),
        ("deep/b.bmp", "b_mask.png"),
    ):
        assert source.choose(Path(image)) == str(tmp_path / "rois" / mask)
    for image in ("a.png", "middle/a.png", "c.png"):
        with pytest.raises(ImageError, match=rf"no mask for image {image}"):
            source.choose(Path(image))


def test_an_image_never_gets_the_mask_of_one_in_another_folder(tmp_path):
    write_png(tmp_path / "a" / "001.png", disk())
    source = open_roi(str(tmp_path))
    assert source.choose(Path("images/a/001.jpg")) == str(tmp_path / "a" / "001.png")
    for image in ("b/001.png", "001.png"):
        with pytest.raises(ImageError, match=rf"has no mask for image {image}\. Add "):
            source.choose(Path(image))


def test_a_mask_without_folder_is_of_one_image_of_its_name(tmp_path):
    write_png(tmp_path / "001.png", disk())
    images = [Path("a/001.png"), Path("b/001.png"), Path("a/002.png")]
    flat = open_roi(str(tmp_path))
    assert flat.among([images[0], images[2]]).choose(images[0]) == str(tmp_path / "001.png")
    with pytest.raises(ImageError, match=r"image b/001.png alone: several images have"):
        flat.among(images).choose(images[1])
    write_png(tmp_path / "b" / "001.png", disk())
    both = open_roi(str(tmp_path)).among([Path("001.png"), *images])
    assert both.choose(images[1]) == str(tmp_path / "b" / "001.png")
    assert both.choose(Path("001.png")) == str(tmp_path / "001.png")


@pytest.mark.parametrize("other", ["x_mask.png", "x_roi.png", "x.bmp"])
def test_two_masks_for_one_image_are_refused(tmp_path, other):
    for name in ("x.png", other):
        write_png(tmp_path / name, disk())
    with pytest.raises(DatasetError, match="two masks for one image") as caught:
        open_roi(str(tmp_path))
    assert "x.png" in str(caught.value)
    assert other in str(caught.value)


@pytest.mark.parametrize("given", ["1,2,3", "nowhere.png", "left", "x" * 5000, "a\0b"])
def test_what_is_nothing_of_all_that_is_refused(given):
    with pytest.raises(DatasetError, match=r"is no file, no folder and no box. Give X,Y,W,H"):
        open_roi(given)


@pytest.mark.parametrize("given", ["-5,0,20,20", "1.5,0,20,20"])
def test_a_box_of_other_numbers_is_told_which_it_may_have(given):
    with pytest.raises(DatasetError, match=f"--roi {given}: X, Y, W and H must be whole numbers"):
        open_roi(given)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="has no mask image"):
        open_roi(str(tmp_path))


@pytest.mark.check(53)
def test_a_folder_of_masks_that_cannot_be_listed_is_refused(tmp_path, refuse):
    write_png(tmp_path / "rois" / "a.png", disk())
    (tmp_path / "rois" / "shut").mkdir()
    refuse(tmp_path / "rois" / "shut")
    with pytest.raises(DatasetError, match=r"--roi .*shut: cannot list the folder: Permission den"):
        open_roi(str(tmp_path / "rois"))
