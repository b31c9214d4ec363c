"""An evaluation of a run, read back from the files that ``evaluate`` wrote."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from defectkit.arrays import BoolArray, Float64Array, Int64Array
from defectkit.seals import check_tables, read_sealed
from defectkit.tables import read_table

TABLES = ("images.csv", "regions.csv")
"""The tables of an evaluation, whose hashes ``metrics.json`` has under ``tables``."""

PIXEL_COUNTS = ["true_pixels", "found_pixels", "hit_pixels"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationResult:
    """The evaluation of a run, read back; images in the order of their ids.

    ``groups``, (N,), has the number of each image's group, from 0 on: images of one group show the
    same workpiece or batch. ``outcomes`` are those of ``images.csv``. ``pixels``, (3, N), has the
    numbers of true, found and hit pixels, ``regions``, (2, N), those of found and true regions,
    ``false_alarms``, (N,), that of regions where nothing is true.
    """

    name: str
    metrics: dict[str, Any]
    image_ids: tuple[str, ...]
    groups: Int64Array
    defective: BoolArray
    scores: Float64Array
    outcomes: tuple[str, ...]
    pixels: Int64Array
    regions: Int64Array
    false_alarms: Int64Array

    @classmethod
    def read(cls, folder: Path, *, name: str) -> Self:
        """Read ``metrics.json``, ``images.csv`` and ``regions.csv``.

        Raises:
            OSError, KeyError, ValueError: a file is missing, damaged, changed or of an earlier
                version.
        """
        metrics = read_sealed(folder / "metrics.json")
        check_tables(folder, TABLES, metrics["tables"])
        metrics["region"]["precision"]  # Not in evaluations of an earlier version.
        text: tuple[str, ...] = ("image_id", "group", "split", "verdict", "outcome")
        images = read_table(folder / "images.csv", text=text).sort_values("image_id")
        whole = (images[PIXEL_COUNTS].dtypes == np.int64).all()
        if not (whole and np.isfinite(images["score"].to_numpy(np.float64)).all()):
            raise ValueError("images.csv has a score or a number of pixels that is none")
        text = ("image_id", "kind", "class_id", "found", "found_class")
        regions = read_table(folder / "regions.csv", text=text).set_index("image_id")
        if not regions.index.isin(images["image_id"]).all():
            raise ValueError("regions.csv has an image that images.csv has not")
        regions["true"] = regions["kind"] == "true"
        regions["found"] = regions["true"] & (regions["found"] == "yes")
        regions["false_alarm"] = regions["kind"] == "false_alarm"
        counts = (
            regions.groupby(level="image_id")[["found", "true", "false_alarm"]]
            .sum()
            .reindex(images["image_id"], fill_value=0)
            .to_numpy(np.int64)
        )
        return cls(
            name=name,
            metrics=metrics,
            image_ids=tuple(images["image_id"]),
            groups=np.unique(images["group"], return_inverse=True)[1].astype(np.int64),
            defective=(images["defective"] == 1).to_numpy(np.bool_),
            scores=images["score"].to_numpy(np.float64),
            outcomes=tuple(images["outcome"]),
            pixels=images[PIXEL_COUNTS].to_numpy(np.int64).T,
            regions=counts.T[:2],
            false_alarms=counts.T[2],
        )

    @property
    def dice(self) -> Float64Array:
        """The Dice of each image, (N,); 1 where nothing is true and nothing found."""
        true, found, hit = self.pixels
        return np.where(true + found == 0, 1.0, 2 * hit / np.maximum(true + found, 1))
