import base64
import io

import numpy as np
import pytest
from PIL import Image

from defectkit.reporting.html.score_layer import MAX_SIDE, STRONGEST, score_layer


def opacity(text):
    """The opacity of each pixel of a layer, in 0..255."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return np.asarray(picture.convert("RGBA"))[..., 3]


def test_the_opacity_is_the_score():
    ramp = np.linspace(0, 1, 200, dtype=np.float32)[None].repeat(30, axis=0)
    shown = opacity(score_layer(ramp))
    assert shown.shape == (30, 200)
    assert shown[0, 0] == 0
    assert shown[0, -1] == STRONGEST
    assert np.abs(shown / STRONGEST - ramp).max() < 0.05


def test_no_score_needs_no_layer():
    assert score_layer(np.full((20, 30), 0.02, np.float32)) == ""


@pytest.mark.parametrize(
    ("shape", "size"),
    [((100, 2048), (12, 256)), ((1, 5000), (1, 256)), ((999, 999), (256, 256)), ((9, 7), (9, 7))],
)
def test_a_large_map_becomes_a_small_picture_of_the_same_aspect(shape, size):
    shown = opacity(score_layer(np.full(shape, 0.5, np.float32)))
    assert shown.shape == size
    assert max(shown.shape) <= MAX_SIDE


def test_it_is_small_as_a_file():
    scores = np.zeros((1024, 1024), np.float32)
    scores[300:400, 200:500] = np.linspace(0, 1, 300, dtype=np.float32)
    assert len(score_layer(scores)) < 2000


def test_the_color_is_seen_in_the_whole_map_whatever_its_memory_layout():
    scores = np.zeros((40, 60), np.float32, order="F")
    scores[5:10, 50:] = 1
    assert (opacity(score_layer(scores)) > 0).tolist() == (scores > 0).tolist()
