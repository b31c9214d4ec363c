"""The facts of a dataset from which a training is planned; ``dataset.json`` has them as ``facts``.

After the dataset fingerprint of nnU-Net (Isensee et al. 2021). Nothing but the counts is measured
outside of the training split, so that a plan knows no more than a training does.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.image_measures import LAYOUT_SIDE, ImageMeasures, measure_image
from defectkit.errors import DatasetError
from defectkit.regions import Region
from defectkit.vocabulary import SPLITS, Split

MIN_COMPARED, MAX_COMPARED = 8, 2000
"""Number of images whose layouts are compared; of more, so many are taken evenly."""
MIN_ALIGNMENT = 0.5
"""Median correlation from which images are called aligned."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The 5th, 50th and 95th percentile of some quantity that is not negative.

    Raises:
        ValueError: they are not finite, negative, or not in order.
    """

    p5: float
    p50: float
    p95: float

    def __post_init__(self) -> None:
        if not 0 <= self.p5 <= self.p50 <= self.p95 < float("inf"):
            raise ValueError(f"{self} is not a spread of values from 0 on")

    @classmethod
    def of(cls, values: Collection[float]) -> Self:
        """Return that of ``values``, at least one, to 4 digits."""
        return cls(*(float(f"{value:.4g}") for value in np.percentile([*values], (5, 50, 95))))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCounts:
    """The number of images and groups of a split."""

    images: int
    defective: int
    groups: int

    @property
    def good(self) -> int:
        """The number of images without a defect."""
        return self.images - self.defective


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectFacts:
    """The regions of one class, or of all, in the training split.

    Attributes:
        regions: their number, at least 1.
        area: their number of pixels.
        side: the longer side of their box in pixels.
        thickness: the area divided by ``side``, in pixels: of a scratch, about its width.
        contrast: the difference of their mean from that of their surroundings, in standard
            deviations of these; None where they have no surroundings.
    """

    regions: int
    area: Spread
    side: Spread
    thickness: Spread
    contrast: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What is measured of a dataset whose training split has an image.

    Attributes:
        splits: number of images by split.
        classes: number of images of each class by split.
        height: of the training images, in pixels, as are the next two.
        width: of the training images.
        pixels: number of pixels of a training image.
        equal_sizes: whether all training images have one size.
        defects: all regions of the training split; None if there are none.
        defects_by_class: those of each class that has any.
        alignment: median correlation of a training image's coarse layout with the mean of the
            others, in [-1, 1]: near 1 for one part under a fixed camera, near 0 for a texture. None
            for fewer than 8 images.
    """

    splits: dict[Split, SplitCounts]
    classes: dict[str, dict[Split, int]]
    height: Spread
    width: Spread
    pixels: Spread
    equal_sizes: bool
    defects: DefectFacts | None
    defects_by_class: dict[str, DefectFacts]
    alignment: float | None

    @property
    def aligned(self) -> bool:
        """Whether the images show the same thing at the same place, as parts in a holder do."""
        return self.alignment is not None and self.alignment >= MIN_ALIGNMENT

    def to_dict(self) -> dict[str, Any]:
        """Return it as ``dataset.json`` has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return it as ``to_dict`` gave it.

        Raises:
            ValueError: an entry is missing or has a value that does not fit.
        """
        from pydantic import TypeAdapter  # slow, and ``prepare`` reads none

        return TypeAdapter(cls).validate_python(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredImage:
    """An image, as ``summarize_images`` takes it; the measures count of training images alone."""

    split: Split
    group: str
    height: int
    width: int
    classes: tuple[str, ...]
    regions: tuple[Region, ...]
    measures: ImageMeasures


def facts_of(
    dataset: Dataset,
    *,
    track: Callable[[Sequence[ImageRecord]], Iterable[ImageRecord]] = iter,
) -> DatasetFacts:
    """Return the facts that ``prepare`` stored; of a dataset without them, measure them now.

    ``track`` shows the progress of what is iterated over.

    Raises:
        DatasetError: the training split has no image, or the stored facts are damaged.
        ImageError: an image cannot be read.
    """
    train = dataset.split("train")
    stored = dataset.info.get("facts")
    if stored is not None:
        try:
            return DatasetFacts.from_dict(stored)
        except ValueError as error:
            raise DatasetError(
                f"{dataset.folder} is damaged: the facts in its dataset.json do not fit. "
                "Run 'defectkit prepare' again."
            ) from error
    measures = {record.image_id: _measure(record, dataset.classes) for record in track(train)}
    return summarize_images(
        [
            MeasuredImage(
                split=record.split,
                group=record.group,
                height=record.height,
                width=record.width,
                classes=tuple(record.rles),
                regions=record.regions,
                measures=measures.get(record.image_id, ImageMeasures()),
            )
            for record in dataset.records
        ]
    )


def _measure(record: ImageRecord, classes: Sequence[str]) -> ImageMeasures:
    image = record.read_image(record.channels)
    if not record.defective:
        return measure_image(image, (), None)
    defects = record.read_masks(classes).max(axis=0).view(np.bool_)
    return measure_image(image, record.regions, defects)


def summarize_images(images: Sequence[MeasuredImage]) -> DatasetFacts:
    """Return the facts of a dataset, at least one of whose images is in the training split."""
    train = [image for image in images if image.split == "train"]
    regions = [region for image in train for region in image.regions]
    names = sorted({name for image in images for name in image.classes})
    contrasts = {
        name: [value for image in train for value in image.measures.contrasts.get(name, ())]
        for name in names
    }
    by_class = {
        name: _describe([region for region in regions if region.class_id == name], contrasts[name])
        for name in names
    }
    return DatasetFacts(
        splits={split: _count([one for one in images if one.split == split]) for split in SPLITS},
        classes={
            name: {
                split: sum(name in one.classes and one.split == split for one in images)
                for split in SPLITS
            }
            for name in names
        },
        height=Spread.of([image.height for image in train]),
        width=Spread.of([image.width for image in train]),
        pixels=Spread.of([image.height * image.width for image in train]),
        equal_sizes=len({(image.height, image.width) for image in train}) == 1,
        defects=_describe(regions, [value for values in contrasts.values() for value in values]),
        defects_by_class={name: facts for name, facts in by_class.items() if facts},
        alignment=measure_alignment([image.measures.layout for image in train]),
    )


def measure_alignment(layouts: Sequence[bytes]) -> float | None:
    """Return the median correlation of a layout with the mean of the others; None for few.

    Brightness that falls off smoothly, as under a lamp, is taken out of each first.
    """
    if len(layouts) < MIN_COMPARED:
        return None
    step = -(-len(layouts) // MAX_COMPARED)
    values = np.array([np.frombuffer(one, np.uint8) for one in layouts[::step]], np.float64)
    down, right = np.indices((LAYOUT_SIDE, LAYOUT_SIDE)).reshape(2, -1) / LAYOUT_SIDE
    powers = [np.ones_like(down), down, right, down**2, down * right, right**2]
    smooth, _ = np.linalg.qr(np.stack(powers, axis=1))
    values -= values @ smooth @ smooth.T
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    others = values.sum(axis=0) - values
    similarity = (values * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return round(float(np.median(similarity)), 3)


def _count(images: Sequence[MeasuredImage]) -> SplitCounts:
    return SplitCounts(
        images=len(images),
        defective=sum(bool(image.classes) for image in images),
        groups=len({image.group for image in images}),
    )


def _describe(regions: Sequence[Region], contrasts: Collection[float]) -> DefectFacts | None:
    if not regions:
        return None
    sides = [max(region.box_xywh[2:]) for region in regions]
    thicknesses = [one.area / side for one, side in zip(regions, sides, strict=True)]
    return DefectFacts(
        regions=len(regions),
        area=Spread.of([region.area for region in regions]),
        side=Spread.of(sides),
        thickness=Spread.of(thicknesses),
        contrast=Spread.of(contrasts) if contrasts else None,
    )
