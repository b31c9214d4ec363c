import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.preparation.leaks.search import Candidate, compare, orient
from defectkit.synthesis.generator import synthesize

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
SPEC = importlib.util.spec_from_file_location("leaks", ROOT / "benchmarks" / "leaks.py")
leaks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(leaks)


def read_some(folder, count):
    return [read_image(path) for path in sorted(folder.iterdir())[:count]]


@pytest.mark.check(4)
@pytest.mark.parametrize("way", leaks.WAYS)
def test_planted_copies_and_halves_are_found_and_nothing_else(way, tally):
    images = read_some(ROOT / "sample_data" / "Train", tally.number(short=4, full=88))
    found, kinds, others = leaks.recall(images, way)
    tally.tried += len(images)
    assert found >= 0.95 * len(images)
    assert kinds >= 0.95 * found
    assert others == 0


@pytest.mark.check(4)
@pytest.mark.parametrize("way", leaks.WAYS)
def test_copies_of_photographed_textures_are_found(way, tally):
    folder = SHARED / "dagm_mini" / "Train"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    # Fifteen images once do not show a share of 0.95.
    images, times = read_some(folder, tally.number(short=3, full=15)), tally.number(1, 4)
    counts = [leaks.recall(images, way, seed) for seed in range(times)]
    tally.tried += len(images) * times
    assert sum(found for found, _, _ in counts) >= 0.95 * len(images) * times
    assert sum(others for _, _, others in counts) == 0


@pytest.mark.check(4)
def test_textures_that_look_alike_are_not_joined(tally):
    count = tally.number(short=24, full=1000)
    images = [synthesize(index, size=128 if count < 100 else 256).image for index in range(count)]
    pairs, _ = leaks.find_pairs(images)
    tally.tried += count
    assert pairs == {}


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
    assert compare(one, one, Candidate(0, 1, 0, 0, 0)).similarity == pytest.approx(1, abs=1e-3)
    shifted = compare(one, np.roll(one + np.uint8(9), (3, -2), (0, 1)), Candidate(0, 1, 0, 0, 0))
    assert shifted.similarity > 0.99
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    assert compare(one, other, Candidate(0, 1, 0, 0, 0)).similarity == 0


@pytest.mark.parametrize("orientation", range(8))
def test_the_pair_tells_orientation_and_place(orientation):
    image = synthesize(2, size=200).image
    whole, piece = image[:190], orient(image[60:, 40:180], orientation)
    described = [
        leaks.Described(*one.shape, leaks.find_keypoints(np.ascontiguousarray(one)))
        for one in (whole, piece)
    ]
    (pair,) = leaks.find_candidates(described)
    np.testing.assert_array_equal(orient(piece, pair.orientation), image[60:, 40:180])
    assert (pair.down, pair.right) == pytest.approx((60, 40), abs=1)
    match = compare(whole, piece, pair)
    assert match.kind == "overlap"
    assert match.similarity == pytest.approx(1, abs=0.01)
    assert match.share == pytest.approx(130 * 140 / whole.size, abs=0.02)


def test_no_images_and_images_without_keypoints_have_no_pairs():
    assert leaks.find_candidates([]) == []
    assert leaks.find_candidates([leaks.Described(30, 30, b"")] * 3) == []
    plain = np.full((64, 64), 128, np.uint8)
    assert compare(plain, plain, Candidate(0, 1, 0, 0, 0)).similarity == 0
