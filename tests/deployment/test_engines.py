import numpy as np
import openvino
import pytest
from exported_models import write_graph

from defectkit.deployment.engines import FILES, load_engine

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 9, 7, 1), np.uint8)


def graph(folder, kind, logit=None) -> dict[str, bytes]:
    write_graph(folder, kind, 1, 2, 1 / 255, logit)
    return {name: (folder / name).read_bytes() for name in FILES[kind]}


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_an_engine_gives_the_outputs_that_the_graph_has(tmp_path, kind):
    engine = load_engine(kind, "f32", graph(tmp_path, kind))
    outputs = engine.run(IMAGES)
    assert outputs.keys() == {"score_map"}
    expected = np.repeat(IMAGES.transpose(0, 3, 1, 2) / 255, 2, axis=1)
    np.testing.assert_allclose(outputs["score_map"], expected, atol=1e-6)
    outputs = load_engine(kind, "f32", graph(tmp_path, kind, logit=-1.5)).run(IMAGES)
    np.testing.assert_allclose(outputs["image_logit"], [-1.5, -1.5])


@pytest.mark.parametrize(("precision", "hint"), [("f32", "f32"), ("int8", "f32"), ("bf16", "bf16")])
def test_openvino_computes_with_the_numbers_that_were_exported(
    tmp_path, monkeypatch, precision, hint
):
    given = []
    compile_model = openvino.Core.compile_model

    def spy(self, model, device, config):
        given.append(config)
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    load_engine("openvino", precision, graph(tmp_path, "openvino"))
    assert given[0]["INFERENCE_PRECISION_HINT"] == hint
