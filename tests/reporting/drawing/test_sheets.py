"""Sheets must keep aspects, fit their cells and lose no small defect."""

import numpy as np
import pytest

from defectkit.reporting.drawing.palette import BACKGROUND, CLASS_COLORS
from defectkit.reporting.drawing.sheets import (
    GUTTER,
    class_colors,
    contact_sheet,
    draw_labels,
    fit_image,
    fit_mask,
    label_legend,
)
from defectkit.reporting.drawing.tags import MAX_TAGS


def pixels_of(image, color):
    return (image == np.array(color, np.uint8)).all(axis=-1)


@pytest.mark.parametrize(
    ("shape", "fitted"), [((400, 103), (200, 52)), ((50, 200), (25, 100)), ((20, 10), (200, 100))]
)
def test_images_are_fitted_with_their_aspect_kept(shape, fitted):
    assert fit_image(np.zeros((*shape, 3), np.uint8), (100, 200)).shape == (*fitted, 3)


def test_a_sheet_has_a_place_for_every_picture():
    cells = [(f"picture {n}", np.full((30, 40), 50 + 20 * n, np.uint8)) for n in range(7)]
    sheet = contact_sheet(cells, columns=3, cell_size=(80, 60))
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 3 * 80 + 4 * GUTTER
    for n in range(7):
        assert pixels_of(sheet, (50 + 20 * n,) * 3).sum() >= 80 * 60 - 10, n
    # Two places of the last row stay empty.
    third_row = sheet[2 * (sheet.shape[0] - GUTTER) // 3 + GUTTER :]
    assert (third_row[:, 2 * GUTTER + 80 :] == BACKGROUND).all()


def test_captions_stay_in_their_column():
    cells = [("name " * 40, np.zeros((10, 10), np.uint8)), ("", np.zeros((10, 10), np.uint8))]
    sheet = contact_sheet(cells, columns=2, cell_size=(100, 40))
    below = sheet[GUTTER + 40 :]
    assert (below[:, : GUTTER + 100] != BACKGROUND).any()
    assert (below[:, GUTTER + 102 :] == BACKGROUND).all()


def test_fewer_pictures_than_columns_make_a_narrow_sheet_and_none_an_empty_one():
    one = [("a", np.zeros((10, 10), np.uint8))]
    assert contact_sheet(one, columns=6, cell_size=(50, 50)).shape[1] == 50 + 2 * GUTTER
    assert (contact_sheet([], cell_size=(50, 50)) == BACKGROUND).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_pixel_of_a_mask_is_lost_when_it_shrinks(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        mask = np.zeros((int(rng.integers(200, 700)), int(rng.integers(200, 700))), bool)
        mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
        assert fit_mask(mask, (64, 48)).any()
    assert not fit_mask(np.zeros((300, 300), bool), (64, 48)).any()


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("cell", [None, (120, 120)])
def test_a_preview_shows_every_class_in_its_color_and_hides_no_defect(cell, channels):
    image = np.full((600, 400, *channels), 128, np.uint8)
    masks = {"1": np.zeros((600, 400), bool), "scratch": np.zeros((600, 400), bool)}
    masks["1"][100:105, 100:105] = True
    masks["scratch"][300:500, 200:210] = True
    boxes = [("1", (100, 100, 5, 5)), ("scratch", (200, 300, 10, 200))]
    colors = class_colors(list(masks))
    marked = draw_labels(image, masks, boxes, colors, cell_size=cell)
    assert marked.shape == ((600, 400, 3) if cell is None else (120, 80, 3))
    for class_id in masks:
        assert pixels_of(marked, colors[class_id]).sum() > 20, class_id
    if cell is None:
        assert (marked[masks["1"] | masks["scratch"]] == 128).all()
    assert (image == 128).all(), "the input was drawn on"


def test_of_very_many_boxes_the_largest_are_drawn():
    boxes = [("1", (x, 10, 14, 14)) for x in range(5, 1995, 20)] + [("1", (300, 200, 50, 50))]
    marked = draw_labels(np.zeros((400, 2000), np.uint8), {}, boxes, {"1": (9, 200, 9)})
    line = pixels_of(marked, (9, 200, 9))
    assert line[200:250, 297:304].any(axis=1).all()
    # The upper line of a box of 14 pixels is as long as 20, for the box goes around its defect.
    assert line[7].sum() == (MAX_TAGS - 1) * 20


def test_a_box_at_the_border_is_drawn_whole():
    image = np.zeros((100, 100), np.uint8)
    marked = draw_labels(image, {}, [("1", (0, 60, 100, 40))], {"1": (9, 200, 9)})
    line = pixels_of(marked, (9, 200, 9))
    assert line[60:, 0].all()
    assert line[60:, -1].all()
    assert line[-1].all()


def test_classes_have_other_colors_whatever_their_names_are():
    """The letters of the first two have the same sum."""
    names = ["ab", "ba", "c", "9", "划痕", "scratch", "dent"]
    assert list(class_colors(names).values()) == list(CLASS_COLORS)
    many = class_colors([str(number) for number in range(9)])
    assert many["7"] == CLASS_COLORS[0]


def test_the_legend_explains_the_colors_of_the_classes_that_are_shown():
    colors = class_colors(["1", "2", "a long name " * 20])
    texts = [item.text for item in label_legend(colors, {"2"}, boxes=True)]
    assert texts == ["class 2", "outline: what is labeled, rectangle: its box"]
    assert label_legend(colors, {"2"}, boxes=True)[0].color == colors["2"]
    *classes, lines = label_legend(colors, set(colors), boxes=False)
    assert lines.text == "outline: what is labeled"
    assert [item.text[:12] for item in classes] == ["class 1", "class 2", "class a long"]
    assert len(classes[-1].text) < 60
    assert label_legend(colors, {"3"}, boxes=True) == []

    cells = [("a", np.zeros((10, 10), np.uint8))]
    bare = contact_sheet(cells, cell_size=(400, 40))
    explained = contact_sheet(cells, cell_size=(400, 40), legend=classes)
    height = len(explained) - len(bare)
    assert (explained[height:] == bare).all()
    for item in classes:
        assert pixels_of(explained[:height], item.color).sum() >= 2 * item.size
