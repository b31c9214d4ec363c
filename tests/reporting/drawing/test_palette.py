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


def test_no_other_triple_of_the_palette_is_safer_for_color_blind_readers():
    """The claim beside ``COLORS``, with the matrices of Machado et al. (2009), severity 1."""
    sights = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]],
    ]  # fmt: skip

    def seen(color, sight, background):
        mixed = (TINT_OPACITY * np.array(color) + (1 - TINT_OPACITY) * background) / 255
        linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
        light = np.clip(np.asarray(sight) @ linear, 0, 1)
        coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return rgb2lab(coded[None, None])[0, 0]

    hues = [palette.ORANGE, palette.SKY, palette.GREEN, palette.YELLOW]
    hues += [palette.BLUE, palette.VERMILLION, palette.PURPLE]
    apart = {
        (one, other): min(
            float(deltaE_ciede2000(seen(one, sight, level), seen(other, sight, level)))
            for sight in sights
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
