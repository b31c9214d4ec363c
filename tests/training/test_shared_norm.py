"""Normalization over two processes, each with one half of a batch: here in turn, in one process."""

import pytest
import torch
from torch import nn

from defectkit import ranks
from defectkit.training import shared_norm

pytestmark = pytest.mark.check(64)

CHANNELS = 3


@pytest.fixture
def halves(monkeypatch):
    """Run a call once for each of two halves; sums over the processes are those of both."""

    def run(call):
        monkeypatch.setattr(ranks, "_world", 2)
        known: list[torch.Tensor] = []
        while True:
            sums: list[list[torch.Tensor]] = []
            results = []
            for half in range(2):
                own: list[torch.Tensor] = []
                sums.append(own)

                def add_up(value, own=own):
                    own.append(value.clone())
                    return known[len(own) - 1].clone() if len(own) <= len(known) else value

                monkeypatch.setattr(ranks, "add_up", add_up)
                results.append(call(half))
            if len(known) == len(sums[0]):
                return results
            # One more sum is known: those after it depend on it.
            known.append(sums[0][len(known)] + sums[1][len(known)])

    return run


@pytest.mark.parametrize("affine", [True, False])
def test_halves_are_normalized_as_the_whole_batch(halves, affine):
    torch.manual_seed(0)
    images = 3 + 2 * torch.randn(6, CHANNELS, 4, 5, dtype=torch.float32)
    weights = torch.randn_like(images)
    parts = slice(0, 2), slice(2, 6)

    def normalize(chosen):
        norm = nn.BatchNorm2d(CHANNELS, affine=affine)
        own = images[chosen].clone().requires_grad_()
        with shared_norm.shared_norm():
            result = norm(own)
        (result * weights[chosen]).sum().backward()
        return result, own.grad, norm

    result, gradient, norm = normalize(slice(None))
    one, other = halves(lambda half: normalize(parts[half]))
    assert torch.allclose(torch.cat([one[0], other[0]]), result, atol=1e-6)
    assert torch.allclose(torch.cat([one[1], other[1]]), gradient, atol=1e-6)
    for part in (one, other):
        assert torch.allclose(part[2].running_mean, norm.running_mean)
        assert torch.allclose(part[2].running_var, norm.running_var)
    if affine:
        for name in ("weight", "bias"):
            grads = [getattr(part[2], name).grad for part in (one, other)]
            assert torch.allclose(sum(grads), getattr(norm, name).grad, atol=1e-5)


def test_a_frozen_norm_and_that_of_one_process_are_torchs_own(monkeypatch):
    norm, images = nn.BatchNorm2d(CHANNELS), torch.randn(2, CHANNELS, 4, 4)
    expected = norm(images)
    with shared_norm.shared_norm():
        assert torch.equal(norm(images), expected)
    monkeypatch.setattr(ranks, "_world", 2)
    monkeypatch.setattr(ranks, "add_up", None)  # nothing may be asked of the others
    frozen = norm.eval()(images)
    with shared_norm.shared_norm():
        assert torch.equal(norm(images), frozen)
