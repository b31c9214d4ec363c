"""A row per image, a column per run: nothing may be mixed up, hidden or cut off."""

import numpy as np
import pytest

from defectkit.reporting.drawing.comparison import (
    MAX_CELL_SIZE,
    MIN_COLUMN_WIDTH,
    ComparedImage,
    RunFinding,
    draw_comparison,
)
from defectkit.reporting.drawing.header import GUTTER
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, OUTCOME_COLORS, VERDICT_COLORS

HEADS = [("one", "box, ssd"), ("two", "patch, lenet")]
SIDE = MAX_CELL_SIZE[1]
STEP = SIDE + GUTTER


def finding(mask, verdict="defective", outcome="hit"):
    return RunFinding(predicted=mask, score=0.5, verdict=verdict, outcome=outcome)


def compared(gray=128, shape=(SIDE, SIDE), findings=None, truth=None, image_id="a.png"):
    image = np.full((*shape, 1), gray, np.uint8)
    nothing = np.zeros(shape, bool)
    findings = [finding(nothing), finding(nothing)] if findings is None else findings
    truth = nothing if truth is None else truth
    return ComparedImage(
        image_id=image_id, kind="class 1", image=image, truth=truth, findings=findings
    )


def square():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[80:160, 80:160] = True
    return mask


def holds(part, color):
    return bool((part == color).all(axis=-1).any())


def cells(sheet, gray):
    """The part of each column that shows an image of one gray, by its rows and columns."""
    rows = np.flatnonzero((sheet == gray).all(axis=-1).sum(axis=1) > 100)
    top, bottom = rows[0], rows[-1] + 1
    places = range(GUTTER, sheet.shape[1] - GUTTER, STEP)
    return [sheet[top:bottom, x : x + SIDE] for x in places]


def test_each_finding_stands_in_its_column_and_each_image_in_its_row():
    bright = compared(200, findings=[finding(square()), finding(~square() & False)], truth=square())
    dark = compared(90, findings=[finding(square() & False), finding(square())])
    sheet = draw_comparison([bright, dark], HEADS)
    assert sheet.shape[1] == 3 * STEP + GUTTER
    plain, hit, missed = cells(sheet, 200)
    _, nothing, false = cells(sheet, 90)
    tinted = {name: np.rint(0.65 * 200 + 0.35 * np.array(COLORS[name])) for name in COLORS}
    assert (plain[120, 120] == 200).all(), "the first column has no finding"
    assert holds(plain, COLORS["truth"])
    assert (hit[120, 120] == tinted["hit"]).all()
    assert (missed[120, 120] == tinted["missed"]).all()
    assert holds(hit, COLORS["finding"])
    assert not holds(missed, COLORS["finding"])
    assert (nothing == 90).all()
    assert (false[120, 120] == np.rint(0.65 * 90 + 0.35 * np.array(COLORS["false"]))).all()
    assert sheet.shape[0] > 2 * SIDE + 100


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("escape", "good"), ("overkill", "defective"), ("hit", "defective"), ("review", "review")],
)
def test_the_verdict_stands_above_its_column_and_a_wrong_one_is_named(outcome, verdict):
    nothing = np.zeros((SIDE, SIDE), bool)
    findings = [finding(nothing, "good", "pass"), finding(nothing, verdict, outcome)]
    sheet = draw_comparison([compared(128, findings=findings)], HEADS)
    row = np.flatnonzero((sheet == 128).all(axis=-1).sum(axis=1) > 100)[0] - 8
    line = [sheet[row - 12 : row + 4, GUTTER + n * STEP :][:, :SIDE] for n in range(3)]
    assert holds(line[2], VERDICT_COLORS[verdict])
    assert not holds(line[0], VERDICT_COLORS[verdict])
    assert holds(line[1], VERDICT_COLORS["good"])
    for name in ("escape", "overkill"):
        shown = holds(line[2], OUTCOME_COLORS[name])
        assert shown == (name == outcome or OUTCOME_COLORS[name] == VERDICT_COLORS[verdict])


def test_small_large_wide_and_color_images_share_a_sheet():
    shapes = [(16, 16), (900, 700), (256, 1600), (1600, 256)]
    rows = [compared(128, shape) for shape in shapes]
    color = np.zeros((50, 60, 3), np.uint8)
    color[..., 0] = 255
    nothing = np.zeros((50, 60), bool)
    said = [finding(nothing), finding(nothing)]
    rows.append(ComparedImage(image_id="c", kind="good", image=color, truth=nothing, findings=said))
    sheet = draw_comparison(rows, HEADS)
    assert sheet.shape[1] == 3 * (MAX_CELL_SIZE[0] + GUTTER) + GUTTER
    assert holds(sheet, (255, 0, 0))
    assert (sheet[:, :GUTTER] == BACKGROUND).all()
    assert (sheet[:, -GUTTER:] == BACKGROUND).all()


def test_narrow_images_leave_room_for_what_is_written():
    sheet = draw_comparison([compared(128, (400, 20))], HEADS)
    assert sheet.shape[1] == 3 * (MIN_COLUMN_WIDTH + GUTTER) + GUTTER


def test_long_and_odd_names_do_not_change_the_layout():
    plain = draw_comparison([compared()], HEADS)
    odd = draw_comparison([compared(image_id="零件 " + 40 * "long\n")], [("x" * 90, "y" * 90)] * 2)
    assert odd.shape == plain.shape
    assert (odd[:, STEP - GUTTER // 2 : STEP + GUTTER // 2] == plain[
        :, STEP - GUTTER // 2 : STEP + GUTTER // 2
    ]).all(), "nothing reaches into the gap between columns"  # fmt: skip
