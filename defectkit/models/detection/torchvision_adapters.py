"""Between torchvision's detectors and ours: targets, detections, names of losses, anchors."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.ssd import SSD

from defectkit.models.detection.detector import Detections, Targets
from defectkit.models.network import require_finite

RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors of a cell."""
HEADS = ("head", "box_predictor", "mask_predictor")
"""The modules of detectors that end with scores and boxes, or lead to them."""
HARD_NEGATIVES = 16
"""Anchors of an image without defects that SSD's class loss takes as background."""

_OUR_NAMES = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposals",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "classification": "class",
    "bbox_regression": "box",
    "bbox_ctrness": "center",
}


class NoTransform(nn.Module):
    """Stands in for torchvision's resizing and normalization: does neither."""

    def forward(self, images: torch.Tensor, targets: Any) -> tuple[ImageList, Any]:
        """Return the batch with the sizes of its images, and the targets."""
        return ImageList(images, [tuple(images.shape[2:])] * len(images)), targets

    def postprocess(self, found: list[dict[str, torch.Tensor]], sizes: Any, _: Any) -> Any:
        """Paste the masks of boxes into masks of the image's size."""
        for one, size in zip(found, sizes, strict=False):
            if "masks" in one:
                one["masks"] = paste_masks_in_image(one["masks"], one["boxes"], size)
        return found


def to_torchvision_targets(targets: Targets, *, first_label: int) -> list[dict[str, torch.Tensor]]:
    """Return the targets without boxes of no area; ``first_label`` is that of the first class.

    It is 1 where the detector keeps 0 for background, else 0.
    """
    chosen = []
    for target in targets:
        keep = (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(dim=1)
        one = {name: values[keep] for name, values in target.items()}
        chosen.append({**one, "labels": one["labels"] + first_label})
    return chosen


def from_torchvision_losses(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return torchvision's loss terms under our names."""
    return {_OUR_NAMES[name]: loss for name, loss in losses.items()}


def from_torchvision_detections(found: dict[str, torch.Tensor], *, first_label: int) -> Detections:
    """Return torchvision's detections in an image as ours: labels from 0, no box without area."""
    boxes = found["boxes"]
    keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    masks = found["masks"][keep, 0] if "masks" in found else None
    return Detections(
        boxes[keep], found["scores"][keep], found["labels"][keep] - first_label, masks
    )


def keep_boxes_exact(body: nn.Module) -> None:
    """Let the heads of torchvision's ``body`` return float32, also inside of ``torch.autocast``.

    torchvision decodes boxes in the dtype of the heads' outputs, and in bfloat16 x = 500 is as
    exact as 500 +- 1. With these outputs and the ``Anchors`` in float32, all that follows is:
    boxes, the choice among proposals, matches with the truth, and losses.
    """
    for name, module in body.named_modules():
        if name.endswith(HEADS):
            module.register_forward_hook(_in_float32)


def _in_float32(_: nn.Module, __: Any, outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _in_float32(_, __, one) for name, one in outputs.items()}
    return type(outputs)(_in_float32(_, __, one) for one in outputs)


def require_finite_scores(body: nn.Module) -> None:
    """Let the heads of torchvision's ``body`` check their outputs in evaluation.

    Comparisons with NaN are false: the boxes of a network that has diverged would just be missing.
    """
    for name, module in body.named_modules():
        if name.endswith(HEADS):
            module.register_forward_hook(_check_outputs)


def _check_outputs(module: nn.Module, _: Any, outputs: Any) -> None:
    if not module.training:
        require_finite(*_tensors(outputs))


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for one in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(one)


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors at the levels' true strides, whatever the size of the image, in float32.

    torchvision divides the image's size by the map's. Where the stride does not divide the image's
    size, that is wrong by some pixels, and differs from size to size. And it makes anchors in the
    dtype of the maps: in bfloat16 an anchor of 12 pixels at x = 500 overlaps itself by 0.44.
    """

    def __init__(
        self,
        strides: Sequence[int],
        sizes: Sequence[tuple[float, ...]],
        ratios: tuple[float, ...] = RATIOS,
    ) -> None:
        super().__init__(tuple(sizes), (ratios,) * len(sizes))
        self.strides = strides

    def set_cell_anchors(self, _: torch.dtype, device: torch.device) -> None:
        """Move the anchors of a cell to the device; the dtype of the maps is not theirs."""
        super().set_cell_anchors(torch.float32, device)

    def grid_anchors(self, grid_sizes: Any, _: Any) -> Any:
        """Return the anchors of each level."""
        return super().grid_anchors(grid_sizes, [[stride] * 2 for stride in self.strides])


class SSDWithGoodImages(SSD):  # type: ignore[misc]
    """SSD that learns from images without defects too.

    The paper takes three background anchors for each that fits an object: where there is no object,
    none.
    """

    def compute_loss(
        self,
        targets: list[dict[str, torch.Tensor]],
        head_outputs: dict[str, torch.Tensor],
        anchors: list[torch.Tensor],
        matched_idxs: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Return the paper's terms; the class term includes the hardest anchors of good images."""
        terms = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        logits = head_outputs["cls_logits"]
        good = torch.tensor([not len(one["labels"]) for one in targets], device=logits.device)
        logits = logits[good].float()  # (good, anchors, 1 + K)
        wrong = -logits.log_softmax(dim=2)[:, :, 0]  # (good, anchors)
        hardest = wrong.topk(min(HARD_NEGATIVES, wrong.shape[1]), dim=1).values.sum()
        count = max(1, int(sum((one >= 0).sum() for one in matched_idxs)))
        return {**terms, "classification": terms["classification"] + hardest / count}
