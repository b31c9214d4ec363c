"""An approach or configuration of defectkit, of whatever commit is on the path.

It is trained, or takes the weights of a run that is, with another setting of how it finds. The
thresholds are chosen on validation.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
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
    parser.add_argument("--setting", help="a setting that needs no training, as NAME=VALUE")
    parser.add_argument("--weights", type=Path, help="with --setting: the run that was trained")
    options = parser.parse_args()
    if options.setting:
        epochs = change_setting(options.weights, options.setting, options.data, options.run)
    else:
        epochs = train(options)
    write_predictions(options.run, options.data, options.out, epochs=epochs)


def train(options: argparse.Namespace) -> int:
    """Train and return after how many epochs it ended."""
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
    return summary.epochs


def change_setting(trained: Path, setting: str, data: Path, out: Path) -> int:
    """Copy a run, with a setting changed and the thresholds that validation then chooses.

    Returns:
        The epochs of the run.
    """
    # Earlier commits, which are trained here too, lack some of these.
    from defectkit.config import load_config
    from defectkit.deployment.best_model import describe_dataset, load_kept_weights, save_best_model
    from defectkit.files import read_json
    from defectkit.training.job import make_job
    from defectkit.training.validator import Validator

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(trained, out, ignore=shutil.ignore_patterns("evaluation"))
    dataset = Dataset.load(data)
    job = make_job(dataset, load_config(trained / "config.yaml", settings=[setting]))
    load_kept_weights(out, job.network)
    job.network.eval()
    validation = Validator(job, network=job.network, device=torch.device("cpu")).at_the_end()
    save_best_model(
        out,
        job.approach,
        job.network,
        validation,
        epoch=read_json(trained / "model" / "model.json")["epoch"],
        identity=read_json(trained / "run.json")["identity"],
        dataset_facts=describe_dataset(dataset),
    )
    return int(pd.read_csv(trained / "history.csv")["epoch"].max())


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
