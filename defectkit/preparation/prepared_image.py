"""The images of a dataset with their groups and splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectkit.data.dataset_facts import DatasetFacts, MeasuredImage, summarize_images
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.grouping import Grouping
from defectkit.preparation.splits import SplitFractions, assign_splits
from defectkit.vocabulary import Split


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image of the dataset: its facts, its group and its split."""

    facts: Facts
    group: str
    split: Split


def measure_dataset(images: Sequence[PreparedImage]) -> DatasetFacts | None:
    """Return the facts of the dataset; None where no image is in the training split."""
    if not any(image.split == "train" for image in images):
        return None
    return summarize_images(map(_measured, images))


def _measured(image: PreparedImage) -> MeasuredImage:
    return MeasuredImage(
        split=image.split,
        group=image.group,
        height=image.facts.height,
        width=image.facts.width,
        classes=tuple(image.facts.rles),
        regions=image.facts.regions,
        measures=image.facts.measures,
    )


def split_images(
    images: Sequence[Facts],
    grouping: Grouping,
    *,
    fractions: SplitFractions,
    seed: int,
    written: Path = Path(),
) -> tuple[list[PreparedImage], list[str]]:
    """Split the images; return them, and the warnings about the splits.

    Args:
        images: the usable images.
        grouping: their groups, and the splits that the user gave.
        fractions: of training, validation and test.
        seed: of the random part of the split.
        written: the folder that has ``leaks.csv`` if this fails.

    Raises:
        DatasetError: as ``assign_splits``.
    """
    ids = [image.image_id for image in images]
    groups = [grouping.joined[image_id] for image_id in ids]
    known: dict[tuple[str, ...], tuple[str, ...]] = {}  # Many have the same classes.
    assignment = assign_splits(
        groups=groups,
        classes=[known.setdefault(own, own) for image in images for own in [tuple(image.rles)]],
        fractions=fractions,
        seed=seed,
        given=[grouping.given[image_id] for image_id in ids],
        named=[grouping.named[image_id] for image_id in ids],
        written=written,
    )
    prepared = list(map(PreparedImage, images, groups, assignment.splits))
    warnings = [*assignment.warnings]
    absent = [split for split in ("train", "val") if split not in assignment.splits]
    if absent and not all(grouping.given[image_id] for image_id in ids):
        warnings.append(f"no image is in {' or '.join(absent)}: nothing can be trained")
    states = {bool(image.rles) for image in images}
    if len(states) == 1:
        state = "good" if True in states else "defective"
        warnings.insert(0, f"the data have no {state} images")
    return prepared, warnings
