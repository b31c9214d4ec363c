import copy
import json
import re

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from defectkit.errors import DefectkitWarning, TrainingError
from defectkit.training import checkpoint
from defectkit.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint

OPTIMIZERS = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2),
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-2),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
    "plain sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2),
    "fused adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2, fused=True),
    "fused adam": lambda groups: torch.optim.Adam(groups, lr=1e-2, fused=True),
    "fused sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, fused=True),
}


class State:
    """A network, its moving average and its optimizer."""

    def __init__(self, optimizer: str = "adamw", seed: int = 0):
        torch.manual_seed(seed)
        self.network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
        ).to(memory_format=torch.channels_last)
        self.ema = ModelEmaV3(self.network, decay=0.9, use_warmup=True)
        groups = [
            {"params": list(self.network[0].parameters()), "rate": 0.3, "weight_decay": 0.0},
            {"params": list(self.network[1:].parameters()), "rate": 1.0, "weight_decay": 0.1},
        ]
        self.optimizer = OPTIMIZERS[optimizer](groups)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "ema": self.ema}

    def step(self, seed: int) -> "State":
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        self.optimizer.zero_grad(set_to_none=True)
        self.network(images).square().mean().backward()
        self.optimizer.step()
        self.ema.update(self.network, step=seed)
        return self

    def save(self, folder, epoch: int, **numbers) -> None:
        save_checkpoint(
            folder, epoch=epoch, modules=self.modules, optimizer=self.optimizer, numbers=numbers
        )

    def load(self, folder) -> dict:
        return load_checkpoint(folder, modules=self.modules, optimizer=self.optimizer)

    def everything(self) -> dict:
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_comes_back_exactly_and_training_goes_on_from_it(optimizer, tmp_path):
    state = State(optimizer).step(1).step(2).step(3)
    state.save(tmp_path, 7, steps=3, rate=0.1, best=None, scaler={"scale": 65536.0})
    restored = State(optimizer, seed=9)
    numbers = restored.load(tmp_path)
    assert (numbers["epoch"], numbers["steps"], numbers["best"]) == (7, 3, None)
    assert (numbers["rate"], numbers["scaler"]) == (0.1, {"scale": 65536.0})
    assert same(restored.everything(), state.everything())
    assert same(restored.step(4).everything(), state.step(4).everything())


@pytest.mark.parametrize("optimizer", ["adamw", "fused adamw", "fused sgd"])
def test_the_state_of_the_optimizer_lies_in_memory_as_the_weights_do(optimizer, tmp_path):
    State(optimizer).step(1).save(tmp_path, 1)
    restored = State(optimizer, seed=9)
    restored.load(tmp_path)
    weight = restored.network[0].weight
    assert weight.stride() == (27, 1, 9, 3)  # channels last
    laid = [v for v in restored.optimizer.state[weight].values() if v.shape == weight.shape]
    assert laid
    assert {value.stride() for value in laid} == {weight.stride()}


def test_a_state_of_an_earlier_version_is_continued_with_fused_steps(tmp_path):
    state = State("adamw").step(1).step(2)
    state.save(tmp_path, 2)
    restored = State("fused adamw", seed=9)
    restored.load(tmp_path)
    assert [group["fused"] for group in restored.optimizer.param_groups] == [True, True]
    restored.step(3), state.step(3)
    for one, other in zip(
        restored.network.state_dict().values(), state.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_state_before_the_first_step_comes_back(tmp_path):
    state = State()
    state.save(tmp_path, 1)
    restored = State(seed=9)
    restored.load(tmp_path)
    assert same(restored.everything(), state.everything())


def test_the_last_two_states_stay(tmp_path):
    state = State()
    for epoch in (1, 2, 3, 4):
        state.step(epoch).save(tmp_path, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("epoch-0003.json", "epoch-0003.safetensors"),
        *("epoch-0004.json", "epoch-0004.safetensors"),
    ]


def test_after_ten_thousand_epochs_the_newest_is_still_the_newest(tmp_path):
    state = State()
    for epoch in (9998, 9999, 10000, 10001):
        state.save(tmp_path, epoch)
    assert State().load(tmp_path)["epoch"] == 10001
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_what_a_kill_left_of_older_states_is_removed_with_them(tmp_path):
    (tmp_path / "epoch-0001.safetensors").write_bytes(b"its JSON was removed before the kill")
    assert not has_checkpoint(tmp_path)
    State().save(tmp_path, 2)
    assert has_checkpoint(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("epoch-0002.json", "epoch-0002.safetensors"),
    ]


def two_states(folder) -> tuple[State, dict]:
    state = State().step(1)
    state.save(folder, 1, steps=1)
    first = state.everything()
    state.step(2).save(folder, 2, steps=2)
    return state, first


def test_the_numbers_are_written_after_the_tensors(tmp_path, monkeypatch):
    """A run that is killed between the two has no state that it could take for a whole one."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    state = State().step(1)
    state.save(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        state.step(2).save(tmp_path, 2)
    assert (tmp_path / "epoch-0002.safetensors").exists()
    assert State().load(tmp_path)["epoch"] == 1


DAMAGE = {
    "tensors flipped": ("safetensors", lambda c: c[:-50] + bytes([c[-50] ^ 1]) + c[-49:]),
    "tensors cut": ("safetensors", lambda c: c[: len(c) // 2]),
    "tensors empty": ("safetensors", lambda _: b""),
    "tensors gone": ("safetensors", None),
    "numbers cut": ("json", lambda c: c[: len(c) // 2]),
    "numbers empty": ("json", lambda _: b""),
    "numbers no object": ("json", lambda _: b"[1]"),
    "numbers no text": ("json", lambda _: b"\xff\xfe"),
    "numbers changed": ("json", lambda c: c.replace(b'"steps": 2', b'"steps": 3')),
    "key changed": ("json", lambda c: c.replace(b'"steps"', b'"stepz"')),
    "seal gone": ("json", lambda c: c.replace(b'"seal"', b'"sael"')),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_passed_over_for_the_one_before(kind, tmp_path):
    _, first = two_states(tmp_path)
    suffix, change = DAMAGE[kind]
    path = tmp_path / f"epoch-0002.{suffix}"
    content = path.read_bytes()
    if change is None:
        path.unlink()
    else:
        assert change(content) != content
        path.write_bytes(change(content))
    restored = State(seed=9)
    with falls_back(tmp_path):
        assert restored.load(tmp_path)["epoch"] == 1
    assert same(restored.everything(), first)


def falls_back(folder):
    message = f"{folder} is damaged (epoch-0002): continuing from epoch-0001."
    return pytest.warns(DefectkitWarning, match=re.escape(message))


@pytest.mark.check(14)
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_every_flipped_bit_and_every_cut_is_seen(suffix, tmp_path, tally):
    _, first = two_states(tmp_path)
    rng = np.random.default_rng(14)
    path = tmp_path / f"epoch-0002.{suffix}"
    content = path.read_bytes()
    flips = [("flip", int(bit)) for bit in rng.integers(8 * len(content), size=100)]
    cuts = [("cut", int(end)) for end in rng.integers(len(content), size=25)]
    for kind, place in (flips + cuts)[:: tally.number(short=5, full=1)]:
        damaged = bytearray(content)
        if kind == "flip":
            damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged if kind == "flip" else content[:place])
        restored = State()
        with tally.case((kind, place)), falls_back(tmp_path):
            assert restored.load(tmp_path)["epoch"] == 1
            assert same(restored.everything(), first)
    path.write_bytes(content)
    assert State().load(tmp_path)["epoch"] == 2


@pytest.mark.check(14)
def test_without_a_whole_state_the_damaged_ones_are_named(tmp_path):
    message = r"has no intact checkpoint\. Start a new run without --resume and with another --out"
    with pytest.raises(TrainingError, match=message):
        State().load(tmp_path)
    two_states(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"x")
    message = r"no intact checkpoint \(damaged: epoch-0002, epoch-0001\)\. Start a new run"
    with pytest.raises(TrainingError, match=message):
        State().load(tmp_path)


def test_the_state_of_another_network_is_refused(tmp_path):
    two_states(tmp_path)
    other = State()
    other.network[0] = nn.Conv2d(3, 5, 3)
    with pytest.raises(TrainingError, match=r"epoch-0002\.safetensors does not fit the network"):
        other.load(tmp_path)
    groups = State()
    groups.optimizer = torch.optim.AdamW(groups.network.parameters())
    with pytest.raises(TrainingError, match=r"epoch-0002\.safetensors does not fit the network"):
        groups.load(tmp_path)


def test_nothing_is_pickled(tmp_path):
    two_states(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        assert {name.partition(".")[0] for name in header} == {"network", "ema", "optimizer"}
    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text())
