from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import THRESHOLDS, TUNING, untrained_model

from defectkit.approaches.coarse import coarse_graph
from defectkit.approaches.graphs import ImageGraph, run_graph
from defectkit.approaches.passes import Passes
from defectkit.approaches.whole_images import score_images
from defectkit.data.images import read_given
from defectkit.deployment import export as export_module
from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.cascade import Cascade
from defectkit.deployment.engines import _OpenVinoGraph
from defectkit.deployment.export import Export, export_model
from defectkit.deployment.model_info import First
from defectkit.deployment.parity import TOLERANCES, Parity
from defectkit.deployment.runtime import ExportedModel
from defectkit.files import read_json
from defectkit.labels.scope import EVERYWHERE
from defectkit.models.traceable import traceable
from defectkit.seals import seal_of

RNG = np.random.default_rng(7)


def small_model(*settings: str) -> TrainedModel:
    """A small network that answers in all of [0, 1]."""
    return untrained_model("model.architecture=pixel_net", "infer.margin=8", *settings, factor=2.0)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return small_model()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Images of 16 bits, of several sizes, whose channels differ."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number, (height, width) in enumerate([(40, 60), (40, 60), (33, 50), (96, 70)]):
        values = RNG.integers(0, 3500, (height, width), np.uint16)
        values[:, : width // 2] //= 3
        paths.append(folder / f"{number}.png")
        Image.fromarray(values).save(paths[-1])
        colors = RNG.integers(0, 256, (height, width, 3), np.uint8)
        colors[..., 0] //= 4
        paths.append(folder / f"{number}-rgb.png")
        Image.fromarray(colors).save(paths[-1])
    return paths


def make(model: TrainedModel, kind: str = "openvino") -> Export:
    return export_model(model, kind=kind, precision="f32", folder=Path("there"))


def compare(trained: TrainedModel, exported: ExportedModel, images: list[Path]) -> list[str]:
    """What the gate says."""
    parity = Parity(tolerances=TOLERANCES["f32"], thresholds=THRESHOLDS)
    for path in images:
        given = read_given(path, trained.channels, trained.pixels)
        parity.update(path.name, trained.find(given), exported.find(path))
    return parity.failures()


@pytest.mark.check(21)
@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_an_exported_model_answers_as_the_trained_one(tmp_path, model, images, kind):
    export = make(model, kind)
    assert compare(model, export.model, images) == []
    export.with_parity({"images": 8}).write(tmp_path)
    loaded = ExportedModel.load(tmp_path)
    assert compare(model, loaded, images) == []
    info = read_json(tmp_path / "model.json")
    assert info["exported"]["parity"] == {"images": 8}
    assert (info["run"], info["dataset"], info["config"]) == (
        *("segment-1", "0123"),
        model.info["config"],
    )
    assert "sha256" not in info
    assert loaded.found_classes == ("a", "b c")
    assert loaded.tuning == TUNING
    assert loaded.thresholds == THRESHOLDS


@pytest.mark.parametrize(("several", "shape"), [(False, [1, 40, 60, 3]), (True, None)])
def test_a_model_expects_images_of_the_size_of_validation(
    tmp_path, monkeypatch, model, images, several, shape
):
    export = make(model)
    assert compare(model, export.model, images if several else images[:2]) == []
    export.with_parity({}).write(tmp_path)
    expected = []
    monkeypatch.setattr(_OpenVinoGraph, "expect", lambda _, one: expected.append(one))
    assert ExportedModel.load(tmp_path).exported.usual_shape == shape
    assert expected == ([tuple(shape)] if shape else [])


def test_of_a_cascade_the_first_model_expects_them(tmp_path, monkeypatch, model, images):
    full, first = make(model), make(model)
    assert compare(model, full.model, images[:2]) == compare(model, first.model, images[:2]) == []
    first = first.with_usual_shape()
    entry = First(seal=seal_of(first.model.info), cut=0.5, ceiling=0.5)
    full.with_parity({}).with_first(first, entry).write(tmp_path)
    expected = []
    monkeypatch.setattr(
        _OpenVinoGraph, "expect", lambda graph, shape: expected.append((graph, shape))
    )
    cascade = Cascade.load(tmp_path)
    ((graph, shape),) = expected
    assert cascade.first.engine.run.__self__ is graph
    assert shape == (1, 40, 60, 3)


@pytest.mark.slow
@pytest.mark.check(21)
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_from_file_to_mask_both_models_say_the_same(tally, tmp_path, model, kind):
    """In 99.99 % of the pixels, and all scores to 1e-4."""
    exported = make(model, kind).model
    parity = Parity(tolerances=TOLERANCES["f32"], thresholds=THRESHOLDS)
    rng, found = np.random.default_rng(21), set()
    for number in range(tally.number(12, 100)):
        with tally.case(number):
            # Coarse and dark in parts, so that some of each is found; some of 12 bits, some gray.
            height, width = rng.integers(40, 130, 2)
            shape = (height // 4, width // 4, *([3] if number % 3 else []))
            bits = 12 if number % 3 == 0 else 8
            dtype = np.uint16 if bits > 8 else np.uint8
            coarse = rng.integers(0, 2**bits, shape).astype(dtype)
            values = coarse.repeat(4, axis=0).repeat(4, axis=1)
            path = tmp_path / f"{number}.png"
            Image.fromarray(values).save(path)
            ours = model.find(path)
            parity.update(path.name, ours, exported.find(path))
            found |= {region.class_id for region in ours.regions}
    assert parity.failures() == []
    assert parity.images == tally.tried
    assert found == {"a", "b c"}


@pytest.mark.parametrize(
    "settings",
    [("infer.flip=true",), ("data.resize=64",), ("infer.tile=64", "infer.overlap=16")],
)
def test_so_it_does_whatever_is_asked_of_inference(images, settings):
    model = small_model(*settings)
    assert compare(model, make(model, "onnx").model, images) == []


@pytest.mark.check(21)
def test_a_wrong_mean_is_seen(monkeypatch, model, images):
    def darker(network):
        network = traceable(network)
        network.mean.add_(2.0)
        return network

    monkeypatch.setattr(export_module, "traceable", darker)
    assert compare(model, make(model).model, images)


@pytest.mark.check(21)
def test_a_flipped_channel_order_is_seen(monkeypatch, model, images):
    class Flipped(ImageGraph):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return super().forward(images.flip(3))

    monkeypatch.setattr(export_module, "ImageGraph", Flipped)
    assert compare(model, make(model).model, images)


@pytest.mark.check(21)
@pytest.mark.parametrize(
    "passes", [{"resize": 48}, {"tile": 64, "overlap": 0}], ids=["resized", "in tiles"]
)
def test_images_of_another_size_are_seen(model, images, passes):
    exported = make(model).model
    whole = exported.exported.passes
    other = Passes.model_validate({**whole.model_dump(), "margin": 0, **passes})
    changed = exported.exported.model_copy(update={"passes": other})
    assert compare(model, replace(exported, exported=changed), images)


@pytest.mark.check(21)
def test_a_dropped_window_is_seen(model, images):
    exported = make(model).model  # without an entry the window is that of all 16 bits
    dropped = replace(exported, info={**exported.info, "pixels": None})
    assert compare(model, dropped, images)


@pytest.mark.slow
def test_the_files_say_what_they_are(model):
    import onnx
    import openvino

    found = onnx.load_from_string(make(model, "onnx").files["model.onnx"])
    entries = {one.key: one.value for one in found.metadata_props}
    assert entries["model_info labels"] == "a b_c"
    assert entries["model_info confidence_threshold"] == "0.55"
    assert entries["model_info mean_values"] == "0 0 0"
    assert entries["model_info defectkit.classes"] == '["a", "b c"]'
    assert entries["model_info defectkit.run"] == "segment-1"
    assert [one.name for one in found.graph.input] == ["images"]
    assert [one.name for one in found.graph.output] == ["score_map", "image_score"]
    shape = found.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_param or one.dim_value for one in shape] == ["batch", "height", "width", 3]
    onnx.checker.check_model(found, full_check=True)

    files = make(model).files
    read = openvino.Core().read_model(files["model.xml"], files["model.bin"])
    assert {
        key: read.get_rt_info(["model_info", key]).value for key in ("labels", "input_dtype")
    } == {
        "labels": "a b_c",
        "input_dtype": "u8",
    }
    assert read.get_rt_info(["model_info", "defectkit.dataset"]).value == "0123"


@pytest.mark.slow
def test_the_files_tell_nothing_of_the_machine(model):
    for kind in ("onnx", "openvino"):
        for content in make(model, kind).files.values():
            assert b"site-packages" not in content
            assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.slow
def test_the_same_model_gives_the_same_file(model):
    assert make(model, "onnx").files == make(model, "onnx").files


@pytest.mark.slow
def test_the_image_score_of_the_graph_is_that_of_the_finding(model, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(make(model, "onnx").files["model.onnx"])
    for path in images:
        image = read_given(path, 3, model.pixels)
        [score] = session.run(["image_score"], {"images": image[None]})
        assert score == pytest.approx(model.find(image).score, abs=1e-5)


@pytest.mark.check(21)
def test_a_first_look_is_that_of_the_coarse_network(monkeypatch):
    monkeypatch.setattr(export_module, "quantize", lambda model, _, **__: model)
    model = untrained_model("model.encoder=resnet18", "infer.margin=32", factor=2.0)
    images = [RNG.integers(0, 256, (64, 96, model.channels), np.uint8) for _ in range(5)]
    first = export_model(
        model, kind="openvino", precision="int8", folder=Path("first"), images=images, looks=True
    ).model
    assert set(first.engine.run(images[0][None])) == {"score_map", "image_logit"}
    whole = model.approach.graph(model.network, any_defect=True)
    coarse = coarse_graph(whole, [image[None] for image in images])
    assert coarse is not whole
    for image in images:
        scores, logits = run_graph(coarse, image[None], torch.device("cpu"))
        expected = score_images(
            lambda _, scored=(scores, logits): scored, [image], tuning=TUNING, scopes=[EVERYWHERE]
        )
        assert first.look(image, EVERYWHERE) == pytest.approx(expected[0], abs=1e-4)
