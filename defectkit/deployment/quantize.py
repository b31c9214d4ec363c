"""Models in 8 bits (int8), by NNCF: calibrated on images that the model was trained on."""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from defectkit.approaches.passes import Passes
from defectkit.approaches.whole_images import Scored
from defectkit.arrays import Image, ImageBatch
from defectkit.deployment.engines import TELEMETRY
from defectkit.deployment.graph_files import NOT_COMPUTED, first_convolutions
from defectkit.optional_packages import needed_package, without_package

MAX_PARTS = 128
"""Max. number of images, or tiles of large ones, that a model is calibrated on."""
IN_FULL = ("AvgPool", "ReduceMax", "Log", "Sigmoid", "Softmax", "Exp")
"""Kinds of operations that stay in 32 bits wherever they are: they take no time."""
LAYERS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
"""Kinds of operations that have weights. What follows the last ones stays in 32 bits too."""


def choose_parts(images: Iterator[Image], passes: Passes) -> list[ImageBatch]:
    """Return what the network sees of images (H, W, C): arrays (1, h, w, C), ``MAX_PARTS`` at most.

    Of large images these are tiles.
    """
    parts: list[ImageBatch] = []

    def keep(batch: ImageBatch) -> Scored:
        if len(parts) < MAX_PARTS:
            parts.append(np.ascontiguousarray(batch))
        return np.zeros((1, 1, *batch.shape[1:3]), np.float32), None

    for image in images:
        passes.score(keep, image[None], n_classes=1)
        if len(parts) == MAX_PARTS:
            break
    return parts


def quantize(model: Any, parts: Sequence[ImageBatch], *, keep_first: bool = False) -> Any:
    """Return an OpenVINO model with weights and activations of 8 bits where that is faster.

    Args:
        model: the model in 32 bits.
        parts: what it is calibrated on.
        keep_first: whether the first convolutions keep 32 bits, as in bf16.

    Raises:
        MissingPackageError: nncf is not installed.
    """
    with without_package(TELEMETRY), _quiet():
        with needed_package("nncf", extra="export", what="int8"):
            import nncf
        return nncf.quantize(
            model,
            nncf.Dataset(parts),
            subset_size=len(parts),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            # Older processors clamp sums of full 8-bit weights, and would answer otherwise.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
            ignored_scope=nncf.IgnoredScope(
                types=list(IN_FULL),
                names=[*_after_all_layers(model), *(_first_layers(model) if keep_first else [])],
                validate=False,
            ),
        )


def _after_all_layers(model: Any) -> list[str]:
    """Return the names of the operations that make scores of what the last layers give.

    In 8 bits they would end at the largest score of most calibration images: a clear defect would
    be no clearer than a doubtful one.
    """
    feeds_layer: dict[str, bool] = {}
    for one in reversed(model.get_ordered_ops()):
        next_ones = [to.get_node() for out in one.outputs() for to in out.get_target_inputs()]
        feeds_layer[one.get_friendly_name()] = any(
            to.get_type_name() in LAYERS or feeds_layer[to.get_friendly_name()] for to in next_ones
        )
    return [
        one.get_friendly_name()
        for one in model.get_ordered_ops()
        if one.get_type_name() not in LAYERS and not feeds_layer[one.get_friendly_name()]
    ]


def _first_layers(model: Any) -> list[str]:
    """Return the names of the first convolutions, and of what comes between them."""
    operations = [one for one in model.get_ordered_ops() if one.get_type_name() not in NOT_COMPUTED]
    kept = first_convolutions([one.get_type_name() for one in operations])
    return [one.get_friendly_name() for one in operations[:kept]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries tell their developers from the user."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
