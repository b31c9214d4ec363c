from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from defectkit.reporting.drawing import palette
from defectkit.reporting.drawing.palette import COLORS, hex_code

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(color: tuple[int, int, int], sight: str) -> np.ndarray:
    """CIELAB of a color as a person of that sight sees it."""
    rgb = np.array(color) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SIGHTS[sight]) @ linear, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None, None])[0, 0]


@pytest.mark.parametrize("sight", SIGHTS)
def test_hit_missed_and_false_are_told_apart_by_everyone(sight):
    for one, other in combinations(("hit", "missed", "false"), 2):
        difference = deltaE_ciede2000(seen(COLORS[one], sight), seen(COLORS[other], sight))
        assert difference > 20, (one, other)


def test_classes_have_colors_of_their_own():
    assert len(set(palette.CLASS_COLORS)) == len(palette.CLASS_COLORS)


def test_a_color_as_a_page_writes_it():
    assert hex_code((230, 159, 0)) == "#e69f00"
