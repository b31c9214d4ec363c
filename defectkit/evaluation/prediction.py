"""Predictions on labeled images, for validation and evaluation."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch

from defectkit.approaches.interface import Approach
from defectkit.arrays import Image
from defectkit.data.dataset import ImageRecord
from defectkit.errors import NotFiniteError, is_out_of_memory
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One labeled image with its truth and the finding of an approach.

    ``image`` is (H, W, C) uint8; ``seconds`` are those of finding alone.
    """

    record: ImageRecord
    image: Image
    truth: LabeledTruth
    finding: Finding
    seconds: float


class Finder(Protocol):
    """What finds defects in images: a loaded model, or an approach with a network."""

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes of the labels."""
        ...

    def find_all(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        """Return the finding of each image (H, W, C) uint8."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkFinder:
    """A network in eval mode, with the approach that it belongs to."""

    approach: Approach
    network: Network

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return self.approach.channels

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes of the labels."""
        return self.approach.classes

    def find_all(self, images: Sequence[Image], scopes: Sequence[Scope]) -> list[Finding]:
        """Return the finding of each image (H, W, C) uint8."""
        return self.approach.find(self.network, images, scopes)


def predict(
    approach: Approach, network: Network, records: Sequence[ImageRecord], *, batch_size: int = 1
) -> Iterator[Prediction]:
    """Yield a ``Prediction`` of a network for each record, as ``predict_by`` does."""
    return predict_by(NetworkFinder(approach, network), records, batch_size=batch_size)


def predict_by(
    finder: Finder, records: Sequence[ImageRecord], *, batch_size: int = 1
) -> Iterator[Prediction]:
    """Yield a ``Prediction`` for each record, in order; images are read ahead in a thread.

    Nothing is found where pixels do not count: outside of the region to inspect, or ignored. A
    batch for which there is too little memory is found in parts, down to one image.

    Raises:
        ImageError, DatasetError: an image cannot be read, or was changed.
        NotFiniteError: a score is not finite; the message names the images of the batch.
    """

    def read(record: ImageRecord) -> tuple[Image, LabeledTruth]:
        image = record.read_image(finder.channels)
        masks = record.read_masks(finder.classes)
        return image, LabeledTruth(masks, finder.classes, record.read_scope())

    ahead: deque[tuple[ImageRecord, Future[tuple[Image, LabeledTruth]]]]
    waiting = iter(records)
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = deque((r, reader.submit(read, r)) for r in islice(waiting, 2 * batch_size))
        while ahead:
            batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            pairs = [future.result() for _, future in batch]
            ahead.extend((r, reader.submit(read, r)) for r in islice(waiting, len(batch)))
            start = time.perf_counter()
            images, scopes = zip(*((image, truth.scope) for image, truth in pairs), strict=True)
            try:
                findings = _find_in_memory(finder, images, scopes)
            except NotFiniteError as error:
                names = ", ".join(record.image_id for record, _ in batch)
                raise NotFiniteError(f"{names}: {error}") from error
            seconds = (time.perf_counter() - start) / len(batch)
            for (record, _), (image, truth), finding in zip(batch, pairs, findings, strict=True):
                yield Prediction(record, image, truth, finding, seconds)


def _find_in_memory(
    finder: Finder, images: Sequence[Image], scopes: Sequence[Scope]
) -> list[Finding]:
    """Return the finding of each image; where memory is too little for all, half at a time."""
    try:
        return finder.find_all(images, scopes)
    except Exception as error:
        if len(images) == 1 or not is_out_of_memory(error):
            raise
    # Not in the handler: the error's traceback refers to what fills the memory.
    half = len(images) // 2
    parts = ((images[part], scopes[part]) for part in (slice(half), slice(half, None)))
    return [finding for part in parts for finding in _find_in_memory(finder, *part)]


def batch_size_for(network: Network) -> int:
    """Return the number of images to predict at a time: one on a CPU, where more gain nothing."""
    device: torch.device = next(network.parameters()).device
    return 1 if device.type == "cpu" else 8
