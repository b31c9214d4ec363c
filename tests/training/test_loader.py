import torch

from defectkit.approaches.build import build_approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.training.loader import batches_of_one

CPU = torch.device("cpu")


def test_what_is_fitted_gets_the_samples_of_epoch_0_one_by_one(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    settings = ["approach=box", "data.crop=64", "train.samples_per_epoch=5"]
    approach = build_approach(load_config(None, settings), classes=dataset.classes, channels=1)
    samples = approach.samples(dataset, dataset.split("train"))
    batches = list(batches_of_one(samples, CPU))
    assert len(batches) == 5
    for index, (images, targets) in enumerate(batches):
        expected, target = samples[0, index]
        assert torch.equal(images, expected[None])
        assert torch.equal(targets[0]["boxes"], target["boxes"])
