import gc

import numpy as np
import pytest
from exported_models import write_exported
from PIL import Image

from defectkit.data.image_pages import ImagePages
from defectkit.data.image_search import ImageFile
from defectkit.data.images import write_png
from defectkit.data.roi_source import open_roi
from defectkit.deployment.load_model import load_model
from defectkit.reporting.images_to_inspect import SEVERAL_PAGES, ImageReader

GRAY = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)


@pytest.fixture
def read(tmp_path):
    model = load_model(write_exported(tmp_path / "model", channels=1))

    def call(*names, roi=None, first_page=False):
        reader = ImageReader(model=model, roi=roi, first_page=first_page)
        files = [ImageFile(image_id=name, path=tmp_path / name) for name in names]
        return list(reader.read(files))

    return call


def save_pages(path, count) -> None:
    first, *others = (Image.fromarray(GRAY + number) for number in range(count))
    first.save(path, save_all=True, append_images=others)


def test_images_are_as_the_network_takes_them(read, tmp_path):
    write_png(tmp_path / "a.png", GRAY)
    (tmp_path / "b.png").write_bytes(b"")
    whole, empty = read("a.png", "b.png")
    np.testing.assert_array_equal(np.squeeze(whole.image), GRAY)
    assert (whole.problem, whole.notes, whole.ends_file, whole.pixels) == ("", (), True, 600)
    assert (empty.image, empty.problem, empty.pixels) == (None, "the file is empty.", 0)


def test_a_file_ends_with_its_last_page(read, tmp_path):
    save_pages(tmp_path / "s.tif", 3)
    pages = read("s.tif")
    assert [one.image_id for one in pages] == ["s.tif#1", "s.tif#2", "s.tif#3"]
    assert [one.ends_file for one in pages] == [False, False, True]
    (first,) = read("s.tif", first_page=True)
    assert (first.image_id, first.ends_file, first.notes) == ("s.tif", True, (SEVERAL_PAGES,))


def test_the_scope_is_that_of_the_region_to_inspect(read, tmp_path):
    write_png(tmp_path / "a.png", GRAY)
    (inside,) = read("a.png", roi=open_roi("1,2,3,4"))
    assert inside.scope.counted.sum() == 12
    (outside,) = read("a.png", roi=open_roi("1,2,300,4"))
    assert "leaves the image" in outside.problem or outside.problem


def test_no_file_is_read_before_it_is_asked_for(tmp_path):
    model = load_model(write_exported(tmp_path / "model", channels=1))
    write_png(tmp_path / "a.png", GRAY)
    reader = ImageReader(model=model, roi=None, first_page=False)
    files = [ImageFile(image_id=name, path=tmp_path / name) for name in ("a.png", "b.png")]
    images = reader.read(files)
    assert next(images).problem == ""
    write_png(tmp_path / "b.png", GRAY)
    assert next(images).problem == ""


def test_the_file_of_an_image_is_let_go_while_it_is_inspected(tmp_path):
    model = load_model(write_exported(tmp_path / "model", channels=1))
    write_png(tmp_path / "a.png", GRAY)
    sources = ImageReader(model=model, roi=None, first_page=False).read(
        [ImageFile(image_id="a.png", path=tmp_path / "a.png")]
    )
    assert next(sources).image is not None
    assert not [one for one in gc.get_objects() if type(one) is ImagePages]
