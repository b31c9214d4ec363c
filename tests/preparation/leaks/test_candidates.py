import importlib.util
from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.preparation.leaks import candidates as leaks_candidates
from defectkit.preparation.leaks import similar_keypoints
from defectkit.preparation.leaks.alignment import align, orient
from defectkit.preparation.leaks.keypoints import FLIP_Y
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


@pytest.mark.slow
@pytest.mark.check(50)
def test_pieces_of_one_weave_are_not_joined(tally):
    count = tally.number(short=60, full=1000)
    images = [synthesize(index, size=256, surface="weave").image for index in range(count)]
    pairs, search = leaks.find_pairs(images)
    tally.tried += count
    assert search.n_pattern_pairs > count / 4  # Without it they would be pairs.
    assert pairs == {}


@pytest.mark.slow
@pytest.mark.check(50)
@pytest.mark.parametrize("way", leaks.WAYS)
def test_copies_and_halves_of_a_piece_of_weave_are_found(way, tally):
    count = tally.number(short=12, full=100)
    images = [synthesize(index, size=256, surface="weave").image for index in range(count)]
    found, _, others = leaks.recall(images, way)
    tally.tried += count
    assert found >= (0.9 if way.startswith("half") else 0.95) * count
    assert others == 0


@pytest.mark.check(50)
def test_copies_and_halves_among_parts_of_one_kind_are_found_and_nothing_else(tally):
    count = tally.number(short=30, full=1000)
    images = [synthesize(index, size=256, surface="part").image for index in range(count)]
    rng, planted = np.random.default_rng(0), []
    for index, way in enumerate(leaks.WAYS * (count // 30)):
        planted += leaks.plant(images[index], way, rng)
    right = {(first, first + 1) for first in range(0, len(planted), 2)}
    planted += images[len(right) :]
    pairs, search = leaks.find_pairs(planted)
    tally.tried += len(planted)
    assert search.n_sharing_a_part >= 0.9 * len(planted)
    assert len(right & pairs.keys()) >= 0.95 * len(right)
    assert pairs.keys() <= right


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


def test_each_image_keeps_the_candidates_with_the_most_votes():
    pairs = [
        leaks_candidates.Candidate(first, second, 0, 0, 0, votes=1000 - abs(first - second))
        for first in range(80)
        for second in range(first + 1, 80)
    ]
    kept = leaks_candidates.keep_strongest(pairs)
    assert kept == sorted(kept, key=lambda pair: (pair.first, pair.second))
    assert {(one, one + 1) for one in range(79)} <= {(pair.first, pair.second) for pair in kept}
    assert 79 * 16 <= len(kept) < 80 * leaks_candidates.MAX_CANDIDATES
    assert leaks_candidates.keep_strongest(pairs[:5]) == pairs[:5]


def alike_images(count):
    """Images that share most of their keypoints, some with a few bits turned, and their places."""
    rng = np.random.default_rng(3)
    keypoints = np.frombuffer(leaks.find_keypoints(synthesize(2, size=200).image), "<u8")
    some = [rng.permutation(keypoints)[: rng.integers(2, 30)] for _ in range(count)]
    return [leaks.ImageKeypoints(200, 200, leaks.turned(one, rng, share=0.02)) for one in some]


def test_candidates_are_the_same_however_few_pairs_of_keypoints_are_held(monkeypatch, tmp_path):
    images = alike_images(60)
    whole = leaks.find_candidates(images)
    assert len(whole) > 300
    monkeypatch.setattr(similar_keypoints, "MAX_HELD", 300)
    monkeypatch.setattr(leaks_candidates, "BLOCK_IMAGES", 7)
    assert leaks.find_candidates(images, tmp_path) == whole


def test_candidates_that_are_left_out_on_the_way_would_not_be_kept(monkeypatch):
    images = alike_images(120)
    monkeypatch.setattr(leaks_candidates, "MAX_CANDIDATES", 8)
    whole = leaks.find_candidates(images)
    monkeypatch.setattr(leaks_candidates, "MAX_HELD", 200)
    monkeypatch.setattr(leaks_candidates, "BLOCK_IMAGES", 10)
    fewer = leaks.find_candidates(images)
    assert len(fewer) < 0.9 * len(whole)
    kept = leaks_candidates.keep_strongest(whole)
    assert leaks_candidates.keep_strongest(fewer) == kept
    assert len(kept) < len(fewer)


def test_a_reference_is_found_in_however_many_images_it_is():
    image = synthesize(2, size=200).image
    keypoints = [
        leaks.ImageKeypoints(200, 200, leaks.find_keypoints(np.ascontiguousarray(one)))
        for one in (image, image[::-1], synthesize(3, size=200).image)
    ]
    many = [*keypoints[1:2] * leaks_candidates.POSE_IMAGES, keypoints[2], *keypoints[:1] * 3]
    poses = leaks_candidates.find_poses(keypoints[0], many)
    numbers = [pose.second for pose in poses]
    assert numbers == [*range(1, leaks_candidates.POSE_IMAGES + 1), *range(514, 517)]
    assert {pose.orientation for pose in poses[:512]} == {FLIP_Y}
    assert {pose.orientation for pose in poses[512:]} == {0}
    assert leaks_candidates.find_poses(keypoints[0], []) == []


def test_no_images_and_images_without_keypoints_have_no_pairs():
    assert leaks.find_candidates([]) == []
    assert leaks.find_candidates([leaks.ImageKeypoints(30, 30, b"")] * 3) == []
