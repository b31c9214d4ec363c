import re

import cv2
import numpy as np
import pytest

from defectkit.reporting.html import outlines
from defectkit.reporting.html.outlines import outline_path


def rings(path):
    """The corners of each closed line of a path, absolute."""
    found = []
    for ring in re.findall(r"M([^z]*)z", path):
        start, moves = ring.split("l")
        x, y = map(float, start.split())
        steps = np.array(re.findall(r"-?\d+", moves), int).reshape(-1, 2)
        found.append(np.cumsum(np.vstack([[x, y], steps]), axis=0))
    return found


def filled(path, shape):
    """The pixels inside of a path: their centers, by the even-odd rule."""
    inside = np.zeros(shape, np.uint8)
    for ring in rings(path):
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.rint((ring - 0.5) * 16).astype(np.int32)], 1, shift=4)
        inside ^= mask
    return inside > 0


def test_no_pixels_have_no_outline():
    assert outline_path(np.zeros((4, 5), np.bool_)) == ""


@pytest.mark.parametrize("seed", range(5))
def test_the_outline_surrounds_all_pixels_and_stays_near(seed):
    noise = np.random.default_rng(seed).normal(size=(60, 80)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 5) > 0.02
    inside = filled(outline_path(mask), mask.shape)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (inside & ~near).any()
    assert (mask & ~inside).sum() < 0.01 * mask.sum()


def test_it_lies_where_the_region_lies():
    (ring,) = rings(outline_path(np.ones((3, 4), np.bool_), left=10, top=20))
    assert ring.min(axis=0).tolist() == [9.5, 19.5]
    assert ring.max(axis=0).tolist() == [14.5, 23.5]


def test_a_hole_has_an_outline_of_its_own():
    mask = np.ones((20, 20), np.bool_)
    mask[5:15, 5:15] = False
    assert len(rings(outline_path(mask))) == 2


def test_a_ragged_outline_has_a_bounded_number_of_corners(monkeypatch):
    mask = np.zeros((200, 200), np.bool_)
    mask[::4, ::4] = True
    mask[100] = True
    monkeypatch.setattr(outlines, "MAX_CORNERS", 500)
    rough = cv2.GaussianBlur(
        np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32), (0, 0), 3
    )
    assert sum(map(len, rings(outline_path(rough > 0)))) <= 500
