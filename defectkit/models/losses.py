"""Losses of segmentation.

Shapes: B images, K defect classes, H and W in pixels; masks (B, K, H, W) of 0 and 1. Logits come in
one of three layouts:

- ``overlapping``, (B, K, H, W): each class is asked on its own (sigmoid),
- ``exclusive``, (B, 1 + K, H, W): background first, the classes exclude each other (softmax),
- ``apart``, (B, 1 + K, H, W): "any defect" first, so that *whether* is asked apart from *which* and
  doubt between two classes hides no defect. Of one class there is nothing to ask: (B, 1, H, W).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss

Layout = Literal["overlapping", "exclusive", "apart"]


def choose_layout(*, cross_entropy: float, classes: float) -> Layout:
    """Return the layout that the weights of the loss ask for."""
    if cross_entropy:
        return "exclusive"
    return "apart" if classes else "overlapping"


def count_outputs(classes: int, layout: Layout) -> int:
    """Return how many channels the logits of ``classes`` defect classes have."""
    return classes + (layout == "exclusive" or (layout == "apart" and classes > 1))


def class_probabilities(logits: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the scores of the defect classes, (B, K, H, W) float32 in [0, 1].

    Of the layout ``apart`` the likeliest class of a pixel gets the probability of any defect, the
    others theirs in proportion to it: the largest score says *whether*, their order *which*.
    """
    logits = logits.float()
    if layout == "exclusive":
        return logits.softmax(dim=1)[:, 1:]
    if layout == "overlapping" or logits.shape[1] == 1:
        return logits.sigmoid()
    anything, which = logits[:, :1], logits[:, 1:]
    return anything.sigmoid() * torch.exp(which - which.amax(dim=1, keepdim=True))


def segmentation_losses(
    logits: torch.Tensor,
    masks: torch.Tensor,
    *,
    bce: float,
    classes: float,
    dice: float,
    focal: float,
    focal_gamma: float,
    cross_entropy: float,
) -> dict[str, torch.Tensor]:
    """Return the named terms that have a weight, unweighted, and ``loss``, their weighted sum.

    - ``bce``, ``focal`` (Lin et al. 2017, without alpha): the mean over all pixels, of each class
      and of "any defect" (the largest score against any truth: verdicts ask for it, and rare
      classes learn from the others through it); of the layout ``apart`` of "any defect" alone.
    - ``classes``: which one, the cross-entropy over the classes at the defects' own pixels, the
      mean of each image first: small defects count as much as large ones. Only with several.
    - ``dice``: 1 - soft Dice, pooled over the batch, the mean over "any defect" and those classes
      that the batch holds (an absent class has no overlap to gain).
    - ``cross_entropy``: over background and classes that exclude each other; the others are then of
      that too.
    """
    layout = choose_layout(cross_entropy=cross_entropy, classes=classes)
    logits, masks = logits.float(), masks.float()
    several = masks.shape[1] > 1
    truths, terms = masks, {}
    if several and layout != "exclusive":
        truths = torch.cat([masks, masks.amax(dim=1, keepdim=True)], dim=1)
    if layout == "exclusive":
        pixelwise = F.cross_entropy(logits, _indices(masks), reduction="none")
        shares = class_probabilities(logits, layout)
    elif layout == "apart" and several:
        whether, which = logits[:, :1], logits[:, 1:]
        pixelwise = F.binary_cross_entropy_with_logits(whether, truths[:, -1:], reduction="none")
        shares = torch.cat([which.softmax(dim=1), torch.ones_like(whether)], dim=1)
        shares = shares * whether.sigmoid()
        terms["classes"] = _which_class(which, masks)
    else:
        if several:
            logits = torch.cat([logits, logits.amax(dim=1, keepdim=True)], dim=1)
        pixelwise = F.binary_cross_entropy_with_logits(logits, truths, reduction="none")
        shares = logits.sigmoid()
    if bce or cross_entropy:
        terms["cross_entropy" if cross_entropy else "bce"] = pixelwise.mean()
    if focal:
        terms["focal"] = ((1 - torch.exp(-pixelwise)) ** focal_gamma * pixelwise).mean()
    if dice:
        overlap = DiceLoss(mode="multilabel", from_logits=False)
        # It gives absent classes a loss of 0 and counts them in the mean; we leave them out.
        present = truths.amax(dim=(0, 2, 3)).sum().clamp(min=1)
        terms["dice"] = overlap(shares, truths) * truths.shape[1] / present
    weights = {
        "bce": bce,
        "classes": classes,
        "cross_entropy": cross_entropy,
        "focal": focal,
        "dice": dice,
    }
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {**terms, "loss": total}


def _which_class(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over (B, K, H, W) at defect pixels; of overlapping ones each is half right."""
    count = masks.sum(dim=1)  # (B, H, W)
    wrong = -(masks * logits.log_softmax(dim=1)).sum(dim=1) / count.clamp(min=1)
    pixels = (count > 0).sum(dim=(1, 2))  # (B,)
    by_image = wrong.sum(dim=(1, 2)) / pixels.clamp(min=1)
    return by_image.sum() / (pixels > 0).sum().clamp(min=1)


def _indices(masks: torch.Tensor) -> torch.Tensor:
    # (B, K, H, W) -> (B, H, W): 0 is background; where classes overlap the later one wins.
    ranks = torch.arange(1, masks.shape[1] + 1, device=masks.device)[:, None, None]
    return (masks * ranks).amax(dim=1).long()
