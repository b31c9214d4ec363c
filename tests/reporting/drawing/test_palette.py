"""The colors of the marks must be told apart, by color-blind readers too."""

import itertools

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from defectkit.reporting.drawing import palette
from defectkit.reporting.drawing.palette import COLORS, hex_code
from defectkit.reporting.drawing.strokes import TINT_OPACITY


def test_a_color_is_written_as_in_a_style_sheet():
    assert hex_code((0, 158, 115)) == "#009e73"


SIGHTS = [
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
     [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
     [0.004733, 0.691367, 0.303900]],
]  # fmt: skip
"""Normal vision, protanopia, deuteranopia, tritanopia: Machado et al. (2009), severity 1."""


def perceived(color, sight):
    """Return the CIELAB of an sRGB color, as it is seen."""
    scaled = np.array(color) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    light = np.clip(np.asarray(sight) @ linear, 0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return rgb2lab(coded[None, None])[0, 0]


def distance(one, other, sight):
    return float(deltaE_ciede2000(perceived(one, sight), perceived(other, sight)))


def test_no_two_colors_of_classes_look_alike():
    """The lines are thin: the two blues of the palette, 22 apart, were taken for one."""
    pairs = list(itertools.combinations(palette.CLASS_COLORS, 2))
    assert len(set(palette.CLASS_COLORS)) == 7
    assert min(distance(*pair, sight) for pair in pairs for sight in SIGHTS) > 10
    first_six = itertools.combinations(palette.CLASS_COLORS[:6], 2)
    assert min(distance(*pair, SIGHTS[0]) for pair in first_six) > 25
    first_three = list(itertools.combinations(palette.CLASS_COLORS[:3], 2))
    assert min(distance(*pair, sight) for pair in first_three for sight in SIGHTS) > 20
    assert not {palette.SKY, palette.BLUE} <= {*palette.CLASS_COLORS}


def test_no_other_triple_of_the_palette_is_safer_for_color_blind_readers():
    """The claim beside ``COLORS``."""

    def tinted(color, background):
        return TINT_OPACITY * np.array(color) + (1 - TINT_OPACITY) * background

    hues = [palette.ORANGE, palette.SKY, palette.GREEN, palette.YELLOW]
    hues += [palette.BLUE, palette.VERMILLION, palette.PURPLE]
    apart = {
        (one, other): min(
            distance(tinted(one, level), tinted(other, level), sight)
            for sight in SIGHTS
            for level in (60, 120, 180)
        )
        for one, other in itertools.combinations(hues, 2)
    }

    def smallest_distance(triple):
        return min(
            apart[pair] for pair in itertools.combinations(sorted(triple, key=hues.index), 2)
        )

    ours = smallest_distance([COLORS["hit"], COLORS["missed"], COLORS["false"]])
    assert ours > 5
    assert ours == pytest.approx(max(map(smallest_distance, itertools.combinations(hues, 3))))
