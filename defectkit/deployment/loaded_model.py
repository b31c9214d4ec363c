"""``LoadedModel``: what inspection and evaluation know of a model, whatever computes its scores.

It needs no torch, since at the line there is none.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from defectkit.approaches.tuning import Tuning
from defectkit.arrays import Image, ImageSize
from defectkit.data.images import ImageSource, read_given
from defectkit.data.pixel_format import PixelFormat
from defectkit.errors import MAX_MISTAKES, ImageError, ModelError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import EVERYWHERE, Scope, decode_roi


class LoadedModel(ABC):
    """A model with all it needs for verdicts; several threads may use it at a time."""

    info: dict[str, Any]
    """The content of ``model.json``."""
    thresholds: Thresholds

    @property
    @abstractmethod
    def found_classes(self) -> tuple[str, ...]:
        """The classes of a score map's layers."""

    @property
    @abstractmethod
    def device_name(self) -> str:
        """Where it computes, for people to read."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Number of threads that compute on a CPU."""

    @property
    def parallel(self) -> int:
        """Number of images that are best looked at at a time, each by a thread of its own."""
        return 1

    @property
    @abstractmethod
    def tuning(self) -> Tuning:
        """How findings are made from scores, as chosen on validation."""

    @abstractmethod
    def with_thresholds(self, thresholds: Thresholds, info: dict[str, Any]) -> Self:
        """Return the model with other thresholds, and with the ``model.json`` that has them."""

    @abstractmethod
    def own_settings(self) -> AbstractContextManager[None]:
        """Use our settings of the libraries that compute; afterwards all is as before."""

    @abstractmethod
    def _computing(self) -> AbstractContextManager[None]:
        """Use our settings for this thread, while images are read and scored.

        Raises:
            ModelError: this process is a fork that cannot use the model.
        """

    @abstractmethod
    def _find_ready(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        """Return the findings of images (H, W, C) uint8 as the network takes them."""

    @property
    def channels(self) -> int:
        """Channels of the images it takes: 1 gray, 3 RGB, or another number up to 16."""
        channels: int = self.info["channels"]
        return channels

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes of the labels."""
        return tuple(self.info["classes"])

    @property
    def approach_name(self) -> str:
        """The approach, for people to read; both where novelty is fused with a trained one."""
        return " + ".join(config["approach"] for config in self._configs())

    @property
    def network_name(self) -> str:
        """The architecture of the network, or of both."""
        return " + ".join(config["model"]["architecture"] for config in self._configs())

    @property
    def exported_as(self) -> str | None:
        """The numbers that an exported model computes with, and whether it is a cascade.

        None of one as it was trained.
        """
        exported = self.info.get("exported")
        if exported is None:
            return None
        return f"{exported['precision']}{' cascade' if exported.get('first') else ''}"

    def _configs(self) -> Iterator[dict[str, Any]]:
        info: dict[str, Any] | None = self.info
        while info:
            yield info["config"]
            info = info.get("trained")

    @property
    def pixels(self) -> PixelFormat:
        """How images are read: as those that it was trained on."""
        return PixelFormat.from_dict(self.info.get("pixels"))

    @property
    def out_of_fold(self) -> tuple[list[float], list[bool], list[str] | None] | None:
        """Scores, truth, groups of the images it was trained on, by networks that never saw them.

        Only a model that was trained with folds has them: thresholds are chosen by these.
        """
        kept = self.info.get("out_of_fold")
        return (kept["scores"], kept["defective"], kept.get("groups")) if kept else None

    @property
    def validation_levels(self) -> dict[str, dict[str, Any]]:
        """What is kept of the validation images, as ``Levels.summarize`` gives it.

        Models of earlier versions have nothing.
        """
        levels: dict[str, dict[str, Any]] = self.info.get("validation_levels", {})
        return levels

    @property
    def scores_as_validation(self) -> bool:
        """Whether scores are those of validation: not those of images that a cascade passes."""
        return not self.info.get("exported", {}).get("first")

    def scope_for(self, size: ImageSize) -> Scope:
        """Return the scope of images of (height, width): the model's own region to inspect.

        Raises:
            ImageError: the model has one, but for images of another size.
        """
        roi = self.info.get("roi")
        if not isinstance(roi, dict):
            return EVERYWHERE
        if size != (roi["height"], roi["width"]):
            raise ImageError(
                f"the model has a region to inspect in images of {roi['width']}x{roi['height']} "
                f"pixels, but this image has {size[1]}x{size[0]}. Inspect such images on "
                "their own, with inspect --roi X,Y,W,H."
            )
        return Scope(roi=decode_roi(roi["shape"], size))

    def find(self, image: ImageSource, scope: Scope | None = None) -> Finding:
        """Return the finding of one image of any size: an array, an image of Pillow, or a path.

        An array is (H, W) gray, (H, W, 3) RGB, or (H, W, C) where the training images had other
        channels: uint8, or the stored values of a camera of more bits where the training images had
        these.

        Nothing is found outside of ``scope``, by default that of ``scope_for``.

        Raises:
            ImageError: it is none of these, empty, or cannot be read; or as ``scope_for``.
            ModelError, NotFiniteError: as ``find_all``.
        """
        return self.find_all([image], None if scope is None else [scope])[0]

    def find_sparsely(self, image: Image, scope: Scope) -> Finding | SparseFinding:
        """Return what is told of the finding of an image (H, W) or (H, W, C) uint8, as ``find``.

        Of a large image some models never have the whole score map.

        Raises:
            ImageError, ModelError, NotFiniteError: as ``find``.
        """
        return self.find(image, scope)

    def find_all(
        self, images: Sequence[ImageSource], scopes: Sequence[Scope] | None = None
    ) -> list[Finding]:
        """Return the findings of several images; those of equal size share a batch.

        Nothing is found outside of the ``scopes``, one for each image, by default those of
        ``scope_for``.

        Raises:
            ImageError: an image cannot be taken, as for ``find``.
            ModelError: this process is a fork, and cannot use the model.
            NotFiniteError: a score is not finite.
        """
        with self._computing():
            ready = [read_given(one, self.channels, self.pixels) for one in images]
            if scopes is None:
                scopes = [self.scope_for((image.shape[0], image.shape[1])) for image in ready]
            return self._find_ready(ready, scopes)


def cannot_be_used(folder: Path, error: Exception) -> ModelError:
    """Return the error for a model folder whose content makes no model."""
    reason = str(error)
    if isinstance(error, ValidationError):
        found = error.errors()[:MAX_MISTAKES]
        reason = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    return ModelError(f"{folder} cannot be used by this version of defectkit: {reason}")
