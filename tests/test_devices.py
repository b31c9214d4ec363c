import os

import pytest
import torch

from defectkit.devices import (
    autocast_dtype,
    choose_device,
    describe_device,
    usable_processors,
    warn_of_slow_precision,
)
from defectkit.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def with_bf16(monkeypatch, *, natively: bool) -> None:
    """Pretend that there is a GPU that has bfloat16, or that torch emulates it."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: natively or including_emulation,
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "some GPU")


@pytest.mark.parametrize(
    ("there", "kind"),
    [
        ({}, "cpu"),
        ({"mps": True}, "mps"),
        ({"cuda": True}, "cuda"),
        ({"cuda": True, "mps": True}, "cuda"),
    ],
)
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, there, kind):
    pretend(monkeypatch, **there)
    assert choose_device("auto").type == kind
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_said_with_the_way_out(monkeypatch, wanted):
    pretend(monkeypatch)
    message = rf"torch \d.* finds no device '{wanted}' on this machine\. Use --device cpu or auto"
    with pytest.raises(ConfigError, match=message):
        choose_device(wanted)


def test_devices_are_described_for_people(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert describe_device(CPU) == "cpu (2 threads)"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert describe_device(CPU) == "cpu (1 thread)"
    assert describe_device(torch.device("mps")) == "mps"


def test_reduced_precision_by_device(monkeypatch):
    for capabilities, chosen in (({}, None), ({"amx_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=capabilities: known)
        assert autocast_dtype("auto", CPU) is chosen
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert autocast_dtype("auto", CPU) is None
    assert autocast_dtype("auto", torch.device("mps")) is None
    for native, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        with_bf16(monkeypatch, natively=native)
        assert autocast_dtype("auto", CUDA) is dtype
    assert autocast_dtype("off", CUDA) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("fp16", CUDA) is torch.float16


@pytest.mark.parametrize(
    ("amp", "known", "slow"),
    [
        ("bf16", {"architecture": "x86_64"}, True),
        ("bf16", {"architecture": "x86_64", "avx512_bf16": True}, False),
        ("bf16", {"architecture": "x86_64", "amx_bf16": True}, False),
        ("fp16", {"architecture": "x86_64", "avx512_fp16": True}, True),
        ("off", {"architecture": "x86_64"}, False),
        ("auto", {"architecture": "x86_64"}, False),
        ("bf16", {"architecture": "aarch64"}, False),
        ("bf16", None, False),
    ],
)
def test_a_processor_without_16_bits_is_told(monkeypatch, recwarn, amp, known, slow):
    if known is None:  # an earlier release of torch
        monkeypatch.delattr(torch.cpu, "get_capabilities")
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    warn_of_slow_precision("infer.amp", amp, CPU)
    told = [str(one.message) for one in recwarn]
    assert bool(told) == slow
    if slow:
        assert told[0].startswith(f"infer.amp is {amp}, in which cpu (")
        assert told[0].endswith("more slowly than in 32 bits. Train with --set infer.amp=off.")


@pytest.mark.parametrize(("natively", "slow"), [(True, 0), (False, 1)])
def test_a_gpu_that_emulates_bfloat16_is_told(monkeypatch, recwarn, natively, slow):
    with_bf16(monkeypatch, natively=natively)
    for amp in ("bf16", "fp16", "auto", "off"):
        warn_of_slow_precision("train.amp", amp, CUDA)
    assert len(recwarn) == slow
    warn_of_slow_precision("train.amp", "bf16", torch.device("mps"))
    assert len(recwarn) == slow


def test_processors_are_those_that_may_be_used():
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert usable_processors() == 1
        finally:
            os.sched_setaffinity(0, before)


@pytest.mark.parametrize("wanted", ["cuda:99", "meta", None, 0])
def test_what_is_no_device_is_refused_with_the_names(wanted):
    with pytest.raises(ConfigError, match="is no device. Give one of auto, cpu, cuda, mps"):
        choose_device(wanted)
