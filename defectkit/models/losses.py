"""Losses of segmentation.

Shapes: B images, K defect classes, H and W in pixels; masks (B, K, H, W) of 0 and 1. Logits come in
one of three layouts:

- ``overlapping``, (B, K, H, W): each class on its own (sigmoid),
- ``exclusive``, (B, 1 + K, H, W): background first, the classes exclude each other (softmax),
- ``apart``, (B, 1 + K, H, W): "any defect" first, then the classes, so that *whether* is apart from
  *which* and doubt between two classes hides no defect. For one class (B, 1, H, W).

A batch may be divided among processes: a loss is that of the whole batch.
"""

from typing import Literal

import torch
import torch.nn.functional as F

from defectkit.models.network import require_finite
from defectkit.models.rank_sums import mean_over_ranks, sum_over_ranks

SMALLEST_AREA = 1e-7
"""A smaller sum of probabilities and true pixels counts as this: no division by 0."""

Layout = Literal["overlapping", "exclusive", "apart"]


def choose_layout(*, cross_entropy: float, classes: float) -> Layout:
    """Return the layout that the weights of the loss terms need."""
    if cross_entropy:
        return "exclusive"
    return "apart" if classes else "overlapping"


def count_outputs(n_classes: int, layout: Layout) -> int:
    """Return the number of channels of the logits of ``n_classes`` defect classes."""
    return n_classes + (layout == "exclusive" or (layout == "apart" and n_classes > 1))


def class_probabilities(logits: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the scores of the defect classes, (B, K, H, W) float32 in [0, 1].

    In the layout ``apart`` the likeliest class of a pixel gets the probability of any defect, the
    others less in proportion: the largest score says *whether*, their order *which*.

    Raises:
        NotFiniteError: a logit is NaN or infinite.
    """
    require_finite(logits)
    return _probabilities(logits, layout)


def defect_probability(logits: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the largest of ``class_probabilities``, (B, 1, H, W), without making those of each.

    Raises:
        NotFiniteError: a logit is NaN or infinite.
    """
    require_finite(logits)
    if layout == "exclusive":
        return _probabilities(logits, layout).amax(dim=1, keepdim=True)
    largest = logits[:, :1] if layout == "apart" else logits.amax(dim=1, keepdim=True)
    return largest.float().sigmoid()


def _probabilities(logits: torch.Tensor, layout: Layout) -> torch.Tensor:
    logits = logits.float()
    if layout == "exclusive":
        return logits.softmax(dim=1)[:, 1:]
    if layout == "overlapping" or logits.shape[1] == 1:
        return logits.sigmoid()
    any_defect, which = logits[:, :1], logits[:, 1:]
    return any_defect.sigmoid() * torch.exp(which - which.amax(dim=1, keepdim=True))


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
    image: float = 0.0,
    image_logits: torch.Tensor | None = None,
    counted: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return the named terms that have a weight, unweighted, and ``loss``, their weighted sum.

    ``image_logits``, (B,), are those of whole images, from networks that judge them.

    The loss does not depend on the logits of pixels outside of ``counted``, (B, H, W) bool, where
    ``masks`` are 0; by default all count.

    - ``bce``, ``focal``: the mean of ``pixelwise_losses``, plain and as ``focal_loss``.
    - ``classes``: ``class_loss``, where there are several classes.
    - ``dice``: ``dice_loss``.
    - ``cross_entropy``: takes the place of ``bce``; the classes then exclude each other.
    - ``image``: ``image_loss``.
    """
    layout = choose_layout(cross_entropy=cross_entropy, classes=classes)
    logits, masks = logits.float(), masks.float()
    pixelwise = pixelwise_losses(logits, masks, layout)
    terms = {}
    if layout == "apart" and masks.shape[1] > 1:
        terms["classes"] = class_loss(logits, masks)
    if bce or cross_entropy:
        terms["cross_entropy" if cross_entropy else "bce"] = mean_of_counted(pixelwise, counted)
    if focal:
        terms["focal"] = focal_loss(pixelwise, gamma=focal_gamma, counted=counted)
    if dice:
        terms["dice"] = dice_loss(logits, masks, layout, counted)
    if image and image_logits is not None:
        terms["image"] = image_loss(image_logits, masks, counted)
    weights = {
        "bce": bce,
        "classes": classes,
        "cross_entropy": cross_entropy,
        "focal": focal,
        "dice": dice,
        "image": image,
    }
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {**terms, "loss": total}


def pixelwise_losses(logits: torch.Tensor, masks: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the cross-entropy of each pixel with the truth.

    - ``overlapping``, (B, K, H, W) or with several classes (B, K + 1, H, W): of each class, and of
      "any defect" (the largest logit against any truth), since verdicts depend on it and rare
      classes learn from the others through it.
    - ``exclusive``, (B, H, W): over background and the classes.
    - ``apart``, (B, 1, H, W): of "any defect".
    """
    logits, masks = logits.float(), masks.float()
    if layout == "exclusive":
        return F.cross_entropy(logits, _class_indices(masks), reduction="none")
    if masks.shape[1] > 1:
        any_defect = masks.amax(dim=1, keepdim=True)
        if layout == "apart":
            logits, masks = logits[:, :1], any_defect
        else:
            logits = torch.cat([logits, logits.amax(dim=1, keepdim=True)], dim=1)
            masks = torch.cat([masks, any_defect], dim=1)
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none")


def focal_loss(
    pixelwise: torch.Tensor, *, gamma: float, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the focal loss (Lin et al. 2017, without alpha) from ``pixelwise_losses``."""
    return mean_of_counted((1 - torch.exp(-pixelwise)) ** gamma * pixelwise, counted)


def mean_of_counted(pixelwise: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of the losses of the ``counted`` pixels, (B, H, W) bool; 0 where none is.

    Those of all processes count. No pixels are selected: a GPU would have to say first how many
    they are. ``pixelwise`` is (B, H, W) or (B, N, H, W).
    """
    if counted is None:
        return mean_over_ranks(pixelwise)
    if pixelwise.ndim == 4:
        counted = counted[:, None].expand_as(pixelwise)
    total, number = sum_over_ranks(pixelwise.where(counted, 0.0).sum(), counted.sum())
    return total / number.clamp(min=1)


def class_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy over the classes at the defects' own pixels, K > 1.

    For logits of the layout ``apart``. The mean of each image comes first, so that small defects
    count as much as large ones. Where classes overlap, each counts in equal shares.
    """
    logits, masks = logits[:, 1:].float(), masks.float()
    count = masks.sum(dim=1)  # (B, H, W)
    pixelwise = -(masks * logits.log_softmax(dim=1)).sum(dim=1) / count.clamp(min=1)
    pixels = (count > 0).sum(dim=(1, 2))  # (B,)
    by_image = pixelwise.sum(dim=(1, 2)) / pixels.clamp(min=1)
    total, images = sum_over_ranks(by_image.sum(), (pixels > 0).sum())
    return total / images.clamp(min=1)


def dice_loss(
    logits: torch.Tensor,
    masks: torch.Tensor,
    layout: Layout,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return 1 - soft Dice, pooled over the batch, of the ``counted`` pixels, (B, H, W) bool.

    The mean over the classes that the batch has (an absent class has no overlap to gain), and
    over "any defect" where there are several that do not exclude each other.
    """
    logits, masks = logits.float(), masks.float()
    if masks.shape[1] > 1 and layout != "exclusive":
        masks = torch.cat([masks, masks.amax(dim=1, keepdim=True)], dim=1)
        if layout == "apart":
            any_defect, which = logits[:, :1], logits[:, 1:]
            shares = torch.cat([which.softmax(dim=1), torch.ones_like(any_defect)], dim=1)
            probabilities = shares * any_defect.sigmoid()
        else:
            highest = logits.amax(dim=1, keepdim=True)
            probabilities = torch.cat([logits, highest], dim=1).sigmoid()
    else:
        probabilities = _probabilities(logits, layout)  # A loss is checked as a whole.
    if counted is not None:
        probabilities = probabilities * counted[:, None]
    probabilities, masks = probabilities.flatten(2), masks.flatten(2)
    found, true, difference = sum_over_ranks(
        probabilities.sum(dim=(0, 2)),
        masks.sum(dim=(0, 2)),
        torch.linalg.vector_norm(probabilities - masks, ord=1, dim=(0, 2)),
    )
    common = (found + true - difference) / 2
    found_alone, true_alone = found - common, true - common
    areas = common + 0.5 * found_alone + 0.5 * true_alone
    present = true > 0
    losses = (1.0 - common / areas.clamp(min=SMALLEST_AREA)) * present
    return losses.mean() * len(present) / present.sum().clamp(min=1)


def image_loss(
    image_logits: torch.Tensor, masks: torch.Tensor, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cross-entropy of the logits of whole images, (B,), with whether each has a defect.

    Images without a defect of which a pixel is not ``counted``, (B, H, W) bool, are left out: one
    may lie there. Where no image is left the loss is 0.
    """
    defective = masks.float().amax(dim=(1, 2, 3))
    by_image = F.binary_cross_entropy_with_logits(image_logits.float(), defective, reduction="none")
    if counted is None:
        return mean_over_ranks(by_image)
    known = (defective > 0) | counted.all(dim=2).all(dim=1)
    total, images = sum_over_ranks((by_image * known).sum(), known.sum())
    return total / images.clamp(min=1)


def _class_indices(masks: torch.Tensor) -> torch.Tensor:
    # (B, K, H, W) -> (B, H, W): 0 is background; where classes overlap the later one wins.
    ranks = torch.arange(1, masks.shape[1] + 1, device=masks.device)[:, None, None]
    return (masks * ranks).amax(dim=1).long()
