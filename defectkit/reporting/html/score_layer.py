"""The scores of an image's pixels as a picture that a page lays over the image."""

import base64
import io

import cv2
import numpy as np
from PIL import Image as Pillow

from defectkit.arrays import ScoreMap
from defectkit.reporting.drawing.palette import VERMILLION

MAX_SIDE = 256
"""The longer side of the picture in pixels; larger score maps are averaged down to it."""

LEVELS = 16
STRONGEST = 190
"""Opacity of a score of 1, in 0..255."""


def score_layer(scores: ScoreMap) -> str:
    """Return the scores as a PNG in base64: the higher, the less transparent.

    Args:
        scores: (H, W) float32 in [0, 1].

    Returns:
        The file, which has the aspect of the image; empty where all scores are about 0.
    """
    height, width = scores.shape
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(np.ascontiguousarray(scores, np.float32), size, interpolation=cv2.INTER_AREA)
    levels = np.rint(small.clip(0, 1) * (LEVELS - 1)).astype(np.uint8)
    if not levels.any():
        return ""
    picture = Pillow.frombytes("P", size, levels.tobytes())
    picture.putpalette(bytes(VERMILLION) * LEVELS)
    alphas = bytes(round(STRONGEST * level / (LEVELS - 1)) for level in range(LEVELS))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=4, transparency=alphas, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
