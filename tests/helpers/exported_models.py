"""Exported models made by hand: graphs that say how blue a pixel is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13

from defectkit import __version__
from defectkit.approaches.passes import Passes
from defectkit.approaches.tuning import Tuning
from defectkit.data.pixel_format import EIGHT_BITS
from defectkit.deployment.engines import FILES
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import sha256_file, write_json
from defectkit.seals import add_seal
from defectkit.vocabulary import ExportFormat

CHANNEL = {1: 0, 3: 2}
"""The channel whose share of 255 is the score of a pixel."""


def write_exported(
    folder: Path,
    *,
    kind: ExportFormat = "openvino",
    channels: int = 3,
    classes: Sequence[str] = ("scratch",),
    scale: float = 1 / 255,
    logit: float | None = None,
    passes: Passes | None = None,
    tuning: Tuning | None = None,
    **further: Any,
) -> Path:
    """Write an exported model, and return its folder.

    Args:
        folder: where to write.
        kind: the format.
        channels: 1 or 3.
        classes: all have the same scores.
        scale: what values of pixels are multiplied by.
        logit: that of the image as a whole, the same for all images; by default there is none.
        passes: by default all goes through at once.
        tuning: by default that of an untuned model.
        further: further entries of ``model.json``.
    """
    folder.mkdir(parents=True)
    write_graph(folder, kind, channels, len(classes), scale, logit)
    info = {
        "defectkit": __version__,
        "classes": list(classes),
        "channels": channels,
        "thresholds": Thresholds(low=0.5, high=0.5, rule="default").to_dict(),
        "pixels": EIGHT_BITS.to_dict(),
        "config": {},
        "epoch": 1,
        "dataset": "",
        "run": "",
        "versions": {},
        "tuning": (tuning or Tuning()).model_dump(),
        "exported": {
            "format": kind,
            "precision": "f32",
            "files": {name: sha256_file(folder / name) for name in FILES[kind]},
            "found_classes": list(classes),
            "one_class": False,
            "passes": (passes or Passes(tile=1024, overlap=0)).model_dump(),
            "parity": {},
        },
        **further,
    }
    write_json(folder / "model.json", add_seal(info))
    return folder


def write_graph(
    folder: Path, kind: ExportFormat, channels: int, layers: int, scale: float, logit: float | None
) -> None:
    """Write the files of a graph that was made by hand."""
    if kind == "openvino":
        _write_openvino(folder, channels, layers, scale, logit)
    else:
        _write_onnx(folder, channels, layers, scale, logit)


def _write_openvino(
    folder: Path, channels: int, layers: int, scale: float, logit: float | None
) -> None:
    images = opset13.parameter([-1, -1, -1, channels], np.uint8, name="images")
    images.output(0).set_names({"images"})
    chosen = opset13.gather(images, np.array([CHANNEL[channels]]), 3)
    first = opset13.transpose(opset13.convert(chosen, "f32"), np.array([0, 3, 1, 2]))
    scores = opset13.tile(opset13.multiply(first, np.float32(scale)), np.array([1, layers, 1, 1]))
    scores.output(0).set_names({"score_map"})
    outputs = [scores]
    if logit is not None:
        none = opset13.reduce_sum(opset13.multiply(scores, np.float32(0)), np.array([1, 2, 3]))
        logits = opset13.add(none, np.float32(logit))
        logits.output(0).set_names({"image_logit"})
        outputs.append(logits)
    openvino.save_model(
        openvino.Model(outputs, [images]), folder / "model.xml", compress_to_fp16=False
    )


def _write_onnx(
    folder: Path, channels: int, layers: int, scale: float, logit: float | None
) -> None:
    def constant(name: str, value: Any, dtype: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype), name)

    nodes = [
        helper.make_node("Gather", ["images", "channel"], ["chosen"], axis=3),
        helper.make_node("Cast", ["chosen"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["first", "scale"], ["scaled"]),
        helper.make_node("Tile", ["scaled", "repeats"], ["score_map"]),
    ]
    outputs = [
        helper.make_tensor_value_info("score_map", TensorProto.FLOAT, ["B", layers, "H", "W"])
    ]
    if logit is not None:
        nodes += [
            helper.make_node("Mul", ["score_map", "zero"], ["nothing"]),
            helper.make_node("ReduceSum", ["nothing", "axes"], ["none"], keepdims=0),
            helper.make_node("Add", ["none", "logit"], ["image_logit"]),
        ]
        outputs.append(helper.make_tensor_value_info("image_logit", TensorProto.FLOAT, ["B"]))
    graph = helper.make_graph(
        nodes,
        "blue",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", channels])],
        outputs,
        [
            constant("channel", [CHANNEL[channels]], np.int64),
            constant("scale", scale, np.float32),
            constant("repeats", [1, layers, 1, 1], np.int64),
            constant("zero", 0, np.float32),
            constant("axes", [1, 2, 3], np.int64),
            constant("logit", logit or 0, np.float32),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
