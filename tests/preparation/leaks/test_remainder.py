import numpy as np

from defectkit.preparation.leaks.candidates import Candidate
from defectkit.preparation.leaks.common_parts import MIN_GRAIN, Pose
from defectkit.preparation.leaks.remainder import describe_remainder, take_out
from defectkit.synthesis.generator import synthesize

HERE = Candidate(0, 1, 0, 0, 0)


def parts(count, **settings):
    return [synthesize(n, size=192, surface="part", **settings).image for n in range(count)]


def common():
    return np.median(parts(24, defects=()), axis=0).astype(np.uint8)


def correlation(one, other):
    return np.corrcoef(one[20:-20, 20:-20].ravel(), other[20:-20, 20:-20].ravel())[0, 1]


def test_the_part_is_taken_out_and_the_grain_stays():
    pose = Pose(common(), HERE, is_complete=True)
    one, other = parts(2, defects=())
    assert correlation(one, other) > 0.7
    left, right = take_out(one, pose), take_out(other, pose)
    assert left.shape == one.shape
    assert abs(correlation(left, right)) < 0.1
    brighter = take_out(np.minimum(one, 225) + np.uint8(30), pose)
    assert correlation(left, brighter) > 0.98


def test_the_grain_of_a_surface_is_told_from_noise():
    common_part = common()
    pose, rng = Pose(common_part, HERE, is_complete=True), np.random.default_rng(0)
    noise = common_part + rng.normal(0, 6, common_part.shape)
    frame = np.clip(noise, 0, 255).astype(np.uint8)
    assert describe_remainder(frame, pose).grain < MIN_GRAIN - 0.08
    assert all(describe_remainder(image, pose).grain > MIN_GRAIN for image in parts(8))


def test_a_defect_stays():
    pose = Pose(common(), HERE, is_complete=True)
    drawn = synthesize(0, size=192, surface="part", difficulty=0, defects=(2,))
    left = np.abs(take_out(drawn.image, pose).astype(float) - 128)
    mask = drawn.masks[2]
    assert np.percentile(left[mask], 99) > 2 * np.percentile(left[~mask], 99)


def test_what_is_not_the_part_is_refused_and_what_is_beyond_it_is_uniform():
    pose = Pose(common()[:150], HERE, is_complete=False)
    unlike = describe_remainder(synthesize(4, size=192).image, pose)
    assert unlike.similarity < 0.5
    assert unlike.keypoints.keypoints == b""
    image = parts(1)[0]
    assert describe_remainder(image, pose).similarity > 0.8
    left = take_out(image, pose)
    assert (left[140:] == 128).all()
    assert left[20:120].std() > 5
