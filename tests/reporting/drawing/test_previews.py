import numpy as np
import pytest

from defectkit.data.images import read_image, write_png
from defectkit.labels import rle
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.pairs import Leak
from defectkit.regions import Region
from defectkit.reporting.drawing.palette import CLASS_COLORS
from defectkit.reporting.drawing.previews import class_sheets, leak_sheets, write_sheet


def image(folder, name: str, *, shape=(40, 60), box=None, class_id="1") -> ImageFacts:
    path = folder / f"{name}.png"
    write_png(path, np.full(shape, 128, np.uint8))
    if box is None:
        return ImageFacts(image_id=name, path=path, height=shape[0], width=shape[1], channels=1)
    x, y, width, height = box
    mask = np.zeros(shape, np.uint8)
    mask[y : y + height, x : x + width] = 1
    return ImageFacts(
        image_id=name,
        path=path,
        height=shape[0],
        width=shape[1],
        channels=1,
        rles={class_id: rle.encode(mask)},
        regions=(Region(class_id=class_id, box_xywh=box, area=width * height),),
    )


def test_a_class_is_shown_from_its_smallest_to_its_largest_image(tmp_path):
    facts = [image(tmp_path, f"i{size}", box=(0, 0, size, 2)) for size in range(40, 0, -1)]
    by_class, smallest = class_sheets(tmp_path, facts, ["1"])
    assert by_class.path.name == "defective_1.png"
    areas = [int(caption.split(" px  ")[0]) for caption, _, _ in by_class.cells]
    assert (len(areas), areas[0], areas[-1]) == (24, 2, 80)
    assert areas == sorted(areas)
    assert [caption for caption, _, _ in smallest.cells][:2] == ["2 px  i1", "4 px  i2"]
    assert len(smallest.cells) == 24


def test_good_images_have_a_sheet_and_what_is_absent_has_none(tmp_path):
    sheets = class_sheets(tmp_path, [image(tmp_path, "a"), image(tmp_path, "b")], [])
    assert [sheet.path.name for sheet in sheets] == ["good.png"]


@pytest.mark.parametrize(
    ("shape", "columns"), [((50, 50), 6), ((256, 1600), 2), ((1600, 100), 8), ((100, 200), 4)]
)
def test_cells_follow_the_aspect_of_the_images(tmp_path, shape, columns):
    (sheet,) = class_sheets(tmp_path, [image(tmp_path, "a", shape=shape)], [])
    width, height, found = sheet.shape
    assert found == columns
    assert width * height == pytest.approx(220**2, rel=0.02)


def test_a_defect_of_one_pixel_in_a_large_image_is_marked(tmp_path):
    facts = [image(tmp_path, "a", shape=(1500, 1500), box=(700, 900, 1, 1))]
    for sheet in class_sheets(tmp_path, facts, ["1"]):
        write_sheet(sheet)
        pixels = read_image(sheet.path).astype(int)
        legend = len(pixels) - (10 + 220 + 19 + 10)  # above the gutter, the cell, the caption
        picture = pixels[legend + 8 : legend + 228, 8:228]
        colored = np.argwhere(np.ptp(picture, axis=2) > 60)
        assert len(colored) > 8, sheet.path.name
        if sheet.path.name == "defective_1.png":
            center = np.array([900, 700]) * 220 / 1500
            assert np.abs(np.median(colored, axis=0) - center).max() < 12


def test_the_close_up_holds_the_defect_at_the_image_border(tmp_path):
    facts = [image(tmp_path, "a", shape=(300, 300), box=(290, 0, 10, 3))]
    sheet = class_sheets(tmp_path, facts, ["1"])[-1]
    write_sheet(sheet)
    pixels = read_image(sheet.path).astype(int)
    legend = len(pixels) - (10 + 220 + 19 + 10)
    picture = pixels[legend + 8 : legend + 228, 8:228]
    rows, columns = np.nonzero(np.ptp(picture, axis=2) > 60)
    assert rows.min() < 40
    assert columns.max() > 190


def test_every_class_has_a_sheet_of_its_own_even_where_case_does_not_count(tmp_path):
    classes = ["scratch", "Scratch", "a/b", "a b", "../b", "", "\u5212\u75d5"]
    facts = [image(tmp_path, f"i{n}", box=(0, 0, 9, 2), class_id=c) for n, c in enumerate(classes)]
    sheets = [sheet for sheet in class_sheets(tmp_path, facts, classes) if len(sheet.cells) == 1]
    names = [sheet.path.name for sheet in sheets]
    assert len({name.casefold() for name in names}) == len(classes)
    assert all(sheet.path.parent == tmp_path for sheet in sheets)
    assert {"defective_scratch.png", "defective_\u5212\u75d5.png"} <= {*names}


def test_a_class_has_one_color_in_all_sheets_and_the_sheet_explains_it(tmp_path):
    facts = [image(tmp_path, f"i{c}", box=(20, 10, 9, 9), class_id=c) for c in ("ab", "ba")]
    by_class = class_sheets(tmp_path, facts, ["ab", "ba"])
    pair = Leak(image_id_a="iab", image_id_b="iba", kind="near", similarity=0.9, joined=True)
    (leaks,) = leak_sheets(tmp_path, facts, [pair], ["ab", "ba"])
    for sheet, shown in zip([*by_class, leaks], [[0], [1], [0, 1], [0, 1]], strict=True):
        write_sheet(sheet)
        legend = read_image(sheet.path)[:24]
        found = [(legend == np.array(color)).all(axis=2).any() for color in CLASS_COLORS[:2]]
        assert [place for place in range(2) if found[place]] == shown, sheet.path.name
