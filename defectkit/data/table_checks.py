"""Checks of the tables of a dataset: whether they fit each other, and what is asked of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from defectkit.arrays import ImageSize
from defectkit.errors import DatasetError
from defectkit.regions import Region
from defectkit.vocabulary import SPLITS, Split


def check_same_classes(
    rles: Mapping[str, Mapping[str, str]], regions: Mapping[str, Sequence[Region]]
) -> None:
    """Check that each image has the same classes in ``masks.csv`` and ``defects.csv``.

    Raises:
        ValueError: an image has a class in one of the two alone.
    """
    in_masks = {(image_id, class_id) for image_id, own in rles.items() for class_id in own}
    in_defects = {(image_id, one.class_id) for image_id, own in regions.items() for one in own}
    if in_masks != in_defects:
        image_id, class_id = min(in_masks ^ in_defects)
        raise ValueError(
            f"masks.csv and defects.csv contradict each other: only one of them has class "
            f"{class_id} of {image_id}"
        )


def check_inside(regions: Sequence[Region], image_id: str, size: ImageSize) -> None:
    """Check that the regions of an image lie inside of it.

    Raises:
        ValueError: one does not.
    """
    image_height, image_width = size
    for region in regions:
        x, y, width, height = region.box_xywh
        if x < 0 or y < 0 or x + width > image_width or y + height > image_height:
            raise ValueError(
                f"defects.csv has the box {region.box_xywh} outside of {image_id}, which is "
                f"{image_width}x{image_height}"
            )


def empty_split(folder: Path, name: Split, splits: Sequence[Split]) -> DatasetError:
    """Return the error of a split without images; ``splits`` are those of all images."""
    counts = Counter(splits)
    has = ", ".join(f"{counts[split]} in {split}" for split in SPLITS)
    way_out = "evaluate another with --split val, or " if name == "test" else ""
    return DatasetError(
        f"{folder} has no image in the {name} split ({has}): {way_out}run 'defectkit prepare' "
        "again with more images or with other fractions, such as --split 0.7/0.15/0.15."
    )
