"""An approach or configuration of defectkit, of whatever commit is on the path: trained, exported.

Thresholds are those that the training chose on validation.
"""

import argparse
import time
from pathlib import Path
from typing import get_args

import numpy as np
from predictions import ImagePrediction, Writer

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.vocabulary import ApproachName


def main() -> None:
    """Train and write the predictions of the test images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, help="folder for the predictions")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", required=True, help="approach or configuration")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    options = parser.parse_args()
    by_approach = options.name in get_args(ApproachName)
    summary = defectkit.train(
        approach=options.name if by_approach else None,
        config=None if by_approach else options.name,
        data=options.data,
        out=options.run,
        max_time=options.seconds,
        device="cpu",
        seed=options.seed,
    )
    write_predictions(summary.run, options.data, options.out, epochs=summary.epochs)


def write_predictions(run: Path, data: Path, out: Path, *, epochs: int) -> None:
    """Predict the test split with a run's model."""
    model = TrainedModel.load(run, device="cpu")
    tuning = getattr(model.approach, "tuning", model.approach)  # Earlier commits have no tuning.
    dataset, writer, seconds = Dataset.load(data), Writer(out), []
    for record in dataset.split("test"):
        image, scope = record.read_image(model.approach.channels), record.read_scope()
        start = time.monotonic()
        finding = model.find(image, scope)
        seconds.append(time.monotonic() - start)
        writer.add(
            record.image_id,
            ImagePrediction(
                probabilities=finding.score_map, mask=finding.region_map > 0, score=finding.score
            ),
        )
    writer.finish(
        classes=dataset.classes,
        pixel_threshold=tuning.pixel_threshold,
        thresholds=(model.thresholds.low, model.thresholds.high),
        ms_per_image=1000 * float(np.median(seconds)),
        epochs=epochs,
    )


if __name__ == "__main__":
    main()
