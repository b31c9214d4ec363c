import numpy as np
import pytest
from untrained import untrained_model

from defectkit.approaches.passes import Passes
from defectkit.deployment.engines import load_engine
from defectkit.deployment.export import export_model
from defectkit.deployment.graph_files import openvino_files, read_in_openvino
from defectkit.deployment.quantize import MAX_PARTS, choose_parts, quantize

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
