"""The images of a dataset with their groups and splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.splits import SplitFractions, assign_splits
from defectkit.vocabulary import Split


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image of the dataset: its facts, its group and its split."""

    facts: ImageFacts
    group: str
    split: Split


def split_images(
    images: Sequence[ImageFacts],
    groups: Mapping[str, str],
    given: Mapping[str, str],
    *,
    fractions: SplitFractions,
    seed: int,
) -> tuple[list[PreparedImage], list[str]]:
    """Split the images; return them, and the warnings about the splits.

    Args:
        images: the usable images.
        groups: the group of each, by image id.
        given: the split that the user gave, by image id, empty text where none.
        fractions: of training, validation and test.
        seed: of the random part of the split.

    Raises:
        DatasetError: as ``assign_splits``.
    """
    assignment = assign_splits(
        groups=[groups[image.image_id] for image in images],
        classes=[image.rles.keys() for image in images],
        fractions=fractions,
        seed=seed,
        given=[given[image.image_id] for image in images],
    )
    prepared = [
        PreparedImage(image, groups[image.image_id], split)
        for image, split in zip(images, assignment.splits, strict=True)
    ]
    states = {bool(image.rles) for image in images}
    if len(states) == 1:
        state = "good" if True in states else "defective"
        return prepared, [f"the data have no {state} images", *assignment.warnings]
    return prepared, [*assignment.warnings]
