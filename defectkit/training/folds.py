"""Cross-validation for few defective images: each image is validated by a model that never saw it.

The images of training and validation together are cut into folds. A training for each fold learns
from the others and is validated on its own, and a last one learns from all.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from defectkit.arrays import Float64Array
from defectkit.config import Config, flatten_settings
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import ConfigError, DatasetError
from defectkit.seals import read_sealed

SCORES_TABLE = "out_of_fold.csv"
"""The scores of the images in a run of folds, each by the model that never saw it."""
FOLDER = "folds"
"""The folder of the trainings of the folds in their run."""

RUN_SETTINGS = "settings_with_folds"
"""The entry in the ``run.json`` of a fold for the settings of the run that it was trained for.

Its own differ in each session, since its share of the time is measured."""
WITHOUT_EFFECT = ("device", "data.workers")
"""Settings that may differ from those a finished fold was trained with."""


def max_folds(records: Sequence[ImageRecord]) -> int:
    """Return the largest number of folds in which each has a defective image: the defective groups.

    An image without a group is its own.
    """
    return len({_group_of(record) for record in records if record.defective})


def make_folds(dataset: Dataset, count: int, *, seed: int) -> list[Dataset]:
    """Return ``count`` datasets: in each, another fold of the images is the validation split.

    The folds are cut from training and validation, with whole groups, and defective and good images
    and every class in equal shares as far as possible. The test split stays as it is. The result
    depends on the seed and the images, not on their order.

    Raises:
        ConfigError: there are fewer groups with a defective image than folds.
    """
    records = [record for record in dataset.records if record.split != "test"]
    possible = max_folds(records)
    if count > possible:
        raise ConfigError(
            f"--folds {count} needs as many groups with defective images, but training and "
            f"validation have {possible}. "
            + (f"Give at most --folds {possible}." if possible > 1 else "Train without --folds.")
        )
    fold_of = _assign_folds(records, count, seed)

    def split(record: ImageRecord, fold: int) -> ImageRecord:
        if record.split == "test":
            return record
        held_out = fold_of[_group_of(record)] == fold
        return replace(record, split="val" if held_out else "train")

    return [
        replace(dataset, records=tuple(split(record, fold) for record in dataset.records))
        for fold in range(count)
    ]


def describe_folds(count: int) -> str:
    """Return what is to be known of a model that was trained with folds, in a sentence."""
    return (
        "the model was trained on all training and validation images; what is chosen on validation "
        f"was chosen by {count} other networks, each on the images that it was not trained on"
    )


def folds_reserve(validation_seconds: float) -> float:
    """Return the seconds that are reserved for validation in all trainings together.

    That is two validations of all images, which take ``validation_seconds`` each: one by the
    trainings of the folds, and one for what is chosen on all of them.
    """
    return 2 * validation_seconds


def check_no_fold(run: Path) -> None:
    """Check that a run is not the training of a fold, whose validation split is in no dataset.

    Raises:
        DatasetError: it is.
    """
    folder = run.resolve().parent
    parent, name = folder.parent, run.resolve().name
    if folder.name == FOLDER and re.fullmatch(r"fold-\d+", name) and _has_folds(parent):
        raise DatasetError(
            f"{run} is the training of a fold of {parent}: its validation images are no split of a "
            f"dataset. Name {parent}; {SCORES_TABLE} there has the score of each image by the "
            "network that was not trained on it."
        )


def _has_folds(run: Path) -> bool:
    """Whether a run is one with folds, by its ``run.json``; any other folder is not."""
    try:
        return bool(read_sealed(run / "run.json")["config"]["train"]["folds"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def trains_the_same(settings: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether these settings of a run with folds and other ones give the folds the same training.

    Both are those of a ``run.json``, by section.
    """
    ignored = dict.fromkeys(WITHOUT_EFFECT)
    return flatten_settings(settings) | ignored == flatten_settings(other) | ignored


def config_of_fold(config: Config, *, validation_seconds: float) -> Config:
    """Return the configuration of the training of a fold: an ordinary one in its share of time.

    Of ``train.max_time`` all trainings, the last one included, have the same part, after what is
    reserved for validations of all images, which take ``validation_seconds`` each.
    """
    assert config.train.folds, "a configuration without folds"
    limit = _share(config, validation_seconds, parts=config.train.folds)
    train = config.train.model_copy(update={"folds": None, "max_time": limit})
    return config.model_copy(update={"train": train})


def config_of_last(config: Config, *, validation_seconds: float, samples_per_epoch: int) -> Config:
    """Return the configuration of the last training, of all images: as many steps as for a fold."""
    limit = _share(config, validation_seconds, parts=1)
    changes = {"max_time": limit, "samples_per_epoch": samples_per_epoch}
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def _share(config: Config, validation_seconds: float, *, parts: int) -> float | None:
    """Return the time of a training that validates all images, or one of so many ``parts``."""
    count, limit = config.train.folds, config.train.max_time
    if limit is None or count is None:
        return None
    reserve = folds_reserve(validation_seconds)
    return (limit - reserve) / (count + 1) + reserve / 2 / parts


def _assign_folds(records: Sequence[ImageRecord], count: int, seed: int) -> dict[str, int]:
    """Return the fold of each group: those with the rarest class first, to the fold that needs it.

    That is the method of ``StratifiedGroupKFold`` of scikit-learn, with the order of Sechidis et
    al. (2011), as for the splits.
    """
    classes = sorted(set().union(*(record.rles for record in records)))
    column = {class_id: 3 + index for index, class_id in enumerate(classes)}
    tables: dict[str, Float64Array] = {}  # of each group: all images, defective, good, each class
    for record in records:
        table = tables.setdefault(_group_of(record), np.zeros(3 + len(classes)))
        table[[0, 1 if record.defective else 2, *(column[one] for one in record.rles)]] += 1
    total = np.sum(list(tables.values()), axis=0)
    groups_with = np.sum([table > 0 for table in tables.values()], axis=0)

    def urgency(group: str) -> tuple[float, float, bytes]:
        table = tables[group]
        return float(groups_with[table > 0].min()), -table[0], _draw(group, seed)

    counts = np.zeros((count, len(total)))
    fold_of = {}
    for group in sorted(tables, key=urgency):
        share = tables[group] / np.maximum(total, 1)
        # What the sum of squares of the shares grows by: least where the group is missing most.
        cost = ((2 * counts + share) * share).sum(axis=1)
        lacking = counts[:, 1] == 0  # no defective image: a fold that could not be validated
        if share[1] and lacking.any():
            cost[~lacking] = np.inf
        fold = int(np.argmin(cost))
        counts[fold] += share
        fold_of[group] = fold
    return fold_of


def _group_of(record: ImageRecord) -> str:
    return f"group {record.group}" if record.group else f"image {record.image_id}"


def _draw(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogatepass")).digest()
