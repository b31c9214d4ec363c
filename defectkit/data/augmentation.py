"""Random changes of training samples, by albumentations, each sample with its own seed.

albumentations gets a new seed for every sample, drawn from (seed, epoch, sample). So neither the
number of loader workers nor resuming a run changes the samples.
"""

from typing import Any

import cv2
import numpy as np

from defectkit.arrays import Image, Masks
from defectkit.config import AugmentConfig
from defectkit.process_settings import environment

# albumentations asks the network for a newer version of itself unless told not to.
with environment("NO_ALBUMENTATIONS_UPDATE", "1"):
    import albumentations as A


def build_augmentation(config: AugmentConfig) -> A.Compose:
    """Return the changes of ``config``, to be applied by ``augment``."""
    # Reflected borders: an artificial black edge could be taken for a defect.
    border: dict[str, Any] = {"border_mode": cv2.BORDER_REFLECT_101}
    return A.Compose(
        [
            A.HorizontalFlip(p=config.hflip),
            A.VerticalFlip(p=config.vflip),
            A.RandomRotate90(p=config.rot90),
            A.Affine(
                rotate=(-config.rotate, config.rotate),
                scale=(1 - config.scale, 1 + config.scale),
                translate_percent=(-config.shift, config.shift),
                p=config.affine,
                **border,
            ),
            A.RandomBrightnessContrast(
                brightness_limit=config.brightness,
                contrast_limit=config.contrast,
                p=config.brightness_contrast,
            ),
            A.GaussNoise(std_range=(0.005, 0.03), p=config.noise),
            A.GaussianBlur(sigma_limit=(0.3, 1.0), blur_limit=0, p=config.blur),
        ]
    )


def augment(pipeline: A.Compose, image: Image, masks: Masks, *, seed: int) -> tuple[Image, Masks]:
    """Change an image, (H, W, C), and its masks, (K, H, W), in the same way."""
    # Each change draws from its own stream: Compose.set_random_seed gives all of them the same
    # one, so that every left-right flip would come with an up-down flip.
    seeds = np.random.SeedSequence(seed).generate_state(len(pipeline.transforms))
    for transform, own in zip(pipeline.transforms, seeds.tolist(), strict=True):
        transform.set_random_seed(own)
    layered = np.ascontiguousarray(masks.transpose(1, 2, 0))
    changed = pipeline(image=image, mask=layered)
    mask = changed["mask"].reshape(*changed["image"].shape[:2], len(masks))
    return changed["image"].reshape(*mask.shape[:2], -1), mask.transpose(2, 0, 1)
