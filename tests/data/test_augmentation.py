import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from defectkit.config import AugmentConfig
from defectkit.data.augmentation import augment, build_augmentation

NOTHING = dict.fromkeys(AugmentConfig.model_fields, 0)
GEOMETRY = AugmentConfig(**{**NOTHING, "hflip": 0.5, "vflip": 0.5, "rot90": 0.5})
AFFINE = AugmentConfig(**{**NOTHING, "affine": 1, "rotate": 20, "scale": 0.2, "shift": 0.1})


def bright_square(channels: int = 1):
    """A dark image with a bright square off the center, whose mask it is."""
    image = np.full((64, 64, channels), 20, np.uint8)
    masks = np.zeros((2, 64, 64), np.uint8)
    image[10:25, 30:58] = 220
    masks[0, 10:25, 30:58] = 1
    return image, masks


def test_a_seed_decides_everything():
    pipeline, again = build_augmentation(AugmentConfig()), build_augmentation(AugmentConfig())
    image, masks = bright_square()
    seeds = [3, 2**32 - 1, 0, 3]
    first = [augment(pipeline, image, masks, seed=seed) for seed in seeds]
    other = [augment(again, image, masks, seed=seed) for seed in reversed(seeds)][::-1]
    for one, two in zip(first, other, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


def test_other_seeds_give_other_samples():
    pipeline = build_augmentation(AugmentConfig(noise=1))
    image, masks = bright_square()
    seen = {augment(pipeline, image, masks, seed=seed)[0].tobytes() for seed in range(50)}
    assert len(seen) == 50


def test_all_rotations_and_flips_occur():
    pipeline = build_augmentation(GEOMETRY)
    image, masks = bright_square()
    seen = Counter(augment(pipeline, image, masks, seed=seed)[0].tobytes() for seed in range(400))
    turns = [np.rot90(image, quarter) for quarter in range(4)]
    expected = {view.tobytes() for turn in turns for view in (turn, turn[:, ::-1])}
    assert set(seen) == expected
    # Flips are drawn apart from each other: half of all samples are mirror images.
    mirrored = sum(
        count for view, count in seen.items() if view not in {t.tobytes() for t in turns}
    )
    assert 150 < mirrored < 250


def test_changes_are_drawn_independently():
    even = AugmentConfig(**{**NOTHING, "hflip": 0.5, "brightness_contrast": 0.5, "brightness": 0.2})
    pipeline = build_augmentation(even)
    image, masks = bright_square()
    seen = Counter()
    for seed in range(400):
        got, got_masks = augment(pipeline, image, masks, seed=seed)
        seen[not np.array_equal(got_masks, masks), got.max() != image.max()] += 1
    assert len(seen) == 4
    assert min(seen.values()) > 60


@pytest.mark.parametrize("config", [GEOMETRY, AFFINE], ids=["flips", "affine"])
def test_mask_and_image_move_together(config):
    pipeline = build_augmentation(config)
    image, masks = bright_square()
    moved = 0
    for seed in range(40):
        got, got_masks = augment(pipeline, image, masks, seed=seed)
        bright = got[:, :, 0] > 120
        # The image is interpolated and the mask is not: only border pixels may differ.
        wrong = np.count_nonzero(bright != (got_masks[0] == 1))
        assert wrong <= (0 if config is GEOMETRY else 0.12 * bright.sum())
        moved += not np.array_equal(got_masks, masks)
    assert moved > 20


def test_each_mask_keeps_its_layer_and_stays_binary():
    pipeline = build_augmentation(AFFINE)
    image, masks = bright_square()
    masks[1, 40:60, 5:20] = 1
    for seed in range(20):
        _, got = augment(pipeline, image, masks, seed=seed)
        assert set(np.unique(got)) <= {0, 1}
        upper, lower = (np.argwhere(layer).mean(axis=0) for layer in got)
        assert upper[0] < lower[0]
        assert upper[1] > lower[1]


def test_changes_of_brightness_leave_the_mask_as_it_is():
    config = AugmentConfig(**{**NOTHING, "brightness_contrast": 1, "brightness": 0.15, "noise": 1})
    image, masks = bright_square()
    got, got_masks = augment(build_augmentation(config), image, masks, seed=4)
    np.testing.assert_array_equal(got_masks, masks)
    assert not np.array_equal(got, image)


@pytest.mark.parametrize(
    "name", ["hflip", "vflip", "affine", "brightness_contrast", "noise", "blur"]
)
def test_each_change_works_alone(name):
    config = AugmentConfig(**{**AugmentConfig().model_dump(), **NOTHING, name: 1,
                              "rotate": 10, "scale": 0.1, "shift": 0.05,
                              "brightness": 0.15, "contrast": 0.2})  # fmt: skip
    image, masks = bright_square()
    got, _ = augment(build_augmentation(config), image, masks, seed=1)
    assert not np.array_equal(got, image)


def test_without_any_change_the_sample_stays_as_it_is():
    image, masks = bright_square()
    pipeline = build_augmentation(AugmentConfig(**NOTHING))
    for seed in range(5):
        got, got_masks = augment(pipeline, image, masks, seed=seed)
        np.testing.assert_array_equal(got, image)
        np.testing.assert_array_equal(got_masks, masks)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_shapes_and_types_stay(channels, classes):
    image, _ = bright_square(channels)
    masks = np.zeros((classes, 64, 64), np.uint8)
    pipeline = build_augmentation(AugmentConfig())
    for seed in range(10):
        got, got_masks = augment(pipeline, image, masks, seed=seed)
        assert (got.shape, got.dtype) == ((64, 64, channels), np.uint8)
        assert (got_masks.shape, got_masks.dtype) == ((classes, 64, 64), np.uint8)


def test_the_given_arrays_stay_as_they_are():
    image, masks = bright_square()
    before = image.copy(), masks.copy()
    pipeline = build_augmentation(AugmentConfig(**{**NOTHING, "brightness_contrast": 1,
                                                   "brightness": 0.2}))  # fmt: skip
    augment(pipeline, image, masks, seed=0)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(masks, before[1])


def test_no_black_border_appears():
    image = np.full((64, 64, 1), 150, np.uint8)
    masks = np.zeros((1, 64, 64), np.uint8)
    pipeline = build_augmentation(AFFINE)
    for seed in range(20):
        got, _ = augment(pipeline, image, masks, seed=seed)
        assert (got == 150).all()


def test_albumentations_does_not_ask_the_network_for_its_newest_version():
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('asked the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import defectkit.data.augmentation"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
