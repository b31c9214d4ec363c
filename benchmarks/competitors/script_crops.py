"""The script with native crops of 256x256 and sliding windows in place of resized images.

Half of the crops show a defect where the image has one.
"""

import albumentations as A
import cv2
import numpy as np
import torch
from script import BATCH_SIZE, probabilities_of, run

from defectkit.arrays import Image, ScoreMap

CROP = 256
STRIDE = 192

CROPS = (
    A.PadIfNeeded(CROP, CROP, border_mode=cv2.BORDER_REFLECT_101),
    A.OneOf([A.CropNonEmptyMaskIfExists(CROP, CROP), A.RandomCrop(CROP, CROP)], p=1.0),
)


def predict_in_windows(model: torch.nn.Module, image: Image) -> ScoreMap:
    """Return the probabilities (K, H, W) of an image of any size: the mean over its windows."""
    height, width = image.shape[:2]
    bottom, right = max(CROP - height, 0), max(CROP - width, 0)
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT_101)
    windows = [
        (slice(y, y + CROP), slice(x, x + CROP))
        for y in starts(image.shape[0])
        for x in starts(image.shape[1])
    ]
    total, count = 0.0, np.zeros(image.shape[:2], np.float32)
    for first in range(0, len(windows), BATCH_SIZE):
        batch = windows[first : first + BATCH_SIZE]
        results = probabilities_of(model, [image[window] for window in batch])
        for window, result in zip(batch, results, strict=True):
            if not isinstance(total, np.ndarray):
                total = np.zeros((len(result), *image.shape[:2]), np.float32)
            total[:, *window] += result
            count[window] += 1
    mean: ScoreMap = np.clip(total / count, 0.0, 1.0)[:, :height, :width]
    return np.ascontiguousarray(mean)


def starts(side: int) -> list[int]:
    """Return where windows start that cover a side of at least ``CROP`` pixels."""
    return [*range(0, side - CROP, STRIDE), side - CROP]


if __name__ == "__main__":
    run(__doc__, CROPS, predict_in_windows)
