"""``ExportedModel``: verdicts by a model that ``defectkit export`` wrote, without torch."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from defectkit.approaches.sparse_findings import find_sparsely, score_sparsely
from defectkit.approaches.tuning import Tuning, read_tuning
from defectkit.approaches.whole_images import Block, Scored, find_by_scores, score_images
from defectkit.arrays import Image, ImageBatch
from defectkit.data.images import ImageSource, convert_channels, read_given, takes_shape
from defectkit.data.pixel_format import PixelFormat
from defectkit.deployment.engines import FILES, IMAGE_LOGIT, SCORE_MAP, Engine, load_engine
from defectkit.deployment.loaded_model import LoadedModel, cannot_be_used
from defectkit.deployment.model_info import Exported, ModelInfo
from defectkit.devices import usable_processors
from defectkit.errors import ConfigError, ModelError, NotFiniteError, is_out_of_memory, shown
from defectkit.evaluation.thresholds import Thresholds
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import Scope
from defectkit.memory import return_freed
from defectkit.models.model_folder import model_folder, read_model_file, read_model_info
from defectkit.process_settings import compute_in_one_thread, is_forked
from defectkit.vocabulary import Device

LARGE_PIXELS = 2**24
"""Number of pixels of an image above which no memory is kept for the next one, nor a score map of
the whole image."""
MAX_SPARSE_PIXELS = 2**31 - 1
"""Max. number of pixels of an image whose found pixels are kept by their numbers, int32."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportedModel(LoadedModel):
    """The compiled graph of a model with all it needs for verdicts.

    Attributes:
        folder: the exported folder.
        engine: computes the graph.
        exported: how it was exported.
        chosen: how findings are made from scores.
        thresholds: those of the verdict.
        info: the content of ``model.json``.
    """

    folder: Path
    engine: Engine
    exported: Exported
    chosen: Tuning
    thresholds: Thresholds
    info: dict[str, Any]
    _process: int = field(default_factory=os.getpid)

    @classmethod
    def load(cls, path: Path | str, *, device: Device = "auto") -> Self:
        """Load an exported folder; it computes on the CPU.

        Raises:
            ConfigError: another device is asked for.
            ModelError: a file is missing, damaged, changed, or of another format version.
            MissingPackageError: the package that computes such models is not installed.
        """
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"an exported model computes on the CPU, not on {shown(device)}. Use --device cpu "
                "or auto, or give the run that it was exported from."
            )
        folder = model_folder(path)
        info = read_model_info(folder)
        try:
            exported = ModelInfo.model_validate(info).exported
            if exported is None:
                raise ValueError("it is no exported model (model.json has no entry 'exported')")
            PixelFormat.from_dict(info.get("pixels"))
            tuning, thresholds = read_tuning(info), Thresholds.from_dict(info["thresholds"])
            files = {
                name: read_model_file(folder, name, exported.files.get(name))
                for name in FILES[exported.format]
            }
            engine = load_engine(exported.format, exported.precision, files)
            if exported.usual_shape and math.prod(exported.usual_shape[:3]) <= LARGE_PIXELS:
                engine.expect(tuple(exported.usual_shape))
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            raise cannot_be_used(folder, error) from error
        return cls(
            folder=folder,
            engine=engine,
            exported=exported,
            chosen=tuning,
            thresholds=thresholds,
            info=info,
        )

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes of a score map's layers."""
        return tuple(self.exported.found_classes)

    @property
    def device_name(self) -> str:
        """Where it computes, for people to read."""
        return self.engine.name

    @property
    def tuning(self) -> Tuning:
        """How findings are made from scores, as chosen on validation."""
        return self.chosen

    @property
    def threads(self) -> int:
        """Number of threads that compute."""
        return usable_processors()

    @property
    def parallel(self) -> int:
        """Two images at a time: while regions of one are found, the graph computes the other."""
        return 2

    def with_thresholds(self, thresholds: Thresholds, info: dict[str, Any]) -> Self:
        """Return the model with other thresholds, and with the ``model.json`` that has them."""
        return replace(self, thresholds=thresholds, info=info)

    def own_settings(self) -> AbstractContextManager[None]:
        """Change nothing: an engine has no settings that other code shares."""
        return nullcontext()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise ModelError(
                "an exported model cannot be used in a process that was forked after it was "
                "loaded. Load it there, or start processes by the method 'spawn'."
            )
        if is_forked():
            compute_in_one_thread()
        yield

    def _find_ready(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        return find_by_scores(
            self._score,
            images,
            self.found_classes,
            tuning=self.chosen,
            one_class=self.exported.one_class,
            scopes=scopes,
        )

    def look(self, image: ImageSource, scope: Scope) -> float:
        """Return the score of an image alone, by a model of one class.

        Raises:
            ImageError, ModelError, NotFiniteError: as ``find``.
        """
        with self._computing():
            return self.look_all([read_given(image, self.channels, self.pixels)], [scope])[0]

    def look_all(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[float]:
        """Return the scores of images (H, W, C) uint8 as the network takes them, as ``look``."""
        return score_images(self._score, images, tuning=self.chosen, scopes=scopes)

    def is_sparse(self, image: Image, scope: Scope) -> bool:
        """Return whether ``find_sparsely`` gives an image no score map."""
        size = (image.shape[0], image.shape[1])
        return (
            LARGE_PIXELS < math.prod(size) <= MAX_SPARSE_PIXELS
            and self.exported.passes.has_tiles(size)
            and scope.ignored is None
            and takes_shape(image.shape, self.channels)
        )

    def find_sparsely(self, image: Image, scope: Scope) -> Finding | SparseFinding:
        """Return what is told of the finding of an image; as that of ``LoadedModel``."""
        if not self.is_sparse(image, scope):
            return self.find(image, scope)
        with self._computing():
            return find_sparsely(
                self._score_blocks(image),
                (image.shape[0], image.shape[1]),
                self.found_classes,
                tuning=self.chosen,
                one_class=self.exported.one_class,
                roi=scope.roi,
            )

    def look_sparsely(self, image: Image, scope: Scope) -> float:
        """Return what ``look`` returns; a large image has no score map meanwhile."""
        if not self.is_sparse(image, scope):
            return self.look(image, scope)
        with self._computing():
            size = (image.shape[0], image.shape[1])
            blocks = self._score_blocks(image)
            return score_sparsely(blocks, size, tuning=self.chosen, roi=scope.roi)

    def _score_blocks(self, image: Image) -> Iterator[Block]:
        """Score a large image (H, W) or (H, W, C), whose channels are converted tile by tile."""

        def run(batch: ImageBatch) -> Scored:
            return self._run(convert_channels(batch[0], self.channels)[None])

        own = 1 if image.ndim == 2 else image.shape[2]
        given = read_given(image, own, self.pixels)[None]
        n_classes = len(self.found_classes)
        yield from self.exported.passes.score_blocks(run, given, n_classes=n_classes)
        self.engine.release()
        return_freed()

    def _score(self, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) of any size."""
        scored = self.exported.passes.score(self._run, batch, n_classes=len(self.found_classes))
        if batch.shape[1] * batch.shape[2] > LARGE_PIXELS:
            self.engine.release()  # Drawing such an image takes a lot of memory itself.
        return scored

    def _run(self, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) at once.

        Raises:
            ModelError: the graph gives scores of another shape.
            NotFiniteError: a score is not finite.
        """
        try:
            outputs = self.engine.run(np.ascontiguousarray(batch))
            scores, logits = outputs[SCORE_MAP], outputs.get(IMAGE_LOGIT)
        except (RuntimeError, ValueError, KeyError) as error:
            if is_out_of_memory(error):
                raise
            raise cannot_be_used(self.folder, error) from error
        wanted = (len(batch), len(self.found_classes), *batch.shape[1:3])
        if scores.shape != wanted or (logits is not None and logits.shape != wanted[:1]):
            raise ModelError(
                f"{self.folder} gives scores of shape {scores.shape} where {wanted} is needed: its "
                "files do not belong together. Export the run again."
            )
        # A sum is finite where all are, and takes a fraction of the time of looking at each.
        if not np.isfinite(scores.sum() + (0.0 if logits is None else logits.sum())):
            raise NotFiniteError(
                f"{self.folder} gives scores that are not finite. Export the run again; if it "
                "gives such scores itself, train again with a lower train.lr (--set)."
            )
        return scores, logits
