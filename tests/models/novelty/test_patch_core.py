import numpy as np
import pytest
import torch
import torch.nn.functional as F

from defectkit.models.network import Network
from defectkit.models.novelty import patch_core
from defectkit.models.novelty.patch_core import PatchCore, build_patch_core

SIDE = 64


def build(**changes) -> PatchCore:
    torch.manual_seed(0)
    given = {"in_channels": 1, "encoder": "test_resnet", "bank": 40, "seed": 0, "state": None}
    return build_patch_core(**{**given, **changes})


def noise(seed: int, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(90, 130, (1, 1, side, side), dtype=torch.uint8, generator=generator)


def good(count: int, groups: int = 4):
    for seed in range(count):
        counted = torch.ones((1, SIDE, SIDE), dtype=torch.bool)
        yield noise(seed), {"counted": counted, "group": torch.tensor([seed % groups])}


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 33)])
def test_images_of_any_size_are_taken(size):
    image = noise(0)[:, :, : size[0], : size[1]]
    network = build().eval()
    assert network(image).shape == (1, 1, *size)
    counted = torch.ones((1, *size), dtype=torch.bool)
    pair = [(image, {"counted": counted, "group": torch.tensor([one])}) for one in (0, 1)]
    network.fit_before_training(pair)
    assert network(image).isfinite().all()


@pytest.fixture(scope="module")
def fitted() -> PatchCore:
    network = build()
    network.fit_before_training(good(8))
    return network


def defective() -> torch.Tensor:
    image = noise(50)
    image[:, :, 16:40, 24:48] = 240
    return image


def test_a_cell_has_the_averaged_features_of_both_stages():
    network = build().eval()
    image = noise(0)
    wide = torch.from_numpy(np.pad(image, ((0, 0), (0, 0), (32, 32), (32, 32)), mode="symmetric"))
    with torch.inference_mode():
        cells = network.cells(image)
        fine, coarse = network.features(network.normalize(wide))
    assert cells.shape == (1, 8, 8, fine.shape[1] + coarse.shape[1])
    for row, column in ((3, 4), (0, 0)):  # from the fifth cell on
        near = fine[0, :, row + 3 : row + 6, column + 3 : column + 6].mean(dim=(1, 2))
        torch.testing.assert_close(cells[0, row, column, : fine.shape[1]], near)


def test_what_was_never_seen_scores_higher_than_other_good_images(fitted):
    with torch.inference_mode():
        of_good, of_defect = fitted(noise(60))[0, 0], fitted(defective())[0, 0]
    assert of_defect[20:36, 28:44].min() > 1 > of_good.max() - 1
    assert of_defect[20:36, 28:44].median() > of_good.max() + 1


def test_the_odds_grow_with_the_distance_as_promised(fitted, monkeypatch):
    places = (slice(24, 40), slice(24, 40)), (slice(0, 10), slice(54, 64))  # inside, at the border
    assert fitted.far[0] != fitted.far[1]
    for far, (rows, columns) in zip(fitted.far, places, strict=True):
        for distance, odds in ((far, 1.0), (2 * far, 16.0), (0.5 * far, 1 / 16)):
            monkeypatch.setattr(
                patch_core, "nearest_distances", lambda cells, _, d=distance: d.expand(len(cells))
            )
            found = fitted(noise(0))[0, 0, rows, columns].exp()
            torch.testing.assert_close(found, torch.full_like(found, odds), rtol=1e-3, atol=1e-3)


def test_calibration_is_by_distances_to_other_groups(fitted):
    cells = torch.cat([fitted.cells(image)[0].flatten(0, 1) for image, _ in good(8)])
    groups = torch.arange(8).repeat_interleave(64) % 4
    entries = torch.cdist(fitted.bank, cells).argmin(dim=1)  # the cell that an entry is
    distances = torch.cdist(cells, fitted.bank)
    distances[groups[:, None] == groups[entries]] = torch.inf
    inside = torch.zeros((8, 8, 8), dtype=torch.bool)
    inside[:, 2:6, 2:6] = True
    for where, found in zip((inside, ~inside), fitted.far, strict=True):
        there = distances.amin(dim=1)[where.flatten()]
        expected = there.quantile(0.999)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_fit_depends_on_its_samples_and_the_seed_alone(fitted):
    again, other = build(), build(seed=1)
    for network in (again, other):
        torch.manual_seed(9)
        network.fit_before_training(good(8))
    assert torch.equal(again.bank, fitted.bank)
    assert not torch.equal(other.bank, fitted.bank)


def test_pixels_that_do_not_count_are_not_learned():
    network = build(bank=1000)
    image, counted = noise(0), torch.zeros((1, SIDE, SIDE), dtype=torch.bool)
    counted[:, 8:16, :24] = True
    network.fit_before_training([(image, {"counted": counted, "group": torch.tensor([0])})])
    expected = network.cells(image)[0, 1, :3]
    assert (torch.cdist(network.bank, expected).amin(dim=1) < 1e-2).all()
    assert (torch.cdist(expected, network.bank).amin(dim=1) < 1e-2).all()
    assert network.far.tolist() == [1.0, 1.0]  # of one group alone nothing is known


def test_many_images_are_drawn_from_evenly_and_in_bounded_memory(monkeypatch):
    network = build(bank=4)
    sizes = []
    join = patch_core._smallest_keys
    monkeypatch.setattr(
        patch_core,
        "_smallest_keys",
        lambda pool, size: sizes.append(sum(len(keys) for *_, keys in pool)) or join(pool, size),
    )
    generator = torch.Generator().manual_seed(0)
    _, groups, border = network.eval()._draw_pool(good(60, groups=60), generator)
    assert 32 < border.sum() < 62  # 48 of 64 cells of an image
    assert len(groups) == 64
    assert max(sizes) <= 2 * 64 + 64
    first = int((groups < 30).sum())
    assert 16 < first < 48


def test_nothing_learns_by_gradients():
    network = build()
    assert not network.learns
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert Network.learns
    with torch.enable_grad():
        assert not F.relu(network(noise(0))).requires_grad
