"""Marks must show the defect and not hide it."""

import numpy as np
import pytest

from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.reporting.drawing import strokes
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, WHITE
from defectkit.reporting.drawing.strokes import (
    MAX_RINGED_SIDE,
    as_rgb,
    draw_dashed_outline,
    draw_outline,
    draw_rings,
    draw_scope,
    draw_tint,
    fill_canvas,
    place_image,
)


def gray(height=80, width=120, value=128):
    return np.full((height, width, 3), value, np.uint8)


def rectangle(shape, top, left, height, width):
    mask = np.zeros(shape[:2], bool)
    mask[top : top + height, left : left + width] = True
    return mask


def pixels_of(image, color):
    return (image == np.array(color, np.uint8)).all(axis=-1)


@pytest.mark.parametrize("thickness", [1, 2, 3])
@pytest.mark.parametrize("gap", [0, 1, 4])
def test_an_outline_stays_outside_and_is_closed(thickness, gap):
    image = gray()
    mask = rectangle(image.shape, 30, 40, 6, 5)
    draw_outline(image, mask, (1, 2, 3), thickness, gap=gap)
    line = pixels_of(image, (1, 2, 3))
    rows, columns = np.nonzero(line)
    assert rows.min() == 30 - gap - thickness
    assert columns.max() == 44 + gap + thickness
    # Straight out from the middle of a side: `gap` free pixels, then `thickness` of the line.
    assert (np.flatnonzero(line[32, 45:]) == np.arange(gap, gap + thickness)).all()
    assert not line[mask].any()
    assert (image[~line] == 128).all()


def test_an_outline_follows_a_hole_and_the_border():
    image = gray()
    mask = rectangle(image.shape, 0, 0, 40, 40)
    mask[10:30, 10:30] = False
    draw_outline(image, mask, (1, 2, 3), 1)
    line = pixels_of(image, (1, 2, 3))
    assert line[20, 11]
    assert line[20, 28]
    assert line[41, 5]
    assert not line[mask].any()


@pytest.mark.check(51)
def test_distances_are_measured_in_windows_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(0)
    mask = rng.random((90, 210)) > 0.998
    mask[30:34, 60:70] = True
    truth = np.roll(mask, (7, 2), (0, 1))

    def draw():
        image = gray(*mask.shape)
        draw_outline(image, mask, (1, 2, 3), 2)
        draw_dashed_outline(image, truth, WHITE, 2)
        draw_rings(image, mask, truth, 2)
        draw_tint(image, mask, (200, 0, 0))
        return image

    areas = []

    def measure(part, *arguments, transform=strokes.cv2.distanceTransform):
        areas.append(part.size)
        return transform(part, *arguments)

    whole = draw()
    monkeypatch.setattr(strokes, "WINDOW", 32)
    monkeypatch.setattr(strokes.cv2, "distanceTransform", measure)
    np.testing.assert_array_equal(draw(), whole)
    # A window and what is near to it, however large the image.
    assert max(areas) <= (32 + 2 * (MAX_RINGED_SIDE // 2 + 10)) ** 2 < mask.size


def test_distances_are_measured_around_the_defects_alone(monkeypatch):
    mask = np.zeros((300, 400), bool)
    mask[0, 0] = mask[299, 397:] = mask[150, 200] = True
    areas = []

    def measure(part, *arguments, transform=strokes.cv2.distanceTransform):
        areas.append(part.size)
        return transform(part, *arguments)

    monkeypatch.setattr(strokes, "WINDOW", 128)
    monkeypatch.setattr(strokes.cv2, "distanceTransform", measure)
    image = gray(*mask.shape)
    draw_outline(image, mask, (1, 2, 3), 1)
    rows, columns = np.indices(mask.shape)
    y, x = np.nonzero(mask)
    distance = np.hypot(rows[..., None] - y, columns[..., None] - x).min(axis=-1)
    expected = (distance > 1) & (distance <= 2)
    np.testing.assert_array_equal(pixels_of(image, (1, 2, 3)), expected)
    assert len(areas) == 3
    assert sum(areas) < 250


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_an_image_is_placed_on_a_canvas_of_the_background(shape):
    canvas = fill_canvas(9, 12)
    np.testing.assert_array_equal(canvas, np.full((9, 12, 3), BACKGROUND, np.uint8))
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    place_image(canvas[2:7, 3:10], image)
    np.testing.assert_array_equal(canvas[2:7, 3:10], as_rgb(image))
    assert (canvas[[0, 1, 7, 8]] == BACKGROUND).all()


def test_an_empty_mask_draws_nothing():
    image = gray()
    nothing = np.zeros(image.shape[:2], bool)
    draw_outline(image, nothing, WHITE, 2)
    draw_dashed_outline(image, nothing, WHITE, 1)
    draw_rings(image, nothing, nothing, 1)
    assert (image == 128).all()


@pytest.mark.parametrize("value", [0, 255])
def test_dashes_are_seen_on_black_and_on_white_and_beside_the_other_line(value):
    image = gray(value=value)
    mask = rectangle(image.shape, 20, 30, 30, 40)
    draw_outline(image, mask, COLORS["finding"], 1)
    whole = pixels_of(image, COLORS["finding"])
    draw_dashed_outline(image, mask, WHITE, 1)
    assert (pixels_of(image, COLORS["finding"]) == whole).all(), "the dashes cover the finding"
    changed = ~pixels_of(image, (value,) * 3) & ~whole
    light = changed & pixels_of(image, WHITE) if value == 0 else changed
    dark = pixels_of(image, BACKGROUND)
    assert not changed[mask].any()
    assert light.sum() > 40
    assert dark.sum() > 40


@pytest.mark.parametrize(
    ("covered", "kind"), [(10, "hit"), (9, "missed"), (0, "missed"), (100, "hit")]
)
def test_the_ring_says_found_from_a_tenth_of_the_pixels(covered, kind):
    image = gray()
    truth = rectangle(image.shape, 40, 60, 10, 10)
    predicted = np.zeros_like(truth)
    predicted[tuple(part[:covered] for part in np.nonzero(truth))] = True
    draw_rings(image, predicted, truth, 1)
    rings = {name: pixels_of(image, COLORS[name]).any() for name in ("hit", "missed", "false")}
    assert rings == {name: name == kind for name in rings}


def test_only_small_spots_get_a_ring():
    for side, ringed in ((1, True), (MAX_RINGED_SIDE, True), (MAX_RINGED_SIDE + 1, False)):
        image = gray(160, 160)
        predicted = rectangle(image.shape, 60, 60, 3, side)
        draw_rings(image, predicted, np.zeros_like(predicted), 1)
        assert pixels_of(image, COLORS["false"]).any() == ringed
    image = gray(160, 160)
    draw_rings(image, rectangle(image.shape, 60, 60, 3, 3), None, 1)
    assert pixels_of(image, COLORS["finding"]).any()


def test_a_crowd_of_spots_gets_no_rings_but_the_missed_one_among_them_does():
    image = gray(300, 300)
    predicted = np.zeros(image.shape[:2], bool)
    predicted[5:-5:20, 5:-5:20] = True
    truth = rectangle(image.shape, 151, 151, 3, 3)
    draw_rings(image, predicted, truth, 1)
    assert not pixels_of(image, COLORS["false"]).any()
    assert pixels_of(image, COLORS["missed"]).any()


def test_rings_of_neighbors_flow_into_one():
    image = gray(160, 160)
    predicted = rectangle(image.shape, 60, 60, 3, 3) | rectangle(image.shape, 60, 80, 3, 3)
    draw_rings(image, predicted, np.zeros_like(predicted), 1)
    assert not pixels_of(image, COLORS["false"])[62, 64:80].any(), "a line crosses between them"


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_every_form_of_image_becomes_rgb(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    rgb = as_rgb(image)
    assert rgb.shape == (4, 5, 3)
    assert (rgb == (image if image.ndim == 3 else image[..., None])).all()


@pytest.mark.parametrize("value", [0, 40, 128, 255])
def test_what_is_ignored_is_hatched_on_any_surface(value):
    image = gray(value=value)
    ignored = rectangle(image.shape, 20, 30, 24, 40)
    draw_scope(image, Scope(ignored=ignored))
    light, dark = pixels_of(image, COLORS["scope"]), pixels_of(image, BACKGROUND)
    assert light[ignored].mean() == dark[ignored].mean() == 1 / 8
    assert (image[~ignored] == value).all()
    assert (image[ignored & ~light & ~dark] == value).all()


def test_what_is_not_inspected_is_dimmed():
    image = gray(value=200)
    roi = rectangle(image.shape, 20, 30, 24, 40)
    draw_scope(image, Scope(roi=roi))
    assert (image[roi] == 200).all()
    border = pixels_of(image, COLORS["scope"])
    assert border.sum() == 2 * (24 + 40)
    assert (image[~roi & ~border] == 70).all()


def test_without_a_scope_nothing_is_drawn():
    image = gray()
    draw_scope(image, EVERYWHERE)
    assert (image == 128).all()
