"""Losses of segmentation.

Shapes: logits (B, K, H, W) where classes may overlap (sigmoid), or (B, 1 + K, H, W) with background
first where they exclude each other (softmax); masks (B, K, H, W) of 0 and 1.
"""

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss


def class_probabilities(logits: torch.Tensor, *, exclusive: bool) -> torch.Tensor:
    """Return (B, K, H, W) float32 probabilities of the defect classes."""
    logits = logits.float()
    return logits.softmax(dim=1)[:, 1:] if exclusive else logits.sigmoid()


def segmentation_losses(
    logits: torch.Tensor,
    masks: torch.Tensor,
    *,
    bce: float,
    dice: float,
    focal: float,
    focal_gamma: float,
    cross_entropy: float,
) -> dict[str, torch.Tensor]:
    """Return the named terms that have a weight, unweighted, and ``loss``, their weighted sum.

    The Dice term is pooled over the batch for each class, and only over classes that the batch
    holds (an absent class has no overlap to gain). Focal: Lin et al. 2017, without alpha. Where
    classes may overlap, "any defect" (the largest score against any truth) counts as one more
    class: verdicts ask for it, and rare classes learn from the others through it.
    """
    exclusive = cross_entropy > 0
    logits, masks = logits.float(), masks.float()
    if not exclusive and masks.shape[1] > 1:
        logits = torch.cat([logits, logits.amax(dim=1, keepdim=True)], dim=1)
        masks = torch.cat([masks, masks.amax(dim=1, keepdim=True)], dim=1)
    if exclusive:
        pixelwise = F.cross_entropy(logits, _indices(masks), reduction="none")
    else:
        pixelwise = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    terms = {}
    if bce or cross_entropy:
        terms["cross_entropy" if exclusive else "bce"] = pixelwise.mean()
    if focal:
        terms["focal"] = ((1 - torch.exp(-pixelwise)) ** focal_gamma * pixelwise).mean()
    if dice:
        overlap = DiceLoss(mode="multilabel", from_logits=False)
        # It gives absent classes a loss of 0 and counts them in the mean; we leave them out.
        present = masks.amax(dim=(0, 2, 3)).sum().clamp(min=1)
        mean = overlap(class_probabilities(logits, exclusive=exclusive), masks)
        terms["dice"] = mean * masks.shape[1] / present
    weights = {"bce": bce, "cross_entropy": cross_entropy, "focal": focal, "dice": dice}
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {**terms, "loss": total}


def _indices(masks: torch.Tensor) -> torch.Tensor:
    # (B, K, H, W) -> (B, H, W): 0 is background; where classes overlap the later one wins.
    ranks = torch.arange(1, masks.shape[1] + 1, device=masks.device)[:, None, None]
    return (masks * ranks).amax(dim=1).long()
