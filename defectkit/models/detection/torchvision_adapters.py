"""What torchvision's detectors need to fit in here: our sizes, labels, names and anchors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.ssd import SSD

from defectkit.models.detection.detector import Detections, Targets

RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors of a place."""
HARD = 16
"""Places of an image without defects that teach SSD what background is."""

# torchvision's names of the terms, and ours.
_TERMS = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposals",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "classification": "class",
    "bbox_regression": "box",
    "bbox_ctrness": "center",
}


class KeepImages(nn.Module):
    """Takes the place of torchvision's resizing and normalization: neither happens."""

    def forward(self, images: torch.Tensor, targets: Any) -> tuple[ImageList, Any]:
        """Return the batch with the sizes of its images, and the targets."""
        return ImageList(images, [tuple(images.shape[2:])] * len(images)), targets

    def postprocess(self, found: list[dict[str, torch.Tensor]], sizes: Any, _: Any) -> Any:
        """Bring the masks of regions to the size of the image."""
        for one, size in zip(found, sizes, strict=False):
            if "masks" in one:
                one["masks"] = paste_masks_in_image(one["masks"], one["boxes"], size)
        return found


def usable(targets: Targets, background: int) -> list[dict[str, torch.Tensor]]:
    """Return the targets without boxes that have no area, the first label being ``background``."""
    chosen = []
    for target in targets:
        keep = (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(dim=1)
        one = {name: values[keep] for name, values in target.items()}
        chosen.append({**one, "labels": one["labels"] + background})
    return chosen


def named(terms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return torchvision's terms of the loss under our names."""
    return {_TERMS[name]: term for name, term in terms.items()}


def as_detections(found: dict[str, torch.Tensor], background: int) -> Detections:
    """Turn torchvision's findings in an image into ours: labels from 0, no box without area."""
    boxes = found["boxes"]
    keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    masks = found["masks"][keep, 0] if "masks" in found else None
    return Detections(boxes[keep], found["scores"][keep], found["labels"][keep] - background, masks)


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors at the levels' true strides, whatever the size of the image.

    torchvision divides the image's size by the map's, which is wrong by some pixels at levels that
    do not divide it, and so would depend on the image's size.
    """

    def __init__(
        self,
        strides: Sequence[int],
        sizes: Sequence[tuple[float, ...]],
        ratios: tuple[float, ...] = RATIOS,
    ) -> None:
        super().__init__(tuple(sizes), (ratios,) * len(sizes))
        self.strides = strides

    def grid_anchors(self, grid_sizes: Any, _: Any) -> Any:
        """Return the anchors of each level."""
        return super().grid_anchors(grid_sizes, [[stride] * 2 for stride in self.strides])


class GoodImageSSD(SSD):  # type: ignore[misc]
    """SSD that learns from images without defects too.

    The paper takes three background places for each that has a defect: none where there is none.
    """

    def compute_loss(
        self,
        targets: list[dict[str, torch.Tensor]],
        head_outputs: dict[str, torch.Tensor],
        anchors: list[torch.Tensor],
        matched_idxs: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Return the paper's terms, with the hardest places of good images in that of the class."""
        terms = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        good = torch.tensor([not len(one["labels"]) for one in targets])
        logits = head_outputs["cls_logits"][good].float()  # (good, places, 1 + K)
        wrong = -logits.log_softmax(dim=2)[:, :, 0]  # (good, places)
        hardest = wrong.topk(min(HARD, wrong.shape[1]), dim=1).values.sum()
        count = max(1, int(sum((one >= 0).sum() for one in matched_idxs)))
        return {**terms, "classification": terms["classification"] + hardest / count}
