import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from defectkit.models.detection.rcnn.proposals import propose_boxes, propose_boxes_torch


def noise(height: int, width: int, channels: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 130, (height, width, channels), np.uint8)


def best_iou(boxes: np.ndarray, box: tuple[int, int, int, int]) -> float:
    return float(box_iou(torch.tensor([box]).float(), torch.from_numpy(boxes)).max())


@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(60, 200), st.integers(60, 200)),
    sides=st.tuples(st.integers(16, 30), st.integers(16, 30)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    channels=st.sampled_from([1, 3]),
    bright=st.booleans(),
)
@settings(max_examples=30)
def test_a_rectangle_on_noise_gets_a_tight_box(seed, size, sides, place, channels, bright):
    image = noise(*size, channels, seed=seed)
    y, x = (round(part * (n - side)) for part, n, side in zip(place, size, sides, strict=True))
    image[y : y + sides[0], x : x + sides[1]] = 220 if bright else 20
    assert best_iou(propose_boxes(image), (x, y, x + sides[1], y + sides[0])) >= 0.7


def test_a_patch_that_differs_in_texture_alone_gets_a_box():
    image = noise(128, 128, 1)
    image[40:80, 50:100:2], image[40:80, 51:100:2] = 70, 150  # stripes of the same mean
    assert best_iou(propose_boxes(image), (50, 40, 100, 80)) >= 0.85


def test_a_region_of_two_parts_is_proposed_whole_and_in_parts():
    image = np.full((100, 100, 1), 100, np.uint8)
    image[30:60, 20:50], image[30:60, 50:80] = 200, 240
    boxes = propose_boxes(image)
    for box in ((20, 30, 50, 60), (50, 30, 80, 60), (20, 30, 80, 60)):
        assert best_iou(boxes, box) >= 0.85, box


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 100),
    most=st.integers(1, 50),
)
@settings(max_examples=30)
def test_boxes_lie_in_the_image_have_area_and_differ(size, channels, seed, most):
    image = np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)
    boxes = propose_boxes(image, max_proposals=most)
    assert boxes.dtype == np.float32
    assert 1 <= len(boxes) <= most
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [size[1], size[0]]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    # The last union is everything, and the last comes first.
    np.testing.assert_array_equal(boxes[0], [0, 0, size[1], size[0]])


def test_a_plain_image_is_one_region():
    for size in ((1, 1), (40, 90), (700, 30)):
        np.testing.assert_allclose(
            propose_boxes(np.full((*size, 1), 7, np.uint8)), [[0, 0, size[1], size[0]]]
        )


def test_the_same_image_gives_the_same_boxes():
    image = noise(100, 80, 3)
    np.testing.assert_array_equal(propose_boxes(image), propose_boxes(image.copy()))
    few = propose_boxes(image, max_proposals=5)
    np.testing.assert_array_equal(few, propose_boxes(image)[:5])


@pytest.mark.parametrize("size", [(512, 512), (900, 1600)])
def test_large_images_are_shrunk_and_boxes_are_in_their_pixels(size):
    image = np.full((*size, 1), 100, np.uint8)
    image[200:300, 120:400] = 220
    start = time.process_time()
    boxes = propose_boxes(image)
    assert time.process_time() - start < 3  # at full size it takes many times as long
    assert best_iou(boxes, (120, 200, 400, 300)) >= 0.9


def test_proposals_of_a_tensor():
    image = noise(60, 50, 3)
    boxes = propose_boxes_torch(torch.from_numpy(image).permute(2, 0, 1).float())
    np.testing.assert_array_equal(boxes.numpy(), propose_boxes(image))
