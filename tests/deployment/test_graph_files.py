import logging
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from defectkit.deployment.engines import load_engine
from defectkit.deployment.graph_files import (
    keep_first_in_full,
    onnx_bytes,
    openvino_files,
    read_in_openvino,
    trace_to_onnx,
)
from defectkit.errors import DiskFullError, MissingPackageError

RNG = np.random.default_rng(0)


class Halves(nn.Module):
    """Half of each pixel, and the mean of an image."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        halves = images.permute(0, 3, 1, 2).float() / 510
        return {"score_map": halves, "image_score": halves.mean(dim=(1, 2, 3))}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 60), (3, 7, 200)])
def test_images_of_any_number_and_size_go_in(channels, shape):
    batch = RNG.integers(0, 256, (*shape, channels), np.uint8)
    content = onnx_bytes(trace_to_onnx(Halves(), channels=channels), {})
    scores, means = onnxruntime.InferenceSession(content).run(None, {"images": batch})
    expected = batch.transpose(0, 3, 1, 2) / np.float32(510)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(means, expected.mean(axis=(1, 2, 3)), atol=1e-5)


@pytest.mark.check(21)
def test_weights_of_openvino_files_keep_their_32_bits():
    class Scaled(Halves):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([1.0000001]))  # 1 in 16 bits

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score_map": super().forward(images)["score_map"] * self.scale}

    content = onnx_bytes(trace_to_onnx(Scaled(), channels=1), {})
    files = openvino_files(read_in_openvino(content), {"labels": "a"})
    assert np.float32(1.0000001).tobytes() in files["model.bin"]
    assert b'labels value="a"' in files["model.xml"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits on file sizes")
@pytest.mark.parametrize("size", [0, 100, 10_000])
@pytest.mark.check(12)
def test_no_space_for_openvino_files_is_said_as_that(size):
    from full_disk import files_of_at_most

    class Weighted(Halves):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.rand(97, 130))

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score_map": super().forward(images)["score_map"][..., :1, :1] * self.weights}

    model = read_in_openvino(onnx_bytes(trace_to_onnx(Weighted(), channels=1), {}))
    with files_of_at_most(size), pytest.raises(DiskFullError, match=r"model\.\w+: File too large"):
        openvino_files(model, {})
    assert len(openvino_files(model, {})["model.bin"]) > 50_000


class Chain(nn.Module):
    """Ten convolutions, one after the other, that double and halve."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 1, 1) for _ in range(10)]
        for number, layer in enumerate(layers):
            nn.init.constant_(layer.weight, (2.0, 0.5)[number % 2])
            nn.init.constant_(layer.bias, 0.1)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"score_map": self.layers(images.permute(0, 3, 1, 2).float() / 510)}


def test_the_first_layers_of_a_model_in_16_bits_keep_32():
    content = onnx_bytes(trace_to_onnx(Chain(), channels=1), {})
    files = openvino_files(read_in_openvino(content), {})
    full = {**files, "model.xml": keep_first_in_full(files["model.xml"])}
    layers = [one.split("</layer>")[0] for one in full["model.xml"].decode().split("<layer ")[1:]]
    precise = ['name="precise"' in one for one in layers]
    convolutions = [kept for one, kept in zip(layers, precise, strict=True) if "Convolution" in one]
    assert convolutions == [True] * 2 + [False] * 8
    kinds = [one.split('type="')[1].split('"')[0] for one in layers]
    assert not {"Const", "Parameter", "Result"} & {
        kind for kind, kept in zip(kinds, precise, strict=True) if kept
    }
    images = RNG.integers(0, 256, (1, 9, 7, 1), np.uint8)
    before, after = (load_engine("openvino", "f32", one).run(images) for one in (files, full))
    np.testing.assert_array_equal(before["score_map"], after["score_map"])


def test_what_exporters_say_is_not_for_the_user(capfd):
    before = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace_to_onnx(Halves(), channels=1)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("torch.onnx").level == before


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingPackageError, match=r"onnxscript.*defectkit\[export\]"):
        trace_to_onnx(Halves(), channels=1)


def test_an_openvino_graph_computes_nothing_that_is_known_before(capfd):
    class Convolved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score_map": self.convolution(images.permute(0, 3, 1, 2).float() / 255)}

    content = onnx_bytes(trace_to_onnx(Convolved(), channels=1), {})
    operations = read_in_openvino(content).get_ordered_ops()
    computed = [one for one in operations if one.get_input_size()]
    kinds = [{given.get_node().get_type_name() for given in one.input_values()} for one in computed]
    assert kinds
    assert {"Constant"} not in kinds
    assert "ShapeOf" not in [one.get_type_name() for one in operations]
