"""Training samples with boxes: the connected regions of each class's mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from defectkit.approaches.crop_samples import CropSamples, as_tensor
from defectkit.arrays import Masks
from defectkit.config import ARCHITECTURES, Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.regions import label_regions, measure_regions

LOCALIZER_SIDE = 256
"""The localizer looks at whole images of this side where `data.resize` says no other."""


def resize_of(config: Config) -> int | None:
    """Return the side to which whole images are resized; None where they stay as they are."""
    if config.model.architecture == "localizer":
        return config.data.resize or LOCALIZER_SIDE
    return config.data.resize


class BoxSamples(CropSamples):
    """Crops, or for the localizer whole images, with the boxes that they hold."""

    def __init__(self, config: Config, dataset: Dataset, records: Sequence[ImageRecord]) -> None:
        super().__init__(config, dataset, records, resize=resize_of(config))
        self.with_masks = config.model.architecture == "mask_rcnn"

    def __getitem__(self, key: tuple[int, int]) -> Any:
        image, masks = self.sample(key)
        return as_tensor(image), boxes_of(masks, with_masks=self.with_masks)

    def collate(self, samples: list[Any]) -> tuple[Any, Any]:
        """Join samples to images (B, C, S, S) and a list of their targets."""
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), list(targets)

    def describe(self) -> list[str]:
        """Say how many images have more than the one defect that the localizer finds."""
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


def boxes_of(masks: Masks, *, with_masks: bool = False) -> dict[str, torch.Tensor]:
    """(K, H, W) masks -> the target of a detector (see ``models.detections``)."""
    boxes, labels, parts = [], [], []
    for label, mask in enumerate(masks):
        for region in measure_regions(mask):
            x, y, width, height = region.box_xywh
            boxes.append([x, y, x + width, y + height])
            labels.append(label)
        if with_masks:
            numbers, regions = label_regions(mask)
            parts += [numbers == number for number in range(1, len(regions) + 1)]
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }
    if with_masks:
        stack = np.array(parts, np.uint8).reshape(-1, *masks.shape[1:])
        target["masks"] = torch.from_numpy(stack)
    return target
