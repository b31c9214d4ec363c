"""Training samples with boxes: the connected regions of each class's mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor
from defectkit.approaches.sample_draws import SampleKey
from defectkit.arrays import Image, Mask, Masks
from defectkit.config import ARCHITECTURES, Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.regions import label_regions, measure_regions

LOCALIZER_SIDE = 256
"""Side of the localizer's images where ``data.resize`` is not set."""


def resize_side(config: Config) -> int | None:
    """Return the side to which whole images are resized; None where they keep their size."""
    if config.model.architecture == "localizer":
        return config.data.resize or LOCALIZER_SIDE
    return config.data.resize


class BoxSamples(CropSamples):
    """Crops, or for the localizer whole images, with the boxes of their defects."""

    def __init__(self, config: Config, dataset: Dataset, records: Sequence[ImageRecord]) -> None:
        super().__init__(config, dataset, records, resize=resize_side(config))
        self.with_masks = config.model.architecture == "mask_rcnn"

    def __getitem__(self, key: SampleKey) -> Any:
        image, masks = self.sample(key)
        return as_tensor(image), detection_target(masks, with_masks=self.with_masks)

    def sample(self, key: SampleKey) -> tuple[Image, Masks]:
        """Return image and masks of ``(epoch, index)``; pixels that do not count are blank."""
        image, masks, counted = self.scoped_sample(key)
        return blank(image, counted), masks

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to images (B, C, S, S) and a list of their targets."""
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), list(targets)

    def describe(self) -> list[str]:
        """Return lines for the console: here the number of images with several defects too."""
        lines = super().describe()
        if self.config.model.architecture != "localizer":
            return lines
        several = sum(len(record.regions) > 1 for record in self.defective)
        others = ", ".join(name for name in ARCHITECTURES["box"] if name != "localizer")
        return [
            *lines,
            f"{several} of {len(self.defective)} defective images have more than one defect. The "
            "localizer finds one of them, the largest. To find all set model.architecture to one "
            f"of: {others}.",
        ]


def blank(image: Image, counted: Mask | None) -> Image:
    """Return the image, (H, W, C), with the mean color of the counted pixels on all others.

    A detector learns from every place where there is no box that there is no defect; on a blank
    place that is always right.
    """
    if counted is None or counted.all() or not counted.any():
        return image
    color = np.rint(image[counted].mean(axis=0)).astype(np.uint8)
    return np.where(counted[:, :, None], image, color)


def detection_target(masks: Masks, *, with_masks: bool = False) -> dict[str, torch.Tensor]:
    """Return the target of a detector, as ``detector.Targets`` describes it.

    Args:
        masks: (K, H, W) uint8.
        with_masks: whether to add a mask per region.
    """
    boxes, labels, region_masks = [], [], []
    for label, mask in enumerate(masks):
        for region in measure_regions(mask):
            x, y, width, height = region.box_xywh
            boxes.append([x, y, x + width, y + height])
            labels.append(label)
        if with_masks:
            region_map, regions = label_regions(mask)
            region_masks += [region_map == number for number in range(1, len(regions) + 1)]
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }
    if with_masks:
        stack = np.array(region_masks, np.uint8).reshape(-1, *masks.shape[1:])
        target["masks"] = torch.from_numpy(stack)
    return target
