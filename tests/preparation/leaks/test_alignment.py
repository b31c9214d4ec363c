import cv2
import numpy as np
import pytest

from defectkit.preparation.leaks.alignment import align
from defectkit.preparation.leaks.candidates import Candidate


def part(seed):
    """A photograph of a part: all have the same outlines, and each its own surface."""
    image = np.full((256, 256), 60, np.float32)
    cv2.circle(image, (128, 128), 100, 170.0, -1)
    for x, y in np.random.default_rng(0).integers(40, 210, (12, 2)).tolist():
        cv2.rectangle(image, (x, y), (x + 22, y + 12), float(x), -1)
    grain = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + grain, 0, 255).astype(np.uint8)


@pytest.mark.check(4)
def test_parts_of_one_kind_are_not_copies_of_each_other():
    one, other = part(1), part(2)
    assert align(one, one, Candidate(0, 1, 0, 0, 0)).similarity == pytest.approx(1, abs=1e-3)
    shifted = align(one, np.roll(one + np.uint8(9), (3, -2), (0, 1)), Candidate(0, 1, 0, 0, 0))
    assert shifted.similarity > 0.99
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    assert align(one, other, Candidate(0, 1, 0, 0, 0)).similarity == 0


def test_plain_images_show_nothing_in_common():
    plain = np.full((64, 64), 128, np.uint8)
    assert align(plain, plain, Candidate(0, 1, 0, 0, 0)).similarity == 0
