import numpy as np
import pytest

from defectkit.preparation.leaks.alignment import orient
from defectkit.preparation.leaks.candidates import ImageKeypoints, find_candidates
from defectkit.preparation.leaks.common_parts import MIN_SHARING, find_common_parts
from defectkit.preparation.leaks.keypoints import find_keypoints
from defectkit.preparation.leaks.remainder import describe_remainder
from defectkit.synthesis.generator import synthesize


def draw(count, surface="part", **settings):
    return [synthesize(n, size=192, surface=surface, **settings).image for n in range(count)]


def find(images):
    images = [np.ascontiguousarray(image) for image in images]
    keypoints = [ImageKeypoints(*image.shape, find_keypoints(image)) for image in images]

    def describe(numbers, poses):
        return map(describe_remainder, [images[number] for number in numbers], poses)

    candidates = find_candidates(keypoints)
    found = find_common_parts(keypoints, candidates, images.__getitem__, describe)
    return {number: pose for number, (pose, _) in found.items()}


def test_the_part_that_images_share_is_found_in_all_of_them_however_they_lie():
    images = draw(20)
    images[3] = orient(images[3], 5)
    images[4] = images[4][40:]
    poses = find(images)
    assert sorted(poses) == list(range(20))
    assert len({id(pose.common) for pose in poses.values()}) == 1
    assert poses[3].candidate.orientation != poses[0].candidate.orientation
    assert all(pose.is_complete for pose in poses.values())
    grain = [image[:20, :20].std() for image in (poses[0].common, images[0])]
    assert grain[0] < 0.4 * grain[1]  # That of each image is averaged out.


def test_two_kinds_of_parts_are_told_apart_though_they_have_much_in_common():
    poses = find([*draw(16), *draw(16, seed=1)])
    kinds = [id(poses[number].common) for number in range(32)]
    one, other = (max(kinds[half], key=kinds[half].count) for half in (slice(16), slice(16, None)))
    assert one != other
    assert kinds[:16].count(one) >= 12
    assert kinds[16:].count(other) >= 12


@pytest.mark.parametrize("surface", ["textures", "weave"])
def test_images_of_one_surface_share_no_part(surface):
    assert find(draw(24, surface)) == {}


def test_a_series_of_photographs_of_one_piece_is_no_kind_of_parts():
    rng = np.random.default_rng(0)
    others, piece = draw(12, "textures"), synthesize(2, size=192).image
    noise = rng.normal(0, 1, (MIN_SHARING + 4, *piece.shape))
    series = [np.clip(piece + one, 0, 255).astype(np.uint8) for one in noise]
    assert find([*others, *series]) == {}


def test_frames_of_one_piece_share_no_part_however_much_noise_they_have():
    rng = np.random.default_rng(0)
    frames = []
    for piece in (synthesize(number, size=136).image for number in (1, 2)):
        for _ in range(26):
            y, x = rng.integers(0, 6, 2)
            frame = piece[y : y + 128, x : x + 128] * rng.uniform(0.95, 1.05)
            frame += rng.normal(0, 8, frame.shape)
            frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    assert find(frames) == {}
