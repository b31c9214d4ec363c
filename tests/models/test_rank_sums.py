"""Sums in one process; those of several are in ``tests/test_ranks.py`` and the trainings."""

import torch

from defectkit.models.rank_sums import mean_of_shares, mean_over_ranks, sum_over_ranks


def test_in_one_process_nothing_is_changed():
    values = torch.randn(1000, requires_grad=True)
    assert sum_over_ranks(values)[0] is values
    assert torch.equal(mean_over_ranks(values), values.mean())
    terms = {"a": values.sum()}
    assert mean_of_shares(terms, 7) is terms


def test_the_mean_of_nothing_is_0_and_has_a_gradient():
    values = torch.randn(3, requires_grad=True)
    mean = mean_over_ranks(values[:0])
    mean.backward()
    assert mean.item() == 0.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.0] * 3
