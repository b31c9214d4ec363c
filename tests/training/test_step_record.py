import math

import pytest
import torch
from called_operators import CalledOperators
from torch import nn

from defectkit.errors import NotFiniteError
from defectkit.training.step_record import MAX_SKIPPED, READ_EVERY, StepRecord, check_weights

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # the record makes no tensor on its own
FINE = torch.tensor(1.5)
NAN, INFINITE = torch.tensor(math.nan), torch.tensor(math.inf)


def record(device=GPU, *, scaled=False, skipped=0) -> StepRecord:
    return StepRecord(
        device,
        scaled=scaled,
        skipped=skipped,
        describe=lambda batch, terms: f"batch {batch}: {terms}",
    )


def add(to: StepRecord, loss: torch.Tensor = FINE, norm: torch.Tensor = FINE) -> None:
    to.add({"bce": FINE, "loss": loss}, norm)


def test_on_a_gpu_losses_are_read_together_every_twenty_steps(monkeypatch):
    to, reads = record(), []
    monkeypatch.setattr(to, "read", lambda: reads.append(to._waiting.clear()))
    with CalledOperators() as calls:
        for _ in range(3 * READ_EVERY):
            add(to)
    assert len(reads) == 3
    assert calls.waiting == []
    assert calls.names["stack"] == 3 * READ_EVERY


def test_a_reading_is_one_transfer_and_loses_no_step():
    to = record()
    for value in range(7):
        to.add({"loss": torch.tensor(float(value)), "dice": torch.tensor(0.5)}, FINE)
    assert (to.means(), to.describe_loss()) == ({}, "")
    concatenated = []
    real = torch.cat
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "cat", lambda parts: concatenated.append(len(parts)) or real(parts))
        to.read()
        to.read()
    assert concatenated == [7]
    assert to.means() == {"loss": 3.0, "dice": 0.5}
    assert to.describe_loss() == "  loss 3.0000"


def test_on_a_cpu_each_step_is_read_before_it_changes_the_weights():
    to = record(CPU)
    add(to)
    assert to.read_steps == 1
    with pytest.raises(NotFiniteError, match=r"batch 1: \{'bce': 1\.5, 'loss': nan\}"):
        add(to, loss=NAN)
    with pytest.raises(NotFiniteError, match=r"batch 1: \{'gradient': inf\}"):
        add(to, norm=INFINITE)


def test_what_was_not_finite_between_two_readings_is_named_by_its_own_batch():
    to = record()
    for step in range(READ_EVERY - 1):
        add(to, norm=INFINITE if step == 4 else FINE, loss=NAN if step > 4 else FINE)
    with pytest.raises(NotFiniteError, match=r"^batch 4: \{'gradient': inf\}"):
        add(to)
    to = record()
    add(to, loss=INFINITE)
    with pytest.raises(NotFiniteError, match=r"^batch 0: \{'bce': 1\.5, 'loss': inf\}"):
        to.read()  # at the end of an epoch


FOREVER = (
    rf"the last {MAX_SKIPPED} steps changed nothing: their gradients are not finite in float16, "
    r".*--set train\.amp=bf16 or train\.amp=off, .*train\.lr="
)


def test_a_scaler_may_skip_some_steps_but_not_for_ever():
    to = record(CPU, scaled=True)
    for _ in range(3):
        for _ in range(MAX_SKIPPED - 1):
            add(to, norm=INFINITE)
        add(to)
    assert to.skipped == 0
    for _ in range(MAX_SKIPPED - 1):
        add(to, norm=NAN)
    with pytest.raises(NotFiniteError, match=FOREVER):
        add(to, norm=NAN)


def test_steps_that_earlier_epochs_skipped_count_too():
    to = record(scaled=True, skipped=MAX_SKIPPED - 1)
    add(to, norm=INFINITE)
    with pytest.raises(NotFiniteError, match=FOREVER):
        to.read()


def test_weights_and_statistics_must_be_finite():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    check_weights([network])
    check_weights([])
    for tensor in (network[0].weight, network[1].running_var):
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1)[1] = math.nan
        with pytest.raises(NotFiniteError, match=r"weights are not finite: .*train\.lr="):
            check_weights([nn.Identity(), network])
        with torch.no_grad():
            tensor.copy_(before)
