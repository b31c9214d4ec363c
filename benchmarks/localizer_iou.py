"""The accuracy of the localizer's box: its mean IoU with the true box, in images with one defect.

    python benchmarks/localizer_iou.py runs/box-1 [--split test]

Only images of the split with exactly one defect are used; an image without a predicted box counts
as 0. For other networks of the approach `box`, the box with the highest score is used.
"""

import argparse
from pathlib import Path

import torch
from torchvision.ops import box_iou

from defectkit.approaches.box_samples import detection_target
from defectkit.data.dataset import Dataset
from defectkit.deployment.bundle import TrainedModel
from defectkit.evaluation.prediction import Prediction, predict
from defectkit.files import read_json


def iou(look: Prediction) -> float | None:
    """Return the IoU of the best box with the true one; None if there is not exactly one."""
    true = detection_target(look.truth.masks)["boxes"]
    if len(true) != 1:
        return None
    if not look.finding.detections:
        return 0.0
    x, y, width, height = look.finding.detections[0].box_xywh
    return box_iou(true, torch.tensor([[x, y, x + width, y + height]]).float()).item()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    options = parser.parse_args()
    model = TrainedModel.load(options.run)
    dataset = Dataset.load(read_json(options.run / "run.json")["dataset_folder"])
    looks = predict(model.approach, model.network, dataset.split(options.split))
    values = [value for value in map(iou, looks) if value is not None]
    if not values:
        raise SystemExit(f"no image of the {options.split} split has exactly one defect")
    mean = sum(values) / len(values)
    print(f"mean IoU {mean:.3f} on {len(values)} single-defect images of the {options.split} split")


if __name__ == "__main__":
    main()
