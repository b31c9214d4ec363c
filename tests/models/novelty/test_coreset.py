import time

import numpy as np
import pytest
import torch

from defectkit.models.novelty import coreset
from defectkit.models.novelty.coreset import choose_coreset, nearest_distances, seconds_of_coreset


def draw(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((count, size), generator=torch.Generator().manual_seed(seed)) * 5 + 20


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def farthest_first(points: np.ndarray, count: int) -> list[int]:
    """The greedy choice as its definition says it, with all distances of all pairs."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    chosen = [0]
    while len(chosen) < count:
        chosen.append(int(distances[:, chosen].min(axis=1).argmax()))
    return chosen


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_coreset_takes_the_farthest_first(count):
    features = draw(200, 12)
    expected = farthest_first(features.double().numpy(), count)
    assert choose_coreset(features, count, generator()).tolist() == expected


def test_a_projection_keeps_the_coreset_nearly_as_spread(monkeypatch):
    features = draw(400, 300)
    chosen = choose_coreset(features, 60, generator())
    assert torch.equal(chosen, choose_coreset(features, 60, generator()))
    assert len(set(chosen.tolist())) == 60
    monkeypatch.setattr(coreset, "PROJECTED", 300)
    exact = choose_coreset(features, 60, generator())
    assert not torch.equal(chosen, exact)
    radii = [nearest_distances(features, features[one]).max() for one in (chosen, exact)]
    assert radii[0] < 1.1 * radii[1]


def test_few_features_repeat():
    features = draw(5, 3)
    chosen = choose_coreset(features, 12, generator())
    assert chosen.shape == (12,)
    assert set(chosen.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("block_bytes", [4, 2000, 2**25])
def test_distances_are_those_of_torch_in_blocks_of_any_size(block_bytes, monkeypatch):
    monkeypatch.setattr(coreset, "BLOCK_BYTES", block_bytes)
    features, bank = draw(150, 30), draw(40, 30, seed=1)
    expected = torch.cdist(features.double(), bank.double()).amin(dim=1)
    found = nearest_distances(features, bank)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert (nearest_distances(bank, bank) < 0.1).all()


def test_entries_of_the_own_group_do_not_count():
    features, bank = draw(60, 8), draw(30, 8, seed=1)
    groups, bank_groups = torch.arange(60) % 3, torch.arange(30) % 2  # group 2 is in no bank
    distances = torch.cdist(features, bank)
    distances[groups[:, None] == bank_groups] = torch.inf
    found = nearest_distances(features, bank, groups=groups, bank_groups=bank_groups)
    torch.testing.assert_close(found, distances.amin(dim=1), rtol=1e-4, atol=1e-4)
    alone = nearest_distances(features, bank, groups=torch.zeros(60), bank_groups=torch.zeros(30))
    assert alone.isinf().all()


def test_the_time_of_a_bank_is_known_before_it_is_chosen():
    features, count = draw(8000, 100), 300

    def choose() -> float:
        start = time.monotonic()
        bank = features[choose_coreset(features, count, generator())]
        nearest_distances(features, bank)
        return time.monotonic() - start

    taken = min(choose() for _ in range(3))
    told = min(seconds_of_coreset(8000, features[:count]) for _ in range(3))
    assert 0.2 * taken < told < 5 * taken
