"""The tables of a dataset as columns, from which the records of its images are made.

A million records as objects would take gigabytes, and each process that loads images a copy of its
own. Columns take little more than the tables themselves, and processes that are forked share them.
"""

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from defectkit.arrays import IndexArray, Int64Array
from defectkit.data.columns import TextColumn
from defectkit.data.table_checks import check_inside, check_same_classes
from defectkit.files import iterate_csv
from defectkit.regions import Region
from defectkit.vocabulary import SPLITS, Split

TEXTS = ("image_id", "path", "sha256", "group")
"""The columns of ``images.csv`` that are kept as they are."""
NUMBERS = ("height", "width", "channels")


class RecordTable:
    """The images of a dataset with their masks, regions and scopes, by the number of their row.

    Args:
        folder: that of the dataset.
        scope_table: the name of the table of scopes, which there need not be.

    Raises:
        OSError, KeyError, ValueError, OverflowError: a table cannot be read, or is not what
            ``prepare`` writes, or two contradict each other.
    """

    def __init__(self, folder: Path, scope_table: str) -> None:
        self._texts = {name: TextColumn() for name in TEXTS}
        self._numbers = {name: array("q") for name in NUMBERS}
        self._splits = bytearray()
        # Rows of masks and regions are found by a key, one for each image id.
        keys: dict[str, int] = {}
        own_keys = array("q")
        for row in iterate_csv(folder / "images.csv"):
            for name, texts in self._texts.items():
                texts.append(row[name])
            for name, numbers in self._numbers.items():
                numbers.append(int(row[name]))
            self._splits.append(_split_number(row["split"]))
            own_keys.append(keys.setdefault(row["image_id"], len(keys)))
        self._keys = np.array(own_keys, np.int64)
        self._scopes = _read_scopes(folder / scope_table, keys)
        self._class_ids: list[str] = []
        classes: dict[str, int] = {}
        self._rles = TextColumn()
        mask_keys, mask_classes = array("q"), array("q")
        for row in iterate_csv(folder / "masks.csv"):
            mask_keys.append(keys.setdefault(row["image_id"], len(keys)))
            mask_classes.append(classes.setdefault(row["class_id"], len(classes)))
            self._rles.append(row["rle"])
        region_keys, cells = array("q"), array("q")
        for row in iterate_csv(folder / "defects.csv"):
            region_keys.append(keys.setdefault(row["image_id"], len(keys)))
            cells.append(classes.setdefault(row["class_id"], len(classes)))
            cells.extend(int(row[name]) for name in ("x", "y", "width", "height", "area"))
        self._class_ids = [*classes]
        self._mask_classes = np.array(mask_classes, np.int32)
        self._masks = _Rows(np.array(mask_keys, np.int64), len(keys))
        self._region_cells = np.array(cells, np.int64).reshape(-1, 6)
        self._regions = _Rows(np.array(region_keys, np.int64), len(keys))
        self._check_areas()
        self._check_classes(np.array(mask_keys, np.int64), np.array(region_keys, np.int64), keys)
        self._check_boxes(np.array(region_keys, np.int64))

    def __len__(self) -> int:
        return len(self._splits)

    def fields(self, number: int) -> dict[str, Any]:
        """Return what a record has of an image, but for its folder and how its pixels are read."""
        key = int(self._keys[number])
        image_id = self._texts["image_id"][number]
        rois, ignored = self._scopes["roi"], self._scopes["ignored"]
        return {
            **{name: texts[number] for name, texts in self._texts.items()},
            **{name: numbers[number] for name, numbers in self._numbers.items()},
            "split": SPLITS[self._splits[number]],
            "rles": {
                self._class_ids[self._mask_classes[row]]: self._rles[row]
                for row in self._masks.of(key)
            },
            "regions": tuple(map(self._region, self._regions.of(key))),
            "roi": rois.get(image_id, rois.get("", "")),
            "ignored": ignored.get(image_id, ""),
        }

    def column(self, name: str, numbers: IndexArray) -> Iterator[Any]:
        """Yield one field of some images: a text or number of ``images.csv``, or the split."""
        if name == "split":
            return (SPLITS[self._splits[number]] for number in numbers)
        column = self._texts[name] if name in self._texts else self._numbers[name]
        return (column[number] for number in numbers)

    def in_split(self, split: Split) -> IndexArray:
        """Return the numbers of the images of a split."""
        splits = np.frombuffer(self._splits, np.uint8)
        return np.flatnonzero(splits == SPLITS.index(split))

    def _region(self, row: int) -> Region:
        class_number, x, y, width, height, area = self._region_cells[row].tolist()
        return Region(
            class_id=self._class_ids[class_number], box_xywh=(x, y, width, height), area=area
        )

    def _check_areas(self) -> None:
        _, _, _, width, height, area = self._region_cells.T
        fits = (width >= 1) & (height >= 1) & (area >= 1) & (area / np.maximum(width, 1) <= height)
        for row in np.flatnonzero(~fits)[:1]:
            self._region(row)  # It raises.

    def _check_classes(
        self, mask_keys: Int64Array, region_keys: Int64Array, keys: Mapping[str, int]
    ) -> None:
        count = max(len(self._class_ids), 1)
        in_masks = mask_keys * count + self._mask_classes
        in_regions = region_keys * count + self._region_cells[:, 0]
        differing = np.setxor1d(in_masks, in_regions)
        if not len(differing):
            return
        names, with_mask = [*keys], {*np.intersect1d(differing, in_masks).tolist()}
        rles: dict[str, dict[str, str]] = {}
        regions: dict[str, list[Region]] = {}
        for both in differing.tolist():
            image_id, class_id = names[both // count], self._class_ids[both % count]
            if both in with_mask:
                rles.setdefault(image_id, {})[class_id] = ""
            else:
                one = Region(box_xywh=(0, 0, 1, 1), area=1, class_id=class_id)
                regions.setdefault(image_id, []).append(one)
        check_same_classes(rles, regions)

    def _check_boxes(self, region_keys: Int64Array) -> None:
        for number in self._outside(region_keys):
            key, size = int(self._keys[number]), [self._numbers[name][number] for name in NUMBERS]
            regions = [*map(self._region, self._regions.of(key))]
            check_inside(regions, self._texts["image_id"][number], (size[0], size[1]))

    def _outside(self, region_keys: Int64Array) -> list[int]:
        """Return the first image that has a region beyond its border, if any."""
        images = len(self._keys)
        height, width = (np.array(self._numbers[name], np.int64) for name in ("height", "width"))
        of_key = np.full(max(int(region_keys.max(initial=-1)) + 1, images), -1)
        of_key[self._keys] = np.arange(images)
        number = of_key[region_keys]
        known = number >= 0  # Others are about images that the dataset has not.
        number = number[known]
        _, x, y, own_width, own_height, _ = self._region_cells[known].T
        outside = (x < 0) | (y < 0)
        outside |= (own_width > width[number] - x) | (own_height > height[number] - y)
        return [int(one) for one in number[outside][:1]]


class _Rows:
    """The rows of a table by a key, those of one key in the order of the table."""

    def __init__(self, keys: Int64Array, count: int) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._starts = np.searchsorted(keys[self._order], np.arange(count + 1))

    def of(self, key: int) -> list[int]:
        """Return the numbers of the rows with a key."""
        rows: list[int] = self._order[self._starts[key] : self._starts[key + 1]].tolist()
        return rows


def _split_number(text: str) -> int:
    for number, name in enumerate(SPLITS):
        if text == name:
            return number
    raise ValueError(f"split {text!r} is not one of {', '.join(SPLITS)}")


def _read_scopes(path: Path, keys: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """Return the regions to inspect and the ignored pixels by image id; "" stands for all."""
    scopes: dict[str, dict[str, str]] = {"roi": {}, "ignored": {}}
    if path.exists():
        for row in iterate_csv(path):
            scopes[row["kind"]][row["image_id"]] = row["shape"]
    if lost := {*scopes["roi"], *scopes["ignored"]} - keys.keys() - {""}:
        raise ValueError(f"{path.name} names {min(lost)}, which images.csv has not")
    return scopes
