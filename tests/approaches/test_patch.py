import numpy as np
import pytest
import torch

from defectkit.approaches import build_approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError, DefectkitWarning, ModelError

SMALL = ("approach=patch", "model.architecture=all_conv", "patch.tile=32", "patch.stride=8")


def patch(*changes: str, classes: int = 2, channels: int = 1):
    names = tuple(str(number) for number in range(1, classes + 1))
    return build_approach(load_config(None, [*SMALL, *changes]), classes=names, channels=channels)


def samples_of(folder, *changes):
    dataset = Dataset.load(folder)
    approach = patch(*changes)
    return approach.samples(dataset, dataset.split("train"))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", ["all_conv", "lenet"])
def test_images_of_any_size_get_maps_of_their_own_size(architecture, channels, classes):
    approach = patch(f"model.architecture={architecture}", classes=classes, channels=channels)
    network = approach.network().eval()
    rng = np.random.default_rng(0)
    sizes = [(40, 50), (7, 90), (40, 50), (64, 64)]
    images = [rng.integers(0, 256, (*size, channels), np.uint8) for size in sizes]
    findings = approach.find(network, images)
    assert [finding.score_map.shape for finding in findings] == [(classes, *s) for s in sizes]
    (alone,) = approach.find(network, images[2:3])
    np.testing.assert_allclose(findings[2].score_map, alone.score_map, atol=1e-5)


def test_a_pixels_score_is_the_mean_of_its_tiles():
    approach = patch("patch.stride=16")
    network = approach.network().eval()
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 48, 1), np.uint8)
    tiles = approach.tile_scores(network, image)  # from -16 on
    (finding,) = approach.find(network, [image[0]])
    # Two tiles of 32 overlap along each side: the pixel (0, 0) is in the first four.
    expected = tiles[0, :, 0:2, 0:2].mean((1, 2)).numpy()
    np.testing.assert_allclose(finding.score_map[:, 0, 0], expected, atol=1e-5)


def test_a_stride_beyond_the_tile_is_refused():
    with pytest.raises(ConfigError, match=r"stride \(40\) must not be larger than tile \(32\)"):
        patch("patch.stride=40")


def test_a_network_that_wants_larger_tiles_says_which():
    with pytest.raises(ModelError, match=r"cannot look at 32x32 pixels.*Set patch.tile=\d+"):
        patch(
            "model.architecture=classifier", "model.encoder=alexnet", "model.weights=none",
            "patch.context=0",
        ).network()  # fmt: skip


def test_samples_depend_on_their_key_alone(dataset_folder):
    one, other = samples_of(dataset_folder), samples_of(dataset_folder)
    for key in [(1, 0), (2, 3)]:
        for a, b in zip(one[key], other[key], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(one[1, 0][0], one[2, 0][0])


def test_tiles_are_labeled_by_what_they_show(dataset_folder):
    samples = samples_of(
        dataset_folder, "augment.affine=0", "augment.noise=0", "augment.brightness_contrast=0"
    )
    tiles, labels = samples.collate([samples[1, index] for index in range(20)])
    assert tiles.shape[1:] == (1, 32, 32)
    defective = labels.amax(dim=1) > 0
    assert 0.2 < defective.float().mean() < 0.8
    # The defects are bright squares: see conftest.
    bright = (tiles >= 200).float().mean((1, 2, 3))
    assert (bright[defective] > 0.1).all()
    assert (bright[~defective & (labels >= 0).all(dim=1)] == 0).all()


def test_the_tiles_of_each_rule_are_counted_and_a_lost_class_is_warned_of(dataset_folder):
    lines = samples_of(dataset_folder).describe()
    assert any("whole defect" in line for line in lines)
    lost = samples_of(dataset_folder, "patch.tile=16", "patch.min_coverage=1", "patch.stride=16")
    with pytest.warns(DefectkitWarning) as warned:
        lost.describe()
    text = str(warned[0].message)
    assert "no training tile is defective of class" in text
    assert "patch.between=defective" in text


def test_the_preview_shows_tiles(dataset_folder):
    samples = samples_of(dataset_folder)
    shown = samples.preview(5)
    assert len(shown) == 5
    assert all(image.shape == (32, 32, 1) and masks.shape == (2, 32, 32) for image, masks in shown)


def test_it_learns_a_batch_by_heart(dataset_folder):
    torch.manual_seed(0)
    approach = patch("patch.tiles_per_image=8", "model.architecture=lenet")
    network = approach.network()
    samples = samples_of(dataset_folder, "patch.tiles_per_image=8")
    inputs, targets = samples.collate([samples[1, index] for index in range(6)])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        terms = approach.loss(network, inputs, targets)
        assert set(terms) == {"bce", "classes", "loss"}
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.5 * losses[0], losses
