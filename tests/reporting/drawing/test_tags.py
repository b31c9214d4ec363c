"""Names must hide no box and no other name."""

import numpy as np

from defectkit.reporting.drawing import tags
from defectkit.reporting.drawing.palette import WHITE
from defectkit.reporting.drawing.tags import MAX_TAGS, draw_tags


def gray(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def test_names_hide_no_box_and_no_other_name():
    rng = np.random.default_rng(0)
    boxes = [(int(x), int(y), 14, 9) for x, y in rng.integers(0, 180, (12, 2))]
    image = gray(200, 200)
    draw_tags(image, [(f"class {n} 0.9", box, WHITE) for n, box in enumerate(boxes)])
    assert (image != 128).any(), "no name at all"
    for x, y, width, height in boxes:
        assert (image[y : y + height, x : x + width] == 128).all()


def test_names_do_not_cover_each_other():
    def changed(boxes):
        image = gray(200, 200)
        draw_tags(image, [("class 1 0.9", box, WHITE) for box in boxes])
        return int((image != 128).any(axis=-1).sum())

    one, other = (90, 90, 14, 9), (100, 90, 14, 9)
    assert changed([one, other]) == 2 * changed([one]) == 2 * changed([other])


def test_a_name_without_room_is_left_out():
    image = gray(8, 200)
    draw_tags(image, [("class", (5, 2, 4, 4), WHITE)])
    assert (image == 128).all()
    image = gray(40, 60)
    draw_tags(image, [("class", (0, 0, 60, 40), WHITE)])
    assert (image == 128).all()


def test_of_very_many_boxes_the_first_are_named_and_none_is_covered(monkeypatch):
    named = []
    monkeypatch.setattr(
        tags, "draw_texts", lambda _, texts: named.extend(one.text for one in texts)
    )
    image = gray(4000, 4000)
    boxes = [(x, y, 3, 3) for y in range(20, 4000, 40) for x in range(20, 4000, 100)]
    draw_tags(image, [(str(n), box, WHITE) for n, box in enumerate(boxes)])
    assert named == [str(n) for n in range(MAX_TAGS)]
    for x, y, width, height in boxes:
        assert (image[y : y + height, x : x + width] == 128).all()


def test_names_keep_off_further_defects_and_go_further_away_where_it_is_narrow():
    defects = np.zeros((200, 200), bool)
    defects[40:120, 50:140] = True  # around the box, on all sides
    image = gray(200, 200)
    draw_tags(image, [("class 1 0.9", (90, 70, 14, 9), WHITE)], defects=defects)
    changed = (image != 128).any(axis=-1)
    assert changed.any(), "no name"
    assert not changed[34:126, 44:146].any()  # nor within 6 pixels

    defects[:] = True
    image = gray(200, 200)
    draw_tags(image, [("class 1 0.9", (90, 70, 14, 9), WHITE)], defects=defects)
    assert (image == 128).all()


def test_a_name_is_beside_its_box_where_there_is_room():
    image = gray(200, 200)
    draw_tags(image, [("class 1 0.9", (90, 70, 14, 9), WHITE)], defects=np.zeros((200, 200), bool))
    rows = np.flatnonzero((image != 128).any(axis=(1, 2)))
    assert rows[-1] == 70 - 6 - 1
