"""Predictions on labeled images, for validation and evaluation."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch

from defectkit.approaches.interface import Approach
from defectkit.arrays import Image
from defectkit.data.dataset import ImageRecord
from defectkit.errors import NotFiniteError
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.findings import Finding
from defectkit.models.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One labeled image with its truth and the finding of an approach.

    ``image`` is (H, W, C) uint8; ``seconds`` are those of ``Approach.find`` alone.
    """

    record: ImageRecord
    image: Image
    truth: LabeledTruth
    finding: Finding
    seconds: float


def predict(
    approach: Approach, network: Network, records: Sequence[ImageRecord], *, batch_size: int = 1
) -> Iterator[Prediction]:
    """Yield a ``Prediction`` for each record, in order; images are read ahead in a thread.

    Nothing is found where pixels do not count: outside of the region to inspect, or ignored.

    Raises:
        ImageError, DatasetError: an image cannot be read, or was changed.
        NotFiniteError: a score is not finite; the message names the images of the batch.
    """

    def read(record: ImageRecord) -> tuple[Image, LabeledTruth]:
        image = record.read_image(approach.channels)
        masks = record.read_masks(approach.classes)
        return image, LabeledTruth(masks, approach.classes, record.read_scope())

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
                findings = approach.find(network, images, scopes)
            except NotFiniteError as error:
                names = ", ".join(record.image_id for record, _ in batch)
                raise NotFiniteError(f"{names}: {error}") from error
            seconds = (time.perf_counter() - start) / len(batch)
            for (record, _), (image, truth), finding in zip(batch, pairs, findings, strict=True):
                yield Prediction(record, image, truth, finding, seconds)


def batch_size_for(network: Network) -> int:
    """Return the number of images to predict at a time: one on a CPU, where more gain nothing."""
    device: torch.device = next(network.parameters()).device
    return 1 if device.type == "cpu" else 8
