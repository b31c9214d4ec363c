"""A cascade: a quick model passes what is surely good, a thorough one judges the rest.

Nearly all images at a line are good. Both are exported models, in one folder: the quick one in its
``first/``. That one computes in 8 bits, and need not answer as the model that it was made of: which
images it may pass is chosen by what it says of the validation images. It needs no torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from defectkit.approaches.image_mix import MAX_LOGIT
from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Image
from defectkit.deployment.engines import FILES
from defectkit.deployment.loaded_model import LoadedModel, cannot_be_used
from defectkit.deployment.model_info import First
from defectkit.deployment.runtime import ExportedModel
from defectkit.errors import ExportError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import Scope
from defectkit.seals import seal_of
from defectkit.vocabulary import Device
from defectkit.watching import as_part

FIRST = "first"
"""The folder of the first model in that of the full one."""


NAMES_OF_FIRST = tuple(f"{FIRST}/{name}" for name in (*FILES["openvino"], "model.json"))
"""The names of its files in the folder of a cascade; ``model.json`` comes last."""

SHARE_OF_LOOK = 0.2
"""About the share of the time of both models that the first one takes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cascade(LoadedModel):
    """Two exported models as one.

    An image whose score by ``first`` is below ``cut`` is passed: nothing is found in it, and its
    score is that of the first model, scaled from [0, cut) to [0, ceiling), where ``ceiling`` is the
    score from which the full model calls an image no longer good. All else is that of ``full``.

    Attributes:
        first: the quick model; of its findings the score counts alone.
        full: the thorough one.
        cut: the score by the first model from which an image is not passed, in (0, 1].
        ceiling: in (0, 1].
    """

    first: ExportedModel
    full: ExportedModel
    cut: float
    ceiling: float

    @classmethod
    def load(cls, folder: Path, *, device: Device = "auto") -> Self:
        """Load the folder of a cascade.

        Raises:
            ConfigError, ModelError, MissingPackageError: as ``ExportedModel.load``.
        """
        full = ExportedModel.load(folder, device=device)
        first = ExportedModel.load(folder / FIRST, device=device)
        entry = full.exported.first
        assert entry is not None
        if seal_of(first.info) != entry.seal:
            raise cannot_be_used(folder, ValueError(f"its {FIRST}/ is that of another model"))
        return cls(first=first, full=full, cut=entry.cut, ceiling=entry.ceiling)

    @property
    def info(self) -> dict[str, Any]:  # type: ignore[override]  # An attribute of the others.
        """The content of the full model's ``model.json``."""
        return self.full.info

    @property
    def thresholds(self) -> Thresholds:  # type: ignore[override]
        """Those of the full model."""
        return self.full.thresholds

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes of a score map's layers."""
        return self.full.found_classes

    @property
    def device_name(self) -> str:
        """Where it computes, for people to read."""
        return self.full.device_name

    @property
    def threads(self) -> int:
        """Number of threads that compute."""
        return self.full.threads

    @property
    def parallel(self) -> int:
        """Number of images that it finds defects in at a time to the best effect."""
        return self.full.parallel

    @property
    def tuning(self) -> Tuning:
        """That of the full model."""
        return self.full.tuning

    def with_thresholds(self, thresholds: Thresholds, info: dict[str, Any]) -> Self:
        """Return it with other thresholds; which images are passed stays as it is."""
        return replace(self, full=self.full.with_thresholds(thresholds, info))

    def own_settings(self) -> AbstractContextManager[None]:
        """Change nothing, as its models."""
        return self.full.own_settings()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with self.first._computing(), self.full._computing():
            yield

    def _find_ready(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        with as_part(0.0, SHARE_OF_LOOK):
            looks = self.first.look_all(images, scopes)
        rest = [index for index, score in enumerate(looks) if score >= self.cut]
        with as_part(SHARE_OF_LOOK, 1.0):
            found = self.full._find_ready(
                [images[index] for index in rest], [scopes[index] for index in rest]
            )
        judged = dict(zip(rest, found, strict=True))
        return [
            judged[index] if index in judged else self._pass(image, looks[index])
            for index, image in enumerate(images)
        ]

    def find_sparsely(self, image: Image, scope: Scope) -> Finding | SparseFinding:
        """Return what is told of the finding of an image; as that of ``LoadedModel``."""
        if not self.full.is_sparse(image, scope):
            return self.find(image, scope)
        with as_part(0.0, SHARE_OF_LOOK):
            look = self.first.look_sparsely(image, scope)
        if look >= self.cut:
            with as_part(SHARE_OF_LOOK, 1.0):
                return self.full.find_sparsely(image, scope)
        height, width = image.shape[:2]
        return SparseFinding(
            size=(height, width),
            pixels=np.zeros(0, np.int32),
            layers=np.zeros(0, np.int16),
            highest=np.full((height, -(-width // 8)), 255, np.uint8),
            regions=(),
            score=self._passed(look),
        )

    def _pass(self, image: Image, score: float) -> Finding:
        """Return the finding of an image (H, W, C) that is surely good."""
        layers, size = len(self.found_classes), image.shape[:2]
        return Finding(
            score_map=np.zeros((layers, *size), np.float32),
            region_map=np.zeros(size, np.int32),
            regions=(),
            score=self._passed(score),
            class_scores=np.zeros(layers, np.float32),
        )

    def _passed(self, score: float) -> float:
        """Return the score of an image that is passed, by that of the first model."""
        return min(self.ceiling * score / self.cut, float(np.nextafter(self.ceiling, 0.0)))


def check_first(first: LoadedModel, full: LoadedModel, name: str) -> None:
    """Check that a model, called ``name``, can be the first one of a cascade with ``full``.

    Raises:
        ExportError: it was made for other images.
    """
    for key, what in (
        ("dataset", "was trained on other data"),
        ("channels", "takes other channels"),
        ("pixels", "reads pixels otherwise"),
        ("roi", "has another region to inspect"),
    ):
        if first.info.get(key) != full.info.get(key):
            raise ExportError(
                f"{name} cannot be the first model: it {what}. Name another run, or the same one."
            )
    if full.out_of_fold or first.out_of_fold:
        raise ExportError(
            "a model that was trained with folds has seen the validation images, by which the cut "
            "between both models is chosen. Export without --first, or train without --folds."
        )


@dataclass(slots=True, kw_only=True)
class CutChoice:
    """Collects the scores by which the cut of a cascade is chosen, image by image.

    Attributes:
        thresholds: those of the full model.
    """

    thresholds: Thresholds
    _looks: list[float] = field(default_factory=list)
    _caught: list[bool] = field(default_factory=list)
    _good: list[bool] = field(default_factory=list)
    _groups: list[str] = field(default_factory=list)
    _seconds: list[tuple[float, float]] = field(default_factory=list)

    def update(
        self, *, look: float, full: float, defective: bool, group: str, seconds: tuple[float, float]
    ) -> None:
        """Add an image: its scores by both models, its truth and group, and their seconds."""
        self._looks.append(look)
        self._caught.append(defective and full >= self.thresholds.low)
        self._good.append(not defective)
        self._groups.append(group)
        self._seconds.append(seconds)

    def choose(self, seal: str) -> First:
        """Return the entry of the first model with this seal.

        The cut lies halfway, in logits, between the lowest score of a defective image that the full
        model does not call good and the next lower score: none of these is passed.

        Raises:
            ExportError: there is no such image, or no image would be passed.
        """
        looks, caught, good = map(np.array, (self._looks, self._caught, self._good))
        if not caught.any():
            raise ExportError(
                "the full model finds no defective validation image, so nothing tells which images "
                "the first model may pass. Export without --first."
            )
        lowest = float(looks[caught].min())
        passed = looks < lowest
        if not (passed & good).any():
            raise ExportError(
                "the first model ranks no good validation image below all defective ones that the "
                "full model finds, so it can pass none. Name another run, or export without "
                "--first."
            )
        cut = _halfway(float(looks[passed].max()), lowest)
        of_first, of_full = np.median(self._seconds, axis=0).tolist()
        share = float((passed & good).sum() / good.sum())
        groups = {group for group, one in zip(self._groups, self._caught, strict=True) if one}
        return First(
            seal=seal,
            cut=cut,
            ceiling=self.thresholds.low,
            measured={
                "images": len(looks),
                "good": int(good.sum()),
                "good_passed": int((passed & good).sum()),
                "defective_found": int(caught.sum()),
                "groups_found": len(groups),
                "ms_first": 1000 * of_first,
                "ms_full": 1000 * of_full,
                "times_as_fast_on_good_images": of_full / (of_first + (1 - share) * of_full),
            },
        )


def describe_first(first: First) -> str:
    """Return what the first model does on validation, as a line for the user."""
    from defectkit.evaluation.promise import least_rate

    told = first.measured
    shown = 100 * least_rate(told["groups_found"])
    return (
        f"the first model passes {told['good_passed']} of {told['good']} good validation images "
        f"and none of the {told['defective_found']} defective ones that the full model finds: with "
        f"a confidence of 95 % it adds at most {shown:.2g} % escapes; "
        f"{told['ms_first']:.0f} and {told['ms_full']:.0f} ms an image: good images go "
        f"{told['times_as_fast_on_good_images']:.1f} times as fast"
    )


def warn_of_first(first: First) -> str | None:
    """Return a sentence if the first model costs more time than it saves."""
    if first.measured["times_as_fast_on_good_images"] > 1.0:
        return None
    return (
        "the cascade is not faster than the full model alone. Name a run with a quicker network, "
        "or one that passes more images since it was trained longer; or export without --first."
    )


def _halfway(lower: float, upper: float) -> float:
    """Return the score halfway between two, in logits; it is above the lower one."""
    with np.errstate(divide="ignore"):
        ends = [np.log(score) - np.log1p(-score) for score in np.array([lower, upper])]
    middle = float(1 / (1 + np.exp(-np.clip(ends, -MAX_LOGIT, MAX_LOGIT).mean())))
    return middle if lower < middle <= upper else upper
