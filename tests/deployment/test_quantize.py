import numpy as np
import pytest
import torch
from torch import nn
from untrained import untrained_model

from defectkit.approaches.passes import Passes
from defectkit.deployment.engines import load_engine
from defectkit.deployment.export import export_model
from defectkit.deployment.graph_files import (
    onnx_bytes,
    openvino_files,
    read_in_openvino,
    trace_to_onnx,
)
from defectkit.deployment.quantize import MAX_PARTS, choose_parts, quantize
from defectkit.models.losses import class_probabilities

RNG = np.random.default_rng(0)


def images(count: int, height: int = 40, width: int = 50) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def test_parts_are_what_the_network_sees():
    whole = Passes(tile=64, overlap=8)
    given = images(3)
    parts = choose_parts(iter(given), whole)
    for image, part in zip(given, parts, strict=True):
        np.testing.assert_array_equal(part[0], image)
    tiles = choose_parts(iter(images(1, 100, 100)), whole)
    assert [part.shape for part in tiles] == [(1, 64, 64, 3)] * 4
    resized = choose_parts(iter(given), Passes(tile=64, overlap=8, resize=32))
    assert {part.shape for part in resized} == {(1, 32, 32, 3)}


def test_there_are_not_too_many_parts_and_no_more_images_are_read():
    read = []

    def reading():
        for image in images(MAX_PARTS + 9, 8, 8):
            read.append(image)
            yield image

    assert len(choose_parts(reading(), Passes(tile=64, overlap=8))) == MAX_PARTS == len(read)


def largest_weight(model) -> int:
    """The largest magnitude of the weights in 8 bits."""
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    weights = [op.data for op in constants if op.get_element_type().get_type_name() == "i8"]
    assert weights
    return max(int(np.abs(one.astype(int)).max()) for one in weights)


@pytest.mark.slow
def test_a_model_in_8_bits_is_smaller_and_says_nearly_the_same(tmp_path, capfd):
    model = untrained_model("model.architecture=pixel_net", factor=2.0)
    export = export_model(model, kind="onnx", precision="f32", folder=tmp_path)
    full = read_in_openvino(export.files["model.onnx"])
    before = openvino_files(full, {})
    given = images(8, 64, 64)
    quantized = quantize(full, [one[None] for one in given])
    after = openvino_files(quantized, {})
    assert 32 < largest_weight(quantized) <= 64  # Older processors clamp sums of larger ones.
    assert capfd.readouterr() == ("", "")
    assert len(after["model.bin"]) < 0.5 * len(before["model.bin"])
    engine = load_engine("openvino", "int8", after)
    for image in given:
        scores = engine.run(image[None])["score_map"][0]
        ours = model.find(image).score_map
        assert 1e-6 < np.abs(scores - ours).mean() < 0.05
        assert np.corrcoef(scores.ravel(), ours.ravel())[0, 1] == pytest.approx(1, abs=0.05)


class Chain(nn.Module):
    """Ten convolutions, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(10)])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"score_map": self.layers(images.permute(0, 3, 1, 2).float()).sigmoid()}


@pytest.mark.slow
def test_the_first_fifth_of_the_convolutions_can_keep_32_bits():
    content = onnx_bytes(trace_to_onnx(Chain(), channels=1), {})
    parts = [RNG.integers(0, 256, (1, 32, 32, 1), np.uint8)]
    for keep_first, expected in ((False, 10), (True, 8)):
        quantized = quantize(read_in_openvino(content), parts, keep_first=keep_first)
        kinds = [one.get_element_type().get_type_name() for one in quantized.get_ops()
                 if one.get_type_name() == "Constant"]  # fmt: skip
        assert kinds.count("i8") == expected


class Whiteness(nn.Module):
    """How white the 5x5 pixels around each one are, as the score of any defect, of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 5, padding=2)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([12.0, 1.0, -1.0]).reshape(3, 1, 1, 1) / 25
            self.layer.bias[:] = torch.tensor([-6.0, 0.0, 0.0])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layer(images.permute(0, 3, 1, 2).float() / 255)
        return {"score_map": class_probabilities(logits, "apart")}


@pytest.mark.slow
@pytest.mark.check(21)
def test_a_defect_clearer_than_those_of_most_images_has_its_full_score():
    """The largest scores of most calibration images are no limit of those in 8 bits."""
    white = np.full((1, 32, 32, 1), 255, np.uint8)
    dotted = np.zeros_like(white)
    dotted[:, ::7, ::7] = 255
    model = read_in_openvino(onnx_bytes(trace_to_onnx(Whiteness(), channels=1), {}))
    quantized = quantize(model, [*[dotted] * 15, white])
    assert largest_weight(quantized) > 32
    engine = load_engine("openvino", "int8", openvino_files(quantized, {}))
    scores = engine.run(white)["score_map"][0, :, 8:-8, 8:-8]
    expected = 1 / (1 + np.exp(-6))
    np.testing.assert_allclose(scores[0], expected, atol=0.01)
    np.testing.assert_allclose(scores[1], expected * np.exp(-2), atol=0.01)
