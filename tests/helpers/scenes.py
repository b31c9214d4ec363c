"""Batches for detectors: noise with bright and dark rectangles, drawn again for each seed."""

from typing import Any

import numpy as np
import torch

Batch = tuple[torch.Tensor, list[dict[str, torch.Tensor]]]


def draw_scene(seed: int, *, side: int, channels: int, rectangles: int) -> Any:
    """An image (C, H, W) of noise; its rectangles are dark (class 0) and bright (class 1)."""
    rng = np.random.default_rng([11, seed])
    image = rng.integers(90, 130, (channels, side, side)).astype(np.uint8)
    boxes, labels, masks = [], [], []
    for _ in range(rectangles):
        label, (height, width) = int(rng.integers(2)), rng.integers(14, 30, 2)
        y, x = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        level = 200 if label else 20
        mask = np.zeros((side, side), np.uint8)
        mask[y : y + height, x : x + width] = 1
        image[:, mask > 0] = rng.integers(level, level + 30, (channels, mask.sum()))
        boxes.append([x, y, x + width, y + height])
        labels.append(label)
        masks.append(mask)
    target = {
        "boxes": torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.tensor(np.array(masks, np.uint8).reshape(-1, side, side)),
    }
    return torch.from_numpy(image), target


def scenes(seed: int, rectangles: tuple[int, ...], *, side: int = 64, channels: int = 1) -> Batch:
    """Draw (images (B, C, S, S) uint8, targets); ``rectangles``: the number in each image."""
    drawn = [
        draw_scene(100 * seed + place, side=side, channels=channels, rectangles=count)
        for place, count in enumerate(rectangles)
    ]
    return torch.stack([image for image, _ in drawn]), [target for _, target in drawn]
