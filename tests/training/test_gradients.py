import pytest
import torch
from called_operators import CalledOperators
from torch import nn

from defectkit.approaches.build import build_approach
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import DefectkitWarning
from defectkit.models.network import Network
from defectkit.training import gradients
from defectkit.training.gradients import BatchParts, add_gradients

PLAIN = torch.amp.GradScaler("cpu", enabled=False)
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Linear(Network):
    def __init__(self) -> None:
        super().__init__(mean=0.0, std=1.0)
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)


class Squares:
    """An approach whose loss is a mean over samples, on a GPU that takes ``room`` of them."""

    def __init__(self, room: int = 99) -> None:
        self.room = room
        self.batches: list[int] = []

    def loss(self, network, inputs, targets):
        self.batches.append(len(inputs))
        assert [one["id"].item() for one in targets["lists"]] == targets["tensors"].tolist()
        outputs = network.layer(inputs)
        if len(inputs) > self.room:
            (outputs.sum() * 1e6).backward()  # what is left when memory ends in the backward pass
            raise OUT_OF_MEMORY
        squares = (outputs[:, 0] - targets["tensors"]).square().mean()
        return {"squares": squares, "loss": 2 * squares}


@pytest.fixture
def on_gpu(monkeypatch):
    """Take the CPU for a GPU: what it does not do alone is to free its memory."""
    freed = []
    halve = gradients._can_halve
    monkeypatch.setattr(
        gradients, "_can_halve", lambda n, count, _: halve(n, count, torch.device("cuda"))
    )
    monkeypatch.setattr(gradients, "_free_memory", freed.append)
    return freed


def compute(approach, samples=8, parts=None):
    network = Linear()
    inputs = torch.randn(samples, 3, generator=torch.Generator().manual_seed(1))
    numbers = torch.arange(float(samples))
    targets = {"tensors": numbers, "lists": [{"id": number} for number in numbers]}
    parts = parts or BatchParts()
    terms = add_gradients(approach, network, inputs, targets, parts=parts, scaler=PLAIN, dtype=None)
    return terms, network.layer.weight.grad, parts


def test_a_batch_that_fits_goes_through_at_once():
    terms, gradient, parts = compute(approach := Squares())
    assert approach.batches == [8]
    assert parts.count == 1
    assert terms["loss"] == 2 * terms["squares"]
    assert not terms["loss"].requires_grad
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(("room", "samples", "expected"), [
    (4, 8, [8, 4, 4]),
    (3, 8, [8, 4, 2, 2, 2, 2]),
    (4, 7, [7, 3, 4]),
])  # fmt: skip
def test_where_memory_ends_the_batch_is_halved_and_the_gradient_stays(
    room, samples, expected, on_gpu
):
    whole = compute(Squares(), samples)
    told = rf"too small for a batch of {samples} .* in \d parts"
    with pytest.warns(DefectkitWarning, match=told):
        terms, gradient, parts = compute(approach := Squares(room), samples)
    assert approach.batches == expected
    assert len(on_gpu) == {2: 1, 4: 2}[parts.count]
    torch.testing.assert_close(gradient, whole[1])
    torch.testing.assert_close(terms, whole[0])
    approach.batches.clear()
    compute(approach, samples, parts)  # the next batch is not tried at once again
    assert approach.batches == expected[-parts.count :]


def test_a_part_keeps_two_samples(on_gpu):
    with (
        pytest.warns(DefectkitWarning, match="in 2 parts"),
        pytest.raises(torch.OutOfMemoryError),
    ):
        compute(approach := Squares(room=1), samples=4)
    assert approach.batches == [4, 2]


def test_on_a_cpu_and_for_other_errors_nothing_is_halved(on_gpu, monkeypatch):
    class Failing(Squares):
        def loss(self, network, inputs, targets):
            super().loss(network, inputs, targets)
            raise RuntimeError("mat1 and mat2 cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        compute(approach := Failing())
    assert approach.batches == [8]
    monkeypatch.undo()
    with pytest.raises(torch.OutOfMemoryError):
        compute(approach := Squares(4))
    assert approach.batches == [8]


@pytest.mark.parametrize(
    "settings",
    [
        ["approach=segment", "model.encoder=test_resnet", "loss.focal=1"],
        ["approach=segment", "model.architecture=pixel_net", "loss.bce=0", "loss.cross_entropy=1"],
        ["approach=patch", "model.architecture=lenet", "patch.tile=32"],
        ["approach=box", "model.encoder=test_resnet", "model.architecture=yolo_grid"],
        ["approach=box", "model.encoder=test_resnet", "model.architecture=localizer"],
    ],
    ids=lambda settings: settings[1],
)
@pytest.mark.parametrize("scoped", [False, True])
def test_neither_pass_of_a_network_waits_for_a_gpu(settings, scoped, dataset_folder):
    """torchvision's detectors do, since they select boxes; so do those that cut regions out."""
    dataset = Dataset.load(dataset_folder)
    config = load_config(None, [*settings, "model.weights=none", "data.crop=64"])
    approach = build_approach(config, classes=dataset.classes, channels=1)
    samples = approach.samples(dataset, dataset.split("train"))
    inputs, targets = samples.collate([samples[1, index] for index in range(4)])
    if scoped and config.approach == "segment":
        targets = {"masks": targets, "counted": torch.rand(4, *inputs.shape[2:]) > 0.2}
        targets["masks"] = targets["masks"] * targets["counted"][:, None]
    network = approach.network().train()
    with CalledOperators() as called:
        add_gradients(
            approach, network, inputs, targets, parts=BatchParts(), scaler=PLAIN, dtype=None
        )
    assert called.waiting == []
    assert any("convolution_backward" in name for name in called.names)
