"""The predictions of a competitor on the test images: one format, whoever writes it.

A folder has ``predictions.json`` and ``0.npz``, ``1.npz``, ... for the images in the order of its
``image_ids``. This module needs numpy alone, since code of other commits writes with it too.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

STEP = 1 / 64
"""Steps, in logits, to which probabilities are rounded."""
LIMIT = 16.0
"""Largest logit; a probability of 0 gets the logit -16, 1.1e-7."""
HEAD = "predictions.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePrediction:
    """What a competitor says of one image.

    - ``probabilities``: (K, H, W) float32 in [0, 1], at the image's own size, a layer per class.
    - ``mask``: (H, W) bool, the pixels that it marks as defects.
    - ``score``: the image's defect score in [0, 1].
    """

    probabilities: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    score: float


class Writer:
    """Writes predictions image by image; ``finish`` makes the folder complete."""

    def __init__(self, folder: Path) -> None:
        """Start in ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.image_ids: list[str] = []

    def add(self, image_id: str, prediction: ImagePrediction) -> None:
        """Write the prediction of one image."""
        np.savez_compressed(
            self.folder / f"{len(self.image_ids)}.npz",
            logits=_to_steps(prediction.probabilities),
            mask=np.packbits(prediction.mask, axis=1),
            score=np.float64(prediction.score),
        )
        self.image_ids.append(image_id)

    def finish(
        self,
        *,
        classes: Sequence[str],
        pixel_threshold: float,
        thresholds: tuple[float, float],
        **facts: Any,
    ) -> None:
        """Write ``predictions.json``.

        Args:
            classes: the names of the K classes.
            pixel_threshold: chosen on validation, in [0, 1]; rounded as the probabilities are, so
                that those that reach it still do.
            thresholds: the scores at which *good* ends and *defective* begins, of validation.
            facts: JSON values to show beside the results, such as the number of epochs.
        """
        content = {
            "image_ids": self.image_ids,
            "classes": list(classes),
            "pixel_threshold": float(_from_steps(_to_steps(np.float32(pixel_threshold)))),
            "thresholds": list(thresholds),
            "facts": facts,
        }
        (self.folder / HEAD).write_text(json.dumps(content), encoding="utf-8")


def read_head(folder: Path) -> dict[str, Any]:
    """Read ``predictions.json``."""
    head: dict[str, Any] = json.loads((folder / HEAD).read_text(encoding="utf-8"))
    return head


def read_predictions(folder: Path) -> Iterator[tuple[str, ImagePrediction]]:
    """Yield image ids with their predictions, in the order in which they were written."""
    for number, image_id in enumerate(read_head(folder)["image_ids"]):
        with np.load(folder / f"{number}.npz") as file:
            probabilities = _from_steps(file["logits"])
            width = probabilities.shape[2]
            yield (
                image_id,
                ImagePrediction(
                    probabilities=probabilities,
                    mask=np.unpackbits(file["mask"], axis=1, count=width).astype(np.bool_),
                    score=float(file["score"]),
                ),
            )


def _to_steps(probabilities: npt.ArrayLike) -> npt.NDArray[np.int16]:
    with np.errstate(divide="ignore"):
        values = np.asarray(probabilities, np.float64)
        logits = np.log(values) - np.log1p(-values)
    return np.rint(np.clip(logits, -LIMIT, LIMIT) / STEP).astype(np.int16)


def _from_steps(steps: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    return 1 / (1 + np.exp(-steps.astype(np.float32) * np.float32(STEP)))
