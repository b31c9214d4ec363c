"""``LabeledTruth``: the true masks of one image, whose regions are labeled once for all metrics."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from defectkit.arrays import Mask, Masks, RegionMap
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.regions import DEFECT_OR_NOT, Region, label_regions


class LabeledTruth:
    """The true masks of one image and their connected regions, labeled at first use.

    Args:
        masks: (K, H, W) uint8 (or bool), nonzero = defect.
        classes: the names of the K classes.
        scope: which pixels count; no mask leaves it.

    Raises:
        ValueError: a shape or dtype is wrong.
    """

    def __init__(self, masks: Masks, classes: Sequence[str], scope: Scope = EVERYWHERE) -> None:
        if masks.ndim != 3 or len(masks) != len(classes):
            raise ValueError(
                f"truth must be (K, H, W) with one layer for each of the {len(classes)} classes "
                f"but got {masks.shape}"
            )
        if masks.dtype not in (np.bool_, np.uint8):
            raise ValueError(f"truth must be bool or uint8 but got {masks.dtype}")
        self.masks: Masks = masks.view(np.uint8)
        self.classes = tuple(classes)
        self.scope = scope

    @cached_property
    def present(self) -> tuple[str, ...]:
        """The classes that have a true pixel."""
        return tuple(
            name for name, mask in zip(self.classes, self.masks, strict=True) if mask.any()
        )

    @cached_property
    def mask(self) -> Mask:
        """The pixels of any defect, (H, W) bool."""
        if len(self.present) == 1:
            return self.mask_of(self.present[0])
        return np.asarray(self.masks.any(axis=0))

    @cached_property
    def by_class(self) -> dict[str, tuple[RegionMap, list[Region]]]:
        """The region map and the regions of each class that is present."""
        return {name: label_regions(self.mask_of(name), name) for name in self.present}

    @property
    def regions(self) -> list[Region]:
        """The regions of all classes, class by class."""
        return [region for _, regions in self.by_class.values() for region in regions]

    @cached_property
    def region_map(self) -> RegionMap:
        """The region map of ``mask``, (H, W) int32: of defects, whatever their class."""
        if len(self.present) == 1:
            return self.by_class[self.present[0]][0]
        return label_regions(self.mask)[0]

    def as_found(self, found_classes: Sequence[str]) -> "LabeledTruth":
        """Return the truth that findings of these classes are judged by.

        It is this one, or where they are not its classes, that of *defect or not*.
        """
        if tuple(found_classes) == self.classes:
            return self
        return LabeledTruth(self.mask[None].view(np.uint8), DEFECT_OR_NOT, self.scope)

    def mask_of(self, class_id: str) -> Mask:
        """Return the pixels of one class, (H, W) bool."""
        return np.asarray(self.masks[self.classes.index(class_id)] != 0)
