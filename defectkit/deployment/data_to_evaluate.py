"""The labeled images that a run is evaluated on: of its own dataset, or of another lot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.deployment.evaluate_images import describe_evaluated
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.deployment.out_of_fold import warn_of_trained_images
from defectkit.deployment.run_dataset import load_any_dataset, load_dataset_of_run
from defectkit.errors import ConfigError, DatasetError
from defectkit.files import safe_name
from defectkit.labels import rle
from defectkit.regions import DEFECT_OR_NOT, Region, measure_regions
from defectkit.vocabulary import EvaluatedSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class AnotherLot:
    """A dataset that a model was not trained on.

    Attributes:
        name: that of its folder.
        classes: its classes that count as others of the model.
        seen: number of its images that the model was trained or validated on; None if its own
            dataset is not there to be compared.
    """

    name: str
    classes: Mapping[str, str]
    seen: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataToEvaluate:
    """The images of a dataset that a model is evaluated on.

    Attributes:
        dataset: the dataset.
        split: which of its images.
        records: these images, as the model reads them and with its classes.
        lot: what is to be said of a dataset that the model was not trained on, else None.
    """

    dataset: Dataset
    split: EvaluatedSplit
    records: Sequence[ImageRecord]
    lot: AnotherLot | None = None

    @classmethod
    def of_split(cls, dataset: Dataset, split: EvaluatedSplit) -> Self:
        """Return a split, or all images, of the dataset that a model was trained on.

        Raises:
            DatasetError: the split has no image.
        """
        return cls(dataset=dataset, split=split, records=_records_of(dataset, split))

    @property
    def folder(self) -> str:
        """The name of the folder of the evaluation: one for each split, and for each lot."""
        if self.lot is None:
            return self.split
        return f"{safe_name(self.lot.name)}-{self.dataset.fingerprint[:8]}-{self.split}"

    @property
    def title(self) -> str:
        """What it is, for people to read."""
        images = "all images" if self.split == "all" else f"{self.split} split"
        return images if self.lot is None else f"another lot, {self.lot.name}, {images}"

    def describe(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an evaluation is of: a model, whose ``model.json`` is given, and data.

        An evaluation whose ``metrics.json`` has other entries is not one of this model.
        """
        described = describe_evaluated(info, self.split)
        if self.lot is None:
            return described
        lot = {"name": self.lot.name, "classes": self.lot.classes, "seen_images": self.lot.seen}
        return {**described, "dataset": self.dataset.fingerprint, "another_lot": lot}

    def warnings(self, model: LoadedModel) -> list[str]:
        """Return what makes the result doubtful."""
        if self.lot is None:
            return warn_of_trained_images(model, self.split)
        return _warn_of_lot(self.lot, model, self.records)


def load_data_to_evaluate(
    run: Path,
    model: LoadedModel,
    *,
    data: Path | None,
    split: EvaluatedSplit | None,
    map_class: Sequence[str],
) -> DataToEvaluate:
    """Load the images that a run is evaluated on.

    Args:
        run: the run's folder.
        model: the run's model.
        data: a dataset folder; by default the one that the run was trained on.
        split: which images; by default those of test, and all of another lot.
        map_class: ``NEW=CLASS``: that a class of another lot counts as one of the model's.

    Raises:
        ConfigError: a mapping is none, or there is nothing to map.
        DatasetError: the dataset is missing, has no image in the split, or has classes that the
            model does not know; or the run is that of a fold.
        ModelError: the run does not say its dataset, or the model is that of another run.
    """
    mapping = _read_mapping(map_class)
    dataset = load_dataset_of_run(run, model) if data is None else None
    if data is not None:
        dataset, own = load_any_dataset(run, model, data)
        if not _is_own(dataset, model):
            return _load_lot(dataset, own, model, split or "all", mapping)
    assert dataset is not None
    if mapping:
        raise ConfigError(
            f"--map-class is for another lot, but {dataset.folder} is the dataset that {run} was "
            "trained on. Leave it out."
        )
    return DataToEvaluate.of_split(dataset, split or "test")


def _is_own(dataset: Dataset, model: LoadedModel) -> bool:
    return (dataset.fingerprint, dataset.classes) == (model.info.get("dataset"), model.classes)


def _records_of(dataset: Dataset, split: EvaluatedSplit) -> Sequence[ImageRecord]:
    return dataset.records if split == "all" else dataset.split(split)


def _load_lot(
    dataset: Dataset,
    own: Dataset | None,
    model: LoadedModel,
    split: EvaluatedSplit,
    mapping: dict[str, str],
) -> DataToEvaluate:
    """Return the images of another lot; ``own`` is the dataset that the model was trained on."""
    classes = tuple(dataset.info["classes"])
    if model.found_classes == DEFECT_OR_NOT:  # which does not tell classes apart
        rest = [one for one in classes if one not in model.classes]
        mapping = {**dict.fromkeys(rest, model.classes[0]), **mapping}
    _check_classes(dataset, classes, model, mapping)
    records = tuple(
        replace(_map_classes(record, mapping), pixels=model.pixels)
        for record in _records_of(dataset, split)
    )
    seen = None
    if own is not None:
        known = {record.sha256 for record in own.records if record.split != "test"}
        seen = sum(record.sha256 in known for record in records)
    lot = AnotherLot(name=dataset.folder.resolve().name, classes=mapping, seen=seen)
    return DataToEvaluate(dataset=dataset, split=split, records=records, lot=lot)


def _read_mapping(map_class: Sequence[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in map_class:
        new, equals, known = text.rpartition("=")
        if not (new and equals and known):
            raise ConfigError(
                f"--map-class {text} is not of the form NEW=CLASS: a class of the other lot, and "
                "the class of the model as which it counts."
            )
        if mapping.setdefault(new, known) != known:
            raise ConfigError(f"--map-class names '{new}' twice. Name each class once.")
    return mapping


def _check_classes(
    dataset: Dataset, classes: Sequence[str], model: LoadedModel, mapping: Mapping[str, str]
) -> None:
    known, has = ", ".join(model.classes), ", ".join(classes) or "none"
    for new, target in mapping.items():
        if target not in model.classes:
            raise ConfigError(
                f"--map-class {new}={target}: the model has no class '{target}'. It has {known}."
            )
        if new not in classes:
            raise ConfigError(
                f"--map-class {new}={target}: {dataset.folder} has no class '{new}'. It has {has}."
            )
    strange = [one for one in classes if one not in model.classes and one not in mapping]
    if strange:
        raise DatasetError(
            f"{dataset.folder} has classes that the model does not know: {', '.join(strange)}. The "
            f"model knows {known}. Say as which of them each counts, such as with --map-class "
            f"'{strange[0]}={model.classes[0]}'."
        )


def _map_classes(record: ImageRecord, mapping: Mapping[str, str]) -> ImageRecord:
    """Return the record with its classes as those of the model, several as one where need be."""
    sources: dict[str, list[str]] = {}
    for class_id in record.rles:
        sources.setdefault(mapping.get(class_id, class_id), []).append(class_id)
    if all(own == [name] for name, own in sources.items()):
        return record
    rles: dict[str, str] = {}
    regions: list[Region] = []
    for name, own in sources.items():
        rles[name] = record.rles[own[0]]
        found = [one for one in record.regions if one.class_id in own]
        if len(own) > 1:  # their masks may touch or overlap
            mask = np.asarray(record.read_masks(own).any(axis=0))
            rles[name], found = rle.encode(mask), measure_regions(mask)
        regions += [replace(one, class_id=name) for one in found]
    return replace(record, rles=rles, regions=tuple(regions))


def _warn_of_lot(lot: AnotherLot, model: LoadedModel, records: Sequence[ImageRecord]) -> list[str]:
    warnings = []
    if lot.seen is None:
        warnings.append(
            "whether the model was trained on some of these images is not known: the dataset that "
            "it was trained on is not there any longer, or was prepared again."
        )
    elif lot.seen:
        warnings.append(
            f"the model was trained or validated on {lot.seen} of these {len(records)} images, so "
            "this result is too good. Prepare the new images alone."
        )
    if model.info.get("roi") and not any(record.roi for record in records):
        warnings.append(
            "the model has a region to inspect and these images have none, so that defects are "
            "searched for everywhere. Prepare them with the same --roi."
        )
    if not model.validation_levels:
        warnings.append(
            "the model keeps nothing of its validation images to compare these with, since an "
            "earlier version trained it: whether this lot has drifted is not known."
        )
    return warnings
