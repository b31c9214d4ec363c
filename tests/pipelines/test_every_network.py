"""Every shipped configuration on ``sample_data/``: trains, learns, is saved, loaded, inspects.

A new network joins by its YAML in ``configs/`` alone.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import learn
from rich.console import Console

import defectkit
from defectkit import configs
from defectkit.approaches.build import build_approach
from defectkit.config import Config, load_config
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image
from defectkit.files import read_csv
from defectkit.training.loader import batches_of_one

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"

SMALL = (
    "plan=false",
    "model.weights=none",
    "data.crop=128",
    "data.workers=0",
    "train.epochs=1",
    "train.samples_per_epoch=4",
    "train.batch_size=2",
    "patch.tiles_per_image=4",
    "novelty.bank=64",
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, quiet: Console) -> Path:
    """The first images of ``sample_data/``: six to train, two each to validate and test."""
    folder = tmp_path_factory.mktemp("few")
    rows = read_csv(SAMPLES / "train.csv")
    defective = list(dict.fromkeys(row["ImageId"] for row in rows if row["EncodedPixels"]))[:5]
    good = [row["ImageId"] for row in rows if not row["EncodedPixels"]][:5]
    parts = ("train", "train", "train", "val", "test")
    lines = [
        f"{name},{part}"
        for kind in (defective, good)
        for name, part in zip(kind, parts, strict=True)
    ]
    (folder / "meta.csv").write_text("ImageId,split\n" + "\n".join(lines) + "\n")
    kept = {*defective, *good}
    table = [",".join(row.values()) for row in rows if row["ImageId"] in kept]
    (folder / "train.csv").write_text(",".join(rows[0]) + "\n" + "\n".join(table) + "\n")
    defectkit.prepare(
        folder / "train.csv",
        images=SAMPLES / "Train",
        meta=folder / "meta.csv",
        out=folder / "dataset",
        console=quiet,
    )
    return folder / "dataset"


def small_config(name: str, *more: str) -> Config:
    config = load_config(configs.path_of(name))
    # A whole image that is resized may need to be larger than our crops.
    return load_config(configs.path_of(name), [*SMALL, *more, f"approach={config.approach}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", configs.names())
def test_it_trains_two_steps_is_saved_loaded_and_inspects(name, few, tmp_path, quiet):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = defectkit.train(
            config=small_config(name), data=few, out=tmp_path / "run", device="cpu", console=quiet
        ).run
    steps = "3" if name == "novelty" else "2"  # its steps are the good images
    assert [row["steps"] for row in read_csv(run / "history.csv")] == [steps]
    record = Dataset.load(few).split("test")[0]
    summary = defectkit.inspect(
        run, record.path, out=tmp_path / "inspection", device="cpu", console=quiet
    )
    assert summary.unreadable == 0
    image = read_image(record.path)
    one, other = (defectkit.load(run, device="cpu").find(image) for _ in range(2))
    layers = 1 if name == "novelty" else 2  # it tells no classes apart
    assert one.score_map.shape == (layers, 512, 512)
    np.testing.assert_array_equal(one.score_map, other.score_map)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in configs.names() if name != "novelty"])
def test_its_loss_falls_on_one_batch(name, few):
    torch.manual_seed(0)
    config = small_config(name, "augment.noise=0")
    dataset = Dataset.load(few)
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = approach.network()
    samples = approach.samples(dataset, dataset.split("train"))
    network.fit_before_training(batches_of_one(samples, torch.device("cpu")))
    inputs, targets = samples.collate([samples[1, index] for index in range(2)])
    network.train()
    for module in network.modules():  # dropout would hide what is learned
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0

    def loss():
        torch.manual_seed(1)  # detectors draw the boxes that they learn from
        return approach.loss(network, inputs, targets)["loss"]

    learn(network, loss, lr=1e-3, below=0.9, max_steps=50, max_norm=1.0)
