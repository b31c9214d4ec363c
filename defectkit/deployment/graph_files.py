"""Graphs as files that other programs compute: ONNX, and OpenVINO's own format.

A graph takes ``images`` (B, H, W, C) uint8 as they are read, RGB or gray, of any B, H and W. It
gives ``score_map`` (B, K, H, W) and ``image_score`` (B,), float32 in [0, 1], and ``image_logit``
(B,) float32 where the network judges images as a whole.
"""

import logging
import math
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import nn

from defectkit.deployment.engines import FILES, import_openvino, openvino_core
from defectkit.files import read_limited, write_bytes
from defectkit.models.model_folder import MAX_WEIGHT_BYTES
from defectkit.optional_packages import needed_package

INPUT = "images"
EXAMPLE_SIZE = (2, 97, 130)
"""Number, height and width of the images that a graph is traced with: none of them is special."""
AXES = ("batch", "height", "width")
CONVOLUTIONS = ("Convolution", "GroupConvolution")
NOT_COMPUTED = ("Const", "Constant", "Parameter", "Result")
FULL_SHARE = 0.2
"""Share of the convolutions, the first ones, that keep 32 bits where others have fewer: what these
round, all others enlarge."""


def trace_to_onnx(graph: nn.Module, *, channels: int) -> Any:
    """Return a graph as an ONNX model (``onnx.ModelProto``), for images of ``channels``.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
    """
    with needed_package("onnx", extra="export", what="export"):
        import onnx  # noqa: F401  (torch needs both)
    with needed_package("onnxscript", extra="export", what="export"):
        import onnxscript  # noqa: F401
    images = torch.zeros((*EXAMPLE_SIZE, channels), dtype=torch.uint8)
    names = list(graph(images))
    dynamic = dict.fromkeys(range(len(AXES)), torch.export.Dim.DYNAMIC)
    with torch.no_grad(), _quiet():
        program = torch.export.export(graph, (images,), dynamic_shapes=(dynamic,), strict=False)
        exported = torch.onnx.export(
            program, input_names=[INPUT], output_names=names, dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    _tidy(model)
    return model


def onnx_bytes(model: Any, metadata: Mapping[str, str]) -> bytes:
    """Return the content of an ONNX file; metadata become entries ``model_info <key>``."""
    with needed_package("onnx", extra="export", what="export"):
        import onnx
    named = {f"model_info {key}": value for key, value in metadata.items()}
    onnx.helper.set_model_props(model, named)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def read_in_openvino(content: bytes) -> Any:
    """Return an ONNX file's content as an OpenVINO model.

    What does not depend on the images is computed here: reading ONNX makes more operations for the
    shapes of biases than the network has, and each takes time when a model is loaded.

    Raises:
        MissingPackageError: openvino is not installed.
    """
    model = openvino_core().read_model(BytesIO(content))
    from openvino import passes

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    return model


def openvino_files(model: Any, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of an OpenVINO model's files; metadata become its ``model_info``.

    Raises:
        DiskFullError: there is no space for them in the folder of temporary files.
        OutputError: that folder cannot be written for another reason.
    """
    for key, value in metadata.items():
        model.set_rt_info(value, ["model_info", key])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        try:
            import_openvino("export").save_model(model, path, compress_to_fp16=False)
            return {
                name: read_limited(path.with_name(name), MAX_WEIGHT_BYTES)
                for name in FILES["openvino"]
            }
        finally:
            # Without space, OpenVINO says "iostream error", or before 2026.2 nothing at all
            # (https://github.com/openvinotoolkit/openvino/issues/23190): this says it.
            write_bytes(path, bytes(2**20))


def first_convolutions(kinds: Sequence[str | None]) -> int:
    """Return how many operations there are up to the last convolution that keeps 32 bits.

    Args:
        kinds: those of the operations of a model, in the order in which they are computed.
    """
    counts = list(accumulate(kind in CONVOLUTIONS for kind in kinds))
    kept = math.ceil(FULL_SHARE * counts[-1]) if counts else 0
    return next((place for place, count in enumerate(counts) if count > kept), len(counts))


def keep_first_in_full(content: bytes) -> bytes:
    """Return a ``model.xml`` whose first layers are computed in 32 bits, whatever the others are.

    OpenVINO does so with layers that have the attribute ``precise``
    (https://github.com/openvinotoolkit/openvino/pull/21440), which its Python cannot set.
    """
    model = ElementTree.fromstring(content)  # noqa: S314  (OpenVINO wrote it a moment ago)
    layers = [one for one in model.iterfind("layers/layer") if one.get("type") not in NOT_COMPUTED]
    kept = first_convolutions([one.get("type") for one in layers])
    for layer in layers[:kept]:
        info = layer.find("rt_info")
        if info is None:
            info = ElementTree.Element("rt_info")
            layer.insert(1 if layer.find("data") is not None else 0, info)
        ElementTree.SubElement(info, "attribute", name="precise", version="0")
    return ElementTree.tostring(model)


def _tidy(model: Any) -> None:
    """Name the axes, and remove what tells of the machine and the source code of the export."""
    graph = model.graph
    del graph.value_info[:]
    del model.metadata_props[:]
    functions = [node for function in model.functions for node in function.node]
    for one in (*graph.node, *functions, *graph.input, *graph.output, *graph.initializer):
        one.ClearField("metadata_props")
        one.ClearField("doc_string")
    graph.ClearField("metadata_props")
    for tensor in (*graph.input, *graph.output):
        axes = tensor.type.tensor_type.shape.dim
        places = (0, 1, 2) if tensor.name == INPUT else (0, 2, 3)
        for place, name in zip(places, AXES, strict=True):
            if place < len(axes):
                axes[place].dim_param = name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters tell their developers from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
