"""The engines that compute exported models: OpenVINO and ONNX Runtime.

Each takes images (B, H, W, C) uint8 as they are read, of any size, and gives the outputs of the
graph. Several threads may use one at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectkit.arrays import Float32Array, ImageBatch
from defectkit.errors import first_line
from defectkit.optional_packages import import_package, without_package
from defectkit.vocabulary import ExportFormat, Precision

FILES: dict[ExportFormat, tuple[str, ...]] = {
    "openvino": ("model.xml", "model.bin"),
    "onnx": ("model.onnx",),
}
"""The files of each format; other names are not read."""
SCORE_MAP, IMAGE_LOGIT = "score_map", "image_logit"
"""The outputs that are read: (B, K, H, W) in [0, 1]; (B,), which not every model has."""

TELEMETRY = "openvino_telemetry"
"""With this package each import of OpenVINO would be reported over the network, and wait for it."""

Outputs = dict[str, Float32Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A compiled graph: ``name`` says what computes it and where, ``run`` gives its outputs."""

    name: str
    run: Callable[[ImageBatch], Outputs]


def load_engine(kind: ExportFormat, precision: Precision, files: Mapping[str, bytes]) -> Engine:
    """Return the engine for the content of an exported model's files.

    Raises:
        MissingPackageError: the package of the engine is not installed.
        RuntimeError, ValueError: the files are no such model.
    """
    match kind:
        case "openvino":
            return _load_openvino(precision, files)
        case "onnx":
            return _load_onnx(files)


def _load_openvino(precision: Precision, files: Mapping[str, bytes]) -> Engine:
    with without_package(TELEMETRY):
        openvino = import_package("openvino", extra=None, what="this model (OpenVINO)")
    core = openvino.Core()
    model = core.read_model(files["model.xml"], files["model.bin"])
    names = [name for name in (SCORE_MAP, IMAGE_LOGIT) if _has_output(model, name)]
    compiled = core.compile_model(
        model,
        "CPU",
        {
            # By itself OpenVINO rounds to 16 bits where the processor is faster with these.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    idle: deque[Any] = deque()  # A request serves one thread at a time.

    def run(batch: ImageBatch) -> Outputs:
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        # The request keeps its arrays, and fills them again.
        outputs = {name: np.array(request.get_tensor(name).data, np.float32) for name in names}
        idle.append(request)
        return outputs

    version = openvino.__version__.partition("-")[0]
    return Engine(name=f"cpu (OpenVINO {version})", run=run)


def _has_output(model: Any, name: str) -> bool:
    return any(name in output.get_names() for output in model.outputs)


def _load_onnx(files: Mapping[str, bytes]) -> Engine:
    onnxruntime = import_package("onnxruntime", extra="onnx", what="this model (ONNX)")
    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Waiting threads would take time from those that read and draw.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with _refusals_as_value_errors():
        session = onnxruntime.InferenceSession(
            files["model.onnx"], options, providers=["CPUExecutionProvider"]
        )
    given = session.get_inputs()[0].name
    there = {output.name for output in session.get_outputs()}
    names = [name for name in (SCORE_MAP, IMAGE_LOGIT) if name in there]

    def run(batch: ImageBatch) -> Outputs:
        with _refusals_as_value_errors():
            outputs = session.run(names, {given: batch})
        return dict(zip(names, outputs, strict=True))

    return Engine(name=f"cpu (ONNX Runtime {onnxruntime.__version__})", run=run)


@contextmanager
def _refusals_as_value_errors() -> Iterator[None]:
    """Turn the errors of ONNX Runtime, which derive from ``Exception`` alone, into ValueErrors."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ValueError(first_line(error)) from error
