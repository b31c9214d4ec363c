"""The facts of a dataset from which a training is planned; ``dataset.json`` has them as ``facts``.

After the dataset fingerprint of nnU-Net (Isensee et al. 2021). Nothing but the counts is measured
outside of the training split, so that a plan knows no more than a training does.
"""

import itertools
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from defectkit.data.columns import BytesColumn
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
    def of(cls, values: Sequence[float] | npt.NDArray[Any]) -> Self:
        """Return that of ``values``, at least one, to 4 digits."""
        return cls(*(float(f"{value:.4g}") for value in np.percentile(values, (5, 50, 95))))


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
    )


def _measure(record: ImageRecord, classes: Sequence[str]) -> ImageMeasures:
    image = record.read_image(record.channels)
    if not record.defective:
        return measure_image(image, (), None)
    defects = record.read_masks(classes).max(axis=0).view(np.bool_)
    return measure_image(image, record.regions, defects)


@dataclass(slots=True)
class _Measured:
    """What is measured of regions: of each its area, its longer side and, of most, its contrast."""

    areas: "array[int]" = field(default_factory=lambda: array("q"))
    sides: "array[int]" = field(default_factory=lambda: array("q"))
    contrasts: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, regions: Iterable[Region], contrasts: Iterable[float]) -> None:
        for region in regions:
            self.areas.append(region.area)
            self.sides.append(max(region.box_xywh[2:]))
        self.contrasts.extend(contrasts)

    def describe(self) -> DefectFacts | None:
        if not self.areas:
            return None
        return DefectFacts(
            regions=len(self.areas),
            area=Spread.of(self.areas),
            side=Spread.of(self.sides),
            thickness=Spread.of(np.divide(self.areas, self.sides)),
            contrast=Spread.of(self.contrasts) if self.contrasts else None,
        )


def summarize_images(images: Iterable[MeasuredImage]) -> DatasetFacts:
    """Return the facts of a dataset, at least one of whose images is in the training split.

    Each image is looked at once, and need not be kept.
    """
    counts: Counter[tuple[Split, bool]] = Counter()
    groups: dict[Split, set[str]] = {split: set() for split in SPLITS}
    of_classes: dict[str, Counter[Split]] = defaultdict(Counter)
    heights, widths, layouts = array("q"), array("q"), BytesColumn()
    every, by_class = _Measured(), defaultdict[str, _Measured](_Measured)
    for image in images:
        counts[image.split, bool(image.classes)] += 1
        groups[image.split].add(image.group)
        for name in image.classes:
            of_classes[name][image.split] += 1
        if image.split != "train":
            continue
        heights.append(image.height)
        widths.append(image.width)
        layouts.append(image.measures.layout)
        every.add(image.regions, itertools.chain(*image.measures.contrasts.values()))
        for name in image.classes:
            own = (region for region in image.regions if region.class_id == name)
            by_class[name].add(own, image.measures.contrasts.get(name, ()))
    names = sorted(of_classes)
    described = {name: by_class[name].describe() for name in names}
    return DatasetFacts(
        splits={
            split: SplitCounts(
                images=counts[split, False] + counts[split, True],
                defective=counts[split, True],
                groups=len(groups[split]),
            )
            for split in SPLITS
        },
        classes={name: {split: of_classes[name][split] for split in SPLITS} for name in names},
        height=Spread.of(heights),
        width=Spread.of(widths),
        pixels=Spread.of(np.multiply(heights, widths)),
        equal_sizes=len({*zip(heights, widths, strict=True)}) == 1,
        defects=every.describe(),
        defects_by_class={name: facts for name, facts in described.items() if facts},
        alignment=measure_alignment(layouts),
    )


def measure_alignment(layouts: Sequence[bytes] | BytesColumn) -> float | None:
    """Return the median correlation of a layout with the mean of the others; None for few.

    Brightness that falls off smoothly, as under a lamp, is taken out of each first.
    """
    if len(layouts) < MIN_COMPARED:
        return None
    step = -(-len(layouts) // MAX_COMPARED)
    chosen = (layouts[number] for number in range(0, len(layouts), step))
    values = np.array([np.frombuffer(one, np.uint8) for one in chosen], np.float64)
    down, right = np.indices((LAYOUT_SIDE, LAYOUT_SIDE)).reshape(2, -1) / LAYOUT_SIDE
    powers = [np.ones_like(down), down, right, down**2, down * right, right**2]
    smooth, _ = np.linalg.qr(np.stack(powers, axis=1))
    values -= values @ smooth @ smooth.T
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    others = values.sum(axis=0) - values
    similarity = (values * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return round(float(np.median(similarity)), 3)
