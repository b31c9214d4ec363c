import math

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from defectkit.config import TrainConfig
from defectkit.models.segmentation.segmenter import Segmenter, build_pixel_net, build_smp
from defectkit.training import schedule
from defectkit.training.schedule import (
    Budget,
    build_optimizer,
    freeze,
    learning_rate,
    set_learning_rate,
)


def rate(progress: float, *, epoch: int = 0, **config) -> float:
    return learning_rate(TrainConfig(lr=0.1, **config), progress=progress, epoch=epoch)


def test_cosine_rises_over_the_warmup_and_falls_to_0():
    assert rate(0.0, warmup=0.1) == pytest.approx(0.1 * 0.001 / 0.101)
    assert rate(0.05, warmup=0.1) == pytest.approx(0.05, rel=0.02)
    assert rate(0.1, warmup=0.1) == pytest.approx(0.1)
    assert rate(0.1 + 0.9 / 4, warmup=0.1) == pytest.approx(0.1 * (1 + math.sqrt(0.5)) / 2)
    assert rate(0.55, warmup=0.1) == pytest.approx(0.05)
    assert rate(1.0, warmup=0.1) == pytest.approx(0, abs=1e-12)
    assert rate(0.0, warmup=0) == pytest.approx(0.1)


def test_constant_stays_after_the_warmup():
    assert rate(0.1, schedule="constant", warmup=0.2) == pytest.approx(0.05, rel=0.01)
    assert rate(0.2, schedule="constant", warmup=0.2) == 0.1
    assert rate(1.0, schedule="constant", warmup=0.2) == 0.1


def test_step_goes_by_whole_epochs_as_steplr_does():
    config = TrainConfig(lr=0.1, schedule="step", step_epochs=7, step_factor=0.7)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.7)
    for epoch in range(20):
        ours = learning_rate(config, progress=epoch / 20, epoch=epoch)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@given(
    progress=st.floats(0, 1),
    warmup=st.floats(0, 1),
    kind=st.sampled_from(["cosine", "step", "constant"]),
    epoch=st.integers(0, 500),
)
def test_rates_stay_between_0_and_the_highest(progress, warmup, kind, epoch):
    got = rate(progress, warmup=warmup, schedule=kind, epoch=epoch)
    assert 0 <= got <= 0.1 * (1 + 1e-9)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """A network whose encoder has pretrained weights."""
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    return build_smp(
        architecture="unet", encoder="resnet18", in_channels=1, out_channels=2,
        decoder_channels=(16, 8), state=state,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_encoder_learns_slower_and_biases_and_norms_do_not_decay(segmenter, name):
    config = TrainConfig(optimizer=name, encoder_lr_factor=0.2, weight_decay=0.05)
    optimizer = build_optimizer(segmenter, config)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    everything = list(segmenter.named_parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(everything)
    in_encoder = {id(p) for p in segmenter.encoder.parameters()}
    assert 0 < len(in_encoder) < len(everything)
    for key, parameter in everything:
        group = groups[id(parameter)]
        assert group["rate"] == (0.2 if id(parameter) in in_encoder else 1.0), key
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), key
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5, 0.1}


def test_the_kinds_of_optimizer():
    network = build_pixel_net(in_channels=1, out_channels=1)
    assert type(build_optimizer(network, TrainConfig())) is torch.optim.AdamW
    assert type(build_optimizer(network, TrainConfig(optimizer="adam"))) is torch.optim.Adam
    sgd = build_optimizer(network, TrainConfig(optimizer="sgd", momentum=0.8))
    assert type(sgd) is torch.optim.SGD
    assert all(group["nesterov"] and group["momentum"] == 0.8 for group in sgd.param_groups)
    plain = build_optimizer(network, TrainConfig(optimizer="sgd", momentum=0))
    assert not plain.param_groups[0]["nesterov"]
    assert {group["rate"] for group in plain.param_groups} == {1.0}


def learning(segmenter: Segmenter) -> tuple[int, int, int]:
    """How many parameters of the encoder learn, how many of the rest, how many norms do."""
    own = {id(p) for p in segmenter.encoder.parameters()}
    inside = sum(p.requires_grad for p in segmenter.encoder.parameters())
    outside = sum(p.requires_grad for p in segmenter.parameters() if id(p) not in own)
    norms = [m for m in segmenter.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    return inside, outside, sum(norm.training for norm in norms)


def test_freezing_stops_weights_and_statistics_and_is_taken_back(segmenter):
    total = len(list(segmenter.encoder.parameters()))
    rest = len(list(segmenter.parameters())) - total
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in segmenter.encoder.modules())

    segmenter.train()
    freeze(segmenter, stages=0, encoder=True)
    assert learning(segmenter) == (0, rest, 0)
    segmenter.train()
    freeze(segmenter, stages=2, encoder=False)
    lowest = segmenter.lowest_stages(2)
    frozen = sum(len(list(m.parameters(recurse=False))) for m in lowest)
    frozen_norms = sum(isinstance(m, nn.BatchNorm2d) for m in lowest)
    assert 0 < frozen < total
    assert learning(segmenter) == (total - frozen, rest, norms - frozen_norms)
    segmenter.train()
    freeze(segmenter, stages=0, encoder=False)
    assert learning(segmenter) == (total, rest, norms)


def test_without_pretrained_weights_nothing_is_frozen():
    network = build_smp(
        architecture="unet", encoder="resnet18", in_channels=1, out_channels=2,
        decoder_channels=(8,), state=None,
    )  # fmt: skip
    for one in (network.train(), build_pixel_net(in_channels=1, out_channels=1)):
        freeze(one, stages=2, encoder=True)
        assert all(p.requires_grad for p in one.parameters())
        assert all(module.training for module in one.modules())


def test_progress_by_steps():
    budget = Budget(TrainConfig(epochs=4), 5)
    assert [budget.progress(steps) for steps in (0, 5, 10, 20, 25)] == [0, 0.25, 0.5, 1, 1]


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    return now


def budget_from(clock: list[float], **values) -> Budget:
    return Budget(TrainConfig(max_time=100), 5, _start=clock[0], **values)


def test_progress_by_the_clock_keeps_time_back_for_validation(clock):
    budget = budget_from(clock, validation_seconds=20.0)
    assert budget.progress(10**6) == 0
    clock[0] += 37
    assert budget.elapsed() == 37
    assert budget.progress(0) == pytest.approx(37 / (100 - 26))
    clock[0] += 37
    assert budget.progress(0) == 1
    budget.validation_seconds = 0.0
    assert budget.progress(0) == pytest.approx(74 / 97)


def test_time_of_earlier_sessions_counts(clock):
    budget = budget_from(clock, spent=60.0)
    clock[0] += 10
    assert budget.elapsed() == 70
    assert budget.progress(0) == pytest.approx(70 / 97)


def test_a_validation_longer_than_the_budget_ends_training(clock):
    assert budget_from(clock, validation_seconds=200.0).progress(0) == 0
    clock[0] += 0.001
    assert budget_from(clock, validation_seconds=200.0, spent=0.001).progress(0) == 1
