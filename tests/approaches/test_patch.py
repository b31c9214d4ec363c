import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import learn
from tiny_training import train_tiny
from torch import nn

import defectkit
from defectkit.approaches.build import build_approach
from defectkit.approaches.patch import Patch
from defectkit.approaches.tile_labels import tile_starts
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError, DefectkitWarning, ModelError
from defectkit.files import read_csv
from defectkit.models.classification.tile_classifier import TileClassifier

TILE = 16


class Bright(TileClassifier):
    """A stub: the brighter a tile the more defective, of class 1 if dark to its left."""

    def __init__(self, *, stride: int | None = 4, context: int = 0, outputs: int = 3) -> None:
        super().__init__(mean=0.0, std=1.0)
        self.tile, self.stride, self.context, self.outputs = TILE, stride, context, outputs
        self.weight = nn.Parameter(torch.tensor(0.02))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        edge = self.context
        x = images.float().mean(dim=1, keepdim=True)
        x = x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge]
        step = self.stride or TILE
        any_defect = nn.functional.avg_pool2d(x, TILE, stride=step) * self.weight - 2
        left = nn.functional.avg_pool2d(x, (TILE, 4), stride=step)
        left = 1 - left[:, :, :, : any_defect.shape[3]] * self.weight
        return torch.cat([any_defect, left, -left], dim=1)[:, : self.outputs]


def patch(*changes: str, classes: int = 2, channels: int = 1) -> Patch:
    names = tuple(str(number) for number in range(1, classes + 1))
    settings = ["approach=patch", f"patch.tile={TILE}", "patch.stride=4", "model.weights=none"]
    return Patch(load_config(None, [*settings, *changes]), names, channels)


def random_image(height: int, width: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, height, width])
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), channels), np.uint8)
    return np.ascontiguousarray(small.repeat(8, 0).repeat(8, 1)[:height, :width])


# --- find ---------------------------------------------------------------------------------------


def slow_scores(network: TileClassifier, image: np.ndarray, *, stride: int) -> np.ndarray:
    """Each tile on its own, each pixel's scores averaged over the tiles that hold it."""
    height, width = image.shape[:2]
    edge = TILE + network.context
    padded = np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="symmetric")
    total, count = np.zeros((2, height + 2 * TILE, width + 2 * TILE)), np.zeros((height, width))
    for y in tile_starts(height, tile=TILE, stride=stride):
        for x in tile_starts(width, tile=TILE, stride=stride):
            rows = slice(y + TILE, y + TILE + network.size)
            columns = slice(x + TILE, x + TILE + network.size)
            tile = torch.from_numpy(padded[rows, columns].copy()).permute(2, 0, 1)[None]
            with torch.inference_mode():
                anything, *which = network(tile)[0, :, 0, 0].double().tolist()
            best = 1 / (1 + np.exp(-anything))
            scores = best * np.exp(np.array(which) - max(which))
            total[:, y + TILE : y + 2 * TILE, x + TILE : x + 2 * TILE] += scores[:, None, None]
            count[max(y, 0) : y + TILE, max(x, 0) : x + TILE] += 1
    return total[:, TILE:-TILE, TILE:-TILE] / count


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (31, 33), (48, 64)])
@pytest.mark.parametrize(("stride", "own", "context"), [(4, 4, 0), (8, 4, 0), (2, 4, 3), (5, 4, 0),
                                                        (6, None, 2), (16, None, 0)])  # fmt: skip
def test_a_pixel_gets_the_mean_score_of_the_tiles_that_hold_it(size, stride, own, context):
    network = Bright(stride=own, context=context)
    image = random_image(*size)
    (finding,) = patch(f"patch.stride={stride}").find(network, [image])
    expected = slow_scores(network, image, stride=stride)
    assert finding.score_map.shape == (2, *size)
    np.testing.assert_allclose(finding.score_map, expected, atol=1e-5)


@pytest.mark.parametrize(("classes", "channels"), [(1, 3), (2, 3), (2, 1)])
def test_images_of_several_sizes_keep_their_order_and_share_batches(classes, channels):
    network = Bright(outputs=classes + (classes > 1))
    approach = patch(classes=classes, channels=channels)
    sizes = [(40, 50), (30, 30), (40, 50), (50, 40)]
    images = [random_image(*size, channels, seed=i) for i, size in enumerate(sizes)]
    together = approach.find(network, images)
    assert sorted(shape[0] for shape in network.shapes) == [1, 1, 2]
    assert [finding.score_map.shape for finding in together] == [(classes, *s) for s in sizes]
    for image, finding in zip(images, together, strict=True):
        (alone,) = approach.find(network, [image])
        np.testing.assert_allclose(finding.score_map, alone.score_map, atol=1e-6)
    assert approach.find(network, []) == []


def test_what_follows_the_network_keeps_32_bits():
    image = random_image(40, 70)
    exact, reduced = (
        patch(f"infer.amp={amp}").find(Bright(), [image])[0].score_map for amp in ("off", "bf16")
    )
    np.testing.assert_array_equal(reduced, exact)  # Autocast changes nothing of this network.


def test_neighboring_defective_tiles_become_one_region():
    image = np.full((96, 128, 1), 20, np.uint8)
    image[30:62, 40:90] = 250
    (finding,) = replace(patch(), tuning=Tuning(pixel_threshold=0.7)).find(Bright(), [image])
    (region,) = finding.regions
    x, y, width, height = region.box_xywh
    assert abs(x - 40) <= 8
    assert abs(y - 30) <= 8
    assert abs(width - 50) <= 16
    assert abs(height - 32) <= 16
    assert finding.score > 0.9


def test_networks_that_are_not_dense_get_tiles_in_batches():
    network = Bright(stride=None, context=8)
    patch().find(network, [random_image(60, 60)])
    assert {shape[1:] for shape in network.shapes} == {(1, 32, 32)}
    assert [shape[0] for shape in network.shapes] == [128, 128, 68]  # 18 x 18 tiles


def test_large_images_are_looked_at_in_blended_parts():
    image = random_image(130, 170)
    network = Bright()
    (whole,) = patch().find(network, [image])
    network.shapes.clear()
    (parts,) = patch("infer.tile=64", "infer.overlap=32").find(network, [image])
    assert max(max(shape[2:]) for shape in network.shapes) <= 64 + 2 * TILE
    # A part's own border is reflected, which counts within a tile of its side, and little there.
    difference = np.abs(whole.score_map - parts.score_map)
    assert np.median(difference) < 0.02
    assert difference.max() < 0.3


@pytest.mark.parametrize("brightness", [0, 255])
def test_scores_stay_in_range_where_the_network_is_certain(brightness):
    network = Bright()
    network.weight.data.fill_(10.0)
    image = np.full((37, 53, 1), brightness, np.uint8)
    (finding,) = patch("patch.stride=7").find(network, [image])
    assert finding.score == pytest.approx(float(brightness > 0) or 0.1192, abs=1e-3)


# --- loss ---------------------------------------------------------------------------------------


def test_the_loss_is_of_any_defect_and_of_which():
    network = Bright()
    tiles = torch.randint(0, 256, (4, 1, TILE, TILE), dtype=torch.uint8)
    labels = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.int8)
    terms = patch().loss(network, tiles, labels)
    logits = network(tiles)[:, :, 0, 0]
    truth = torch.tensor([0.0, 1.0, 1.0, 1.0])
    bce = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], truth)
    which = logits[1:, 1:].log_softmax(dim=1)
    classes = -torch.stack([which[0, 0], which[1, 1], which[2].mean()]).mean()
    torch.testing.assert_close(terms["bce"], bce)
    torch.testing.assert_close(terms["classes"], classes)
    torch.testing.assert_close(terms["loss"], bce + classes)


def test_tiles_that_are_left_out_count_nothing():
    network = Bright()
    tiles = torch.randint(0, 256, (3, 1, TILE, TILE), dtype=torch.uint8)
    labels = torch.tensor([[1, 0], [-1, -1], [0, 0]], dtype=torch.int8)
    all_of_them = patch().loss(network, tiles, labels)
    kept = patch().loss(network, tiles[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(all_of_them["loss"], kept["loss"])


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("label", [0, -1])
def test_a_batch_without_a_defect_or_without_anything_has_a_finite_gradient(classes, label):
    network = Bright(outputs=classes + (classes > 1))
    tiles = torch.randint(0, 256, (2, 1, TILE, TILE), dtype=torch.uint8)
    labels = torch.full((2, classes), label, dtype=torch.int8)
    loss = patch(classes=classes).loss(network, tiles, labels)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert network.weight.grad is not None
    assert network.weight.grad.isfinite()
    assert (network.weight.grad == 0) == (label == -1)


def test_it_learns_a_batch_by_heart(dataset_folder):
    torch.manual_seed(0)
    dataset = Dataset.load(dataset_folder)
    approach = patch("model.architecture=lenet", "patch.tile=32", "patch.tiles_per_image=8")
    network = approach.network()
    samples = approach.samples(dataset, dataset.split("train"))
    inputs, targets = samples.collate([samples[1, index] for index in range(6)])

    def loss():
        return approach.loss(network, inputs, targets)["loss"]

    learn(network, loss, lr=3e-3, below=0.5, max_steps=150)


# --- network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["classifier", "all_conv", "lenet"])
@pytest.mark.parametrize(("classes", "channels"), [(1, 1), (3, 3)])
def test_every_architecture_learns_and_looks_at_images_of_odd_sizes(
    architecture, classes, channels
):
    torch.manual_seed(0)
    approach = patch(
        f"model.architecture={architecture}", "patch.tile=32", "patch.stride=16",
        classes=classes, channels=channels,
    )  # fmt: skip
    network = approach.network()
    side = 64 if architecture == "classifier" else 32
    tiles = torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8)
    labels = torch.eye(3, dtype=torch.int8)[:, :classes]
    approach.loss(network, tiles, labels)["loss"].backward()
    assert all(p.grad is not None for p in network.parameters())
    (finding,) = approach.find(network.eval(), [random_image(67, 101, channels)])
    assert finding.score_map.shape == (classes, 67, 101)


def test_samples_have_the_context_that_the_network_sees(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    for architecture, side in (("classifier", 64), ("lenet", 32)):
        approach = patch(f"model.architecture={architecture}", "patch.tile=32")
        images, _ = approach.samples(dataset, dataset.split("train"))[1, 0]
        assert images.shape[2:] == (side, side)
        assert approach.network().size == side


def test_packaged_weights_are_used_by_default_without_a_warning():
    network = patch("model.weights=auto").network()
    assert network.encoder is network.features
    assert patch().network().encoder is None


def test_misfits_are_refused_at_once():
    with pytest.raises(ModelError, match=r"patch.tile=40 is not divisible by patch.reduction=16"):
        patch("patch.tile=40").network()
    with pytest.raises(ConfigError, match=r"stride \(32\) must not be larger than tile \(16\)"):
        patch("patch.stride=32")


# --- as a whole ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patch_run(dataset_folder, tmp_path_factory) -> Path:
    settings = ("patch.tile=32", "patch.tiles_per_image=4", "patch.reduction=8", "patch.stride=8")
    out = tmp_path_factory.mktemp("patch") / "run"
    return train_tiny(dataset_folder, out, "approach=patch", *settings).run


def test_it_trains_is_loaded_and_finds_the_same(patch_run, dataset_folder):
    assert [row["steps"] for row in read_csv(patch_run / "history.csv")] == ["2", "4"]
    image = Dataset.load(dataset_folder).split("test")[0].read_image(1)
    one, two = (defectkit.load(patch_run, device="cpu").find(image) for _ in range(2))
    assert one.score_map.shape == (2, 96, 96)
    np.testing.assert_array_equal(one.score_map, two.score_map)
    assert (patch_run / "augmentations.png").is_file()


@pytest.mark.slow
def test_encoders_go_from_one_approach_to_the_other(patch_run, run_folder):
    stem = "features.conv_stem.weight"
    again = patch(f"model.weights={patch_run}").network()
    other = patch(f"model.weights={run_folder}").network()
    assert again.encoder is not None
    segment = build_approach(
        load_config(None, [f"model.weights={patch_run}"]), classes=("1", "2"), channels=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DefectkitWarning)  # a U-Net's encoder goes deeper
        unet = segment.network()
    first = defectkit.load(patch_run, device="cpu").network.state_dict()[stem]
    torch.testing.assert_close(again.state_dict()[stem], first)
    torch.testing.assert_close(unet.state_dict()["body.encoder.model.conv_stem.weight"], first)
    theirs = defectkit.load(run_folder, device="cpu").network.state_dict()
    torch.testing.assert_close(
        other.state_dict()[stem], theirs["body.encoder.model.conv_stem.weight"]
    )
