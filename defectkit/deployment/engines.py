"""The engines that compute exported models: OpenVINO and ONNX Runtime.

Each takes images (B, H, W, C) uint8 as they are read, of any size, and gives the outputs of the
graph. Several threads may use one at a time.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from defectkit.arrays import Float32Array, ImageBatch
from defectkit.errors import first_line
from defectkit.optional_packages import needed_package, without_package
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

CONVERTER = "openvino.tools.ovc"
"""Converts models, which defectkit does not; a third of the time that the import takes."""

MAX_SHAPES = 2
"""Max. number of shapes that have a compiled graph of their own."""

_alone = threading.RLock()
"""For what loads and compiles, and for the first call of the process: in these OpenVINO's Python
makes tables, such as that of the types of NumPy. Two threads that make one wait for ever: one has
the lock of the table, the other one that of Python."""


def _release_alone() -> None:
    with suppress(RuntimeError):  # Nobody has it if this was imported while a thread forked.
        _alone.release()


if hasattr(os, "register_at_fork"):  # Else a process that is forked meanwhile never loads.
    os.register_at_fork(
        before=_alone.acquire, after_in_parent=_release_alone, after_in_child=_release_alone
    )
_called = threading.Event()

Outputs = dict[str, Float32Array]
Shape = tuple[int, ...]
"""That of a batch of images: (B, H, W, C)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A compiled graph: ``name`` says what computes it and where, ``run`` gives its outputs.

    ``release`` gives back what it keeps for the next images, which then take a little longer.
    ``expect`` begins to compile the graph for batches of a shape while others do something else;
    ``shapes`` gives those that have a graph of their own.
    """

    name: str
    run: Callable[[ImageBatch], Outputs]
    release: Callable[[], None] = lambda: None
    expect: Callable[[Shape], None] = lambda _: None
    shapes: Callable[[], list[Shape]] = list


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
    openvino = import_openvino("this model (OpenVINO)")
    with _alone:
        core = openvino_core()
        model = core.read_model(files["model.xml"], files["model.bin"])
        there = {name for output in model.outputs for name in output.get_names()}
        names = [name for name in (SCORE_MAP, IMAGE_LOGIT) if name in there]
        read = [model.output(name) for name in names]
        graph = _OpenVinoGraph(core, openvino.Model(read, model.get_parameters()), names, precision)
    return Engine(
        name=f"cpu (OpenVINO {openvino.__version__.partition('-')[0]})",
        run=graph.run,
        release=graph.release,
        expect=graph.expect,
        shapes=graph.shapes,
    )


def import_openvino(what: str) -> Any:
    """Import openvino, which then reports nothing over the network; ``what`` needs it.

    Raises:
        MissingPackageError: it is not installed.
    """
    needed = needed_package("openvino", extra=None, what=what)
    with without_package(TELEMETRY), without_package(CONVERTER), needed:
        import openvino
    if "convert_model" not in vars(openvino):
        openvino.__getattr__ = _import_converter
    return openvino


def _import_converter(name: str) -> Any:
    """Return ``openvino.convert_model`` for who asks for it: the program may be of others too."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    with without_package(TELEMETRY):
        from openvino.tools.ovc import convert_model
    return convert_model


@contextmanager
def _first_alone() -> Iterator[None]:
    """Let the first call of the process end before another one begins."""
    if _called.is_set():
        yield
        return
    with _alone:
        yield
    _called.set()


@cache
def openvino_core() -> Any:
    """Return the one ``openvino.Core`` of this process, which lives as long as the process.

    The first graph that a Core compiles gives the thread that compiles it another stack for
    signals (large enough for the AMX registers), and the end of the Core takes it away in whatever
    thread that is (https://github.com/openvinotoolkit/openvino/pull/11894). The next signal that
    came to the first thread then ended the process.
    """
    return import_openvino("OpenVINO").Core()


class _OpenVinoGraph:
    """A graph that is compiled for the shapes of the images that come.

    For a single shape OpenVINO needs a quarter less time and half of the memory. So the first
    ``MAX_SHAPES`` have a graph of their own, and all others share one.
    """

    def __init__(self, core: Any, model: Any, names: Sequence[str], precision: Precision) -> None:
        self._core = core
        self._model = model
        self._names = names
        self._config = {
            # By itself OpenVINO rounds to 16 bits where the processor is faster with these.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: dict[Shape | None, _Requests] = {}
        self._expected: tuple[Shape, Future[_Requests]] | None = None
        self._single_shapes = True
        self._compiling = threading.Lock()

    def run(self, batch: ImageBatch) -> Outputs:
        """Return the outputs for images (B, H, W, C)."""
        with self._requests_for(batch.shape).one() as request, _first_alone():
            request.infer([batch], share_inputs=True)
            # The request keeps its arrays, and fills them again.
            return {
                name: np.array(request.get_tensor(name).data, np.float32) for name in self._names
            }

    def expect(self, shape: Shape) -> None:
        """Begin to compile the graph for a shape; if another comes first, it is not kept."""
        pool = ThreadPoolExecutor(1)
        with suppress(RuntimeError):  # There may be no further thread: it is compiled when needed.
            self._expected = shape, pool.submit(self._compile_for, shape)
        pool.shutdown(wait=False)

    def shapes(self) -> list[Shape]:
        """Return the shapes that have a graph of their own."""
        return [shape for shape in self._requests if shape is not None]

    def release(self) -> None:
        """Give back the memory of what was computed between, unless a thread is using it."""
        for requests in list(self._requests.values()):
            with suppress(RuntimeError):
                requests.release()

    def _requests_for(self, shape: Shape) -> "_Requests":
        with self._compiling:
            if requests := self._requests.get(shape):
                return requests
            expected, self._expected = self._expected, None
            if self._single_shapes and len(self.shapes()) < MAX_SHAPES:
                try:
                    if expected and expected[0] == shape:
                        self._requests[shape] = expected[1].result()
                    else:
                        self._requests[shape] = self._compile_for(shape)
                    return self._requests[shape]
                except RuntimeError:  # OpenVINO cannot compile some graphs, in 16 bits, for one.
                    self._single_shapes = False  # A failure takes longer than most images.
            if None not in self._requests:
                self._requests[None] = _Requests(self._compile(self._model))
            return self._requests[None]

    def _compile_for(self, shape: Shape) -> "_Requests":
        with _alone:
            one_shape = self._model.clone()
            _check_channels(one_shape, shape)
            one_shape.reshape(shape)
            return _Requests(self._compile(one_shape))

    def _compile(self, model: Any) -> Any:
        with _alone:
            return self._core.compile_model(model, "CPU", self._config)


def _check_channels(model: Any, shape: Shape) -> None:
    """Check what ``reshape`` would change without a word."""
    channels = model.input(0).partial_shape[-1]
    if channels.is_static and channels.get_length() != shape[-1]:
        raise ValueError(
            f"its graph takes images of {channels.get_length()} channels, not of {shape[-1]}"
        )


class _Requests:
    """The requests of a compiled graph, each of which serves one thread at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: deque[Any] = deque()

    def release(self) -> None:
        """Give back their memory.

        Raises:
            RuntimeError: one is being used.
        """
        self._compiled.release_memory()

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Lend a request; one that fails is not used again."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        yield request
        self._idle.append(request)


def _load_onnx(files: Mapping[str, bytes]) -> Engine:
    with needed_package("onnxruntime", extra="onnx", what="this model (ONNX)"):
        import onnxruntime
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
