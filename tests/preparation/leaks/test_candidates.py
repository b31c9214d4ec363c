import importlib.util
from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.preparation.leaks.alignment import align, orient
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


@pytest.mark.check(50)
def test_pieces_of_one_weave_are_not_joined(tally):
    count = tally.number(short=60, full=1000)
    images = [synthesize(index, size=256, surface="weave").image for index in range(count)]
    pairs, candidates = leaks.find_pairs(images)
    tally.tried += count
    assert candidates > count  # All were compared: keypoints do not tell them apart.
    assert pairs == {}


@pytest.mark.check(50)
@pytest.mark.parametrize("way", leaks.WAYS)
def test_copies_and_halves_of_a_piece_of_weave_are_found(way, tally):
    count = tally.number(short=12, full=100)
    images = [synthesize(index, size=256, surface="weave").image for index in range(count)]
    found, _, others = leaks.recall(images, way)
    tally.tried += count
    assert found >= (0.9 if way.startswith("half") else 0.95) * count
    assert others == 0


@pytest.mark.parametrize("orientation", range(8))
def test_the_pair_tells_orientation_and_place(orientation):
    image = synthesize(2, size=200).image
    whole, piece = image[:190], orient(image[60:, 40:180], orientation)
    keypoints = [
        leaks.ImageKeypoints(*one.shape, leaks.find_keypoints(np.ascontiguousarray(one)))
        for one in (whole, piece)
    ]
    (pair,) = leaks.find_candidates(keypoints)
    np.testing.assert_array_equal(orient(piece, pair.orientation), image[60:, 40:180])
    assert (pair.down, pair.right) == pytest.approx((60, 40), abs=1)
    alignment = align(whole, piece, pair)
    assert alignment.kind == "overlap"
    assert alignment.similarity == pytest.approx(1, abs=0.01)
    assert alignment.common_fraction == pytest.approx(130 * 140 / whole.size, abs=0.02)


def test_no_images_and_images_without_keypoints_have_no_pairs():
    assert leaks.find_candidates([]) == []
    assert leaks.find_candidates([leaks.ImageKeypoints(30, 30, b"")] * 3) == []
