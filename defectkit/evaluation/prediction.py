"""Running an approach over labeled images: what validation and evaluation share."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from defectkit.approaches.interface import Approach
from defectkit.data.dataset import ImageRecord
from defectkit.findings import Finding
from defectkit.models.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One labeled image and what the approach says of it.

    ``image`` (H, W, C) uint8, ``truth`` (K, H, W) uint8 of 0 and 1, ``seconds`` of ``find`` alone.
    """

    record: ImageRecord
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    finding: Finding
    seconds: float


def predict(
    approach: Approach, network: Network, records: Sequence[ImageRecord], *, batch_size: int = 1
) -> Iterator[Prediction]:
    """Yield a ``Prediction`` for each record, in order; images are read ahead in a thread."""

    def read(record: ImageRecord) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return record.read_image(approach.channels), record.read_masks(approach.classes)

    ahead: deque[tuple[ImageRecord, Future[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]]]
    waiting = iter(records)
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = deque((r, reader.submit(read, r)) for r in islice(waiting, 2 * batch_size))
        while ahead:
            batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            pairs = [future.result() for _, future in batch]
            ahead.extend((r, reader.submit(read, r)) for r in islice(waiting, len(batch)))
            start = time.perf_counter()
            findings = approach.find(network, [image for image, _ in pairs])
            seconds = (time.perf_counter() - start) / len(batch)
            for (record, _), (image, truth), finding in zip(batch, pairs, findings, strict=True):
                yield Prediction(record, image, truth, finding, seconds)


def batch_size_for(network: Network) -> int:
    """Images at a time: one on a CPU (nothing is gained by more), several on a GPU."""
    device: torch.device = next(network.parameters()).device
    return 1 if device.type == "cpu" else 8
