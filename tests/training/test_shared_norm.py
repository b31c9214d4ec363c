"""Normalization over two processes, each with one half of a batch: here in turn, in one process."""

import pytest
import torch
from torch import nn
from torch.nn import functional

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


def same_as_whole(halves, one, other, *, tolerance=1e-5):
    """Check that two parts, normalized by two processes, are what both are in one.

    The parts may have images of different sizes, which one batch cannot have: then their pixels are
    one row.
    """
    rows = torch.cat([part.transpose(0, 1).flatten(1) for part in (one, other)], dim=1)  # (C, N)
    weights = torch.randn_like(rows)

    def normalize(images, own):
        norm = nn.BatchNorm2d(len(rows)) if images.ndim == 4 else nn.BatchNorm1d(len(rows))
        images = images.clone().requires_grad_()
        with shared_norm.shared_norm():
            result = norm(images).transpose(0, 1).flatten(1)
        (result * own).sum().backward()
        assert result.dtype == images.dtype
        return result, images.grad.transpose(0, 1).flatten(1), norm

    result, gradient, norm = normalize(rows.T[:, :, None, None].float(), weights.float())
    count = one.numel() // one.shape[1]
    parts = (one, weights[:, :count]), (other, weights[:, count:])
    shared = halves(lambda half: normalize(*parts[half]))
    for index, expected in enumerate((result, gradient)):
        both = torch.cat([part[index] for part in shared], dim=1).float()
        assert torch.allclose(both, expected, atol=tolerance, rtol=tolerance)
    for part in shared:
        assert torch.allclose(part[2].running_mean, norm.running_mean, rtol=1e-5)
        assert torch.allclose(part[2].running_var, norm.running_var, rtol=1e-4)


def images_of(*shape, scale=2.0):
    return 3 + scale * torch.randn(*shape)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((2, 3, 6, 5), (1, 3, 9, 4), id="other sizes and numbers of images"),
        pytest.param((4, 3), (2, 3), id="vectors"),
        pytest.param((1, 3, 1, 1), (2, 3, 1, 1), id="one value of a channel in a process"),
        pytest.param((1, 65, 100, 100), (2, 65, 100, 100), id="many channels and pixels"),
    ],
)
def test_parts_of_any_shape_are_normalized_together(one, other, halves):
    torch.manual_seed(0)
    same_as_whole(halves, images_of(*one), images_of(*other))


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(
            lambda images: images.contiguous(memory_format=torch.channels_last), id="nhwc"
        ),
        pytest.param(lambda images: images.transpose(2, 3), id="turned"),
        pytest.param(lambda images: images.transpose(0, 1).contiguous().transpose(0, 1), id="cnhw"),
        pytest.param(lambda images: images[:, :, ::2, 1:], id="cut"),
    ],
)
def test_the_order_in_memory_changes_nothing(layout, halves):
    torch.manual_seed(0)
    same_as_whole(halves, layout(images_of(2, 5, 8, 6)), layout(images_of(1, 5, 8, 6)))


def test_a_norm_may_have_weights_alone(halves):
    # As nn.BatchNorm2d(..., bias=False) of newer versions of torch calls it.
    torch.manual_seed(0)
    images, weight = images_of(4, CHANNELS, 4, 4), torch.rand(CHANNELS)
    statistics = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    options = {"weight": weight, "bias": None, "training": True}
    expected = functional.batch_norm(images, *statistics, **options)

    def normalize(half):
        with shared_norm.shared_norm():
            return functional.batch_norm(images[2 * half : 2 * half + 2], *statistics, **options)

    assert torch.allclose(torch.cat(halves(normalize)), expected, atol=1e-6)


def test_channels_of_one_value_become_zero(halves):
    results = halves(lambda _: normalize_constant())
    assert all(torch.equal(result, torch.zeros_like(result)) for result in results)


def normalize_constant():
    images = torch.full((2, CHANNELS, 4, 4), 0.1, requires_grad=True)
    with shared_norm.shared_norm():
        result = nn.BatchNorm2d(CHANNELS)(images)
    result.sum().backward()
    assert torch.isfinite(images.grad).all()
    return result.detach().round(decimals=4)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.bfloat16, 2.0), (torch.float16, 2.0), (torch.float16, 2e4)]
)
def test_moments_of_reduced_precision_are_those_of_single_precision(dtype, scale, halves):
    # Squares of large values in float16 are beyond its largest.
    torch.manual_seed(0)
    one, other = (images_of(2, 4, 8, 6, scale=scale).clamp(-6e4, 6e4).to(dtype) for _ in range(2))
    same_as_whole(halves, one, other, tolerance=0.05)


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
