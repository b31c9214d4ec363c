import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino
import pytest
from exported_models import write_graph
from openvino import opset13

from defectkit.deployment import engines
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


@pytest.fixture
def compiled(monkeypatch) -> list:
    """The shape and the settings of each graph that OpenVINO compiles."""
    graphs = []
    compile_model = openvino.Core.compile_model

    def spy(self, model, device, config):
        graphs.append((str(model.input(0).partial_shape), config))
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    return graphs


@pytest.mark.parametrize(("precision", "hint"), [("f32", "f32"), ("int8", "f32"), ("bf16", "bf16")])
def test_openvino_computes_with_the_numbers_that_were_exported(tmp_path, compiled, precision, hint):
    load_engine("openvino", precision, graph(tmp_path, "openvino")).run(IMAGES)
    ((_, config),) = compiled
    assert config["INFERENCE_PRECISION_HINT"] == hint


def test_the_first_shapes_have_a_graph_of_their_own_and_others_share_one(tmp_path, compiled):
    engine = load_engine("openvino", "f32", graph(tmp_path, "openvino"))
    for side in (4, 5, 4, 6, 7, 5, 8):
        images = IMAGES[:, :side, :side]
        outputs = engine.run(np.ascontiguousarray(images))
        expected = np.repeat(images.transpose(0, 3, 1, 2) / 255, 2, axis=1)
        np.testing.assert_allclose(outputs["score_map"], expected, atol=1e-6)
    assert [shape for shape, _ in compiled] == ["[2,4,4,1]", "[2,5,5,1]", "[?,?,?,1]"]


def test_what_openvino_compiles_for_no_single_shape_is_compiled_for_all(
    tmp_path, compiled, monkeypatch
):
    spied, refused = openvino.Core.compile_model, []

    def refuse(self, model, *rest):
        if model.input(0).partial_shape.is_static:
            refused.append(model)
            raise RuntimeError("Supported primitive descriptors list is empty")
        return spied(self, model, *rest)

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    engine = load_engine("openvino", "f32", graph(tmp_path, "openvino"))
    for _ in range(2):
        assert engine.run(IMAGES)["score_map"].shape == (2, 2, 9, 7)
    assert [shape for shape, _ in compiled] == ["[?,?,?,1]"]
    assert len(refused) == 1  # a failure takes long


@pytest.mark.parametrize(
    ("expected", "shapes"),
    [
        ((2, 9, 7, 1), ["[2,9,7,1]"]),
        ((1, 4, 4, 1), ["[1,4,4,1]", "[2,9,7,1]"]),
        ((1, 4, 4, 3), ["[2,9,7,1]"]),  # it takes one channel: no such images come
    ],
)
def test_a_graph_is_compiled_for_images_that_are_expected(tmp_path, compiled, expected, shapes):
    engine = load_engine("openvino", "f32", graph(tmp_path, "openvino"))
    engine.expect(expected)
    for _ in range(2):
        assert engine.run(IMAGES)["score_map"].shape == (2, 2, 9, 7)
    assert sorted(shape for shape, _ in compiled) == shapes
    assert engine.shapes() == [IMAGES.shape]


def test_the_first_call_of_a_process_is_alone(tmp_path, monkeypatch):
    engine = load_engine("openvino", "f32", graph(tmp_path, "openvino"))
    engine.run(IMAGES)
    infer = openvino.InferRequest.infer
    calls: list[int] = []
    inside = threading.Semaphore(0)

    def spy(self, *args, **options):
        inside.release()
        time.sleep(0.1)
        calls.append(inside._value)
        result = infer(self, *args, **options)
        inside.acquire()
        return result

    monkeypatch.setattr(openvino.InferRequest, "infer", spy)
    monkeypatch.setattr(engines, "_called", threading.Event())
    for most in (1, 2):  # at once: at first one, afterwards both
        calls.clear()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(engine.run, [IMAGES] * 2))
        assert max(calls) == most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_process_that_is_forked_while_a_graph_is_compiled_can_load():
    held = threading.Event()

    def compile_for_long():
        with engines._alone:
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=compile_for_long)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if engines._alone.acquire(timeout=2) else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


IMPORTED_DURING_A_FORK = """
import concurrent.futures.thread, importlib, os  # The former has such a hook of its own.

def import_engines():
    importlib.import_module("defectkit.deployment.engines")

os.register_at_fork(before=import_engines)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_being_imported_while_a_process_forks_says_nothing():
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED_DURING_A_FORK], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


SIGNAL_AFTER_A_MODEL = """
import faulthandler, signal, sys, threading
import numpy as np
from pathlib import Path
from defectkit.deployment.engines import FILES, load_engine

faulthandler.enable()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
files = {name: Path(sys.argv[1], name).read_bytes() for name in FILES["openvino"]}
engines = [load_engine("openvino", "f32", files) for _ in range(2)]
for engine in engines:
    engine.run(np.zeros((1, 5, 5, 1), np.uint8))
del engine
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no other stacks for signals")
def test_signals_are_handled_after_a_thread_lets_go_of_an_openvino_model(tmp_path):
    graph(tmp_path, "openvino")
    command = [sys.executable, "-c", SIGNAL_AFTER_A_MODEL, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr


def test_importing_openvino_takes_its_converter_only_when_it_is_asked_for():
    code = (
        "import sys\n"
        "from defectkit.deployment.engines import import_openvino\n"
        "openvino = import_openvino('this')\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "assert callable(openvino.convert_model)\n"
        "assert not hasattr(openvino, 'nothing')\n"
        "import openvino_telemetry\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvino_computes_only_what_is_read(tmp_path):
    images = opset13.parameter([-1, -1, -1, 1], np.uint8, name="images")
    numbers = opset13.convert(images, "f32")
    scores = opset13.transpose(numbers, np.array([0, 3, 1, 2]))
    failing = opset13.reshape(numbers, np.array([5]), special_zero=False)  # not of 5 pixels
    for output, name in ((images, "images"), (scores, "score_map"), (failing, "image_score")):
        output.output(0).set_names({name})
    model = openvino.Model([scores, failing], [images])
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    files = {name: (tmp_path / name).read_bytes() for name in FILES["openvino"]}
    outputs = load_engine("openvino", "f32", files).run(IMAGES)
    np.testing.assert_array_equal(outputs["score_map"][:, 0], IMAGES[..., 0])
