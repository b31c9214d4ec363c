"""From a trained model to an exported one: files that are computed without torch."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from defectkit import __version__
from defectkit.approaches.coarse import coarse_graph
from defectkit.approaches.graphs import ImageGraph, SegmentGraph
from defectkit.approaches.passes import Passes
from defectkit.arrays import Image, ImageBatch
from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.cascade import FIRST
from defectkit.deployment.engines import load_engine
from defectkit.deployment.exportable import exportable
from defectkit.deployment.graph_files import (
    keep_first_in_full,
    onnx_bytes,
    openvino_files,
    read_in_openvino,
    trace_to_onnx,
)
from defectkit.deployment.model_info import Exported, First
from defectkit.deployment.quantize import choose_parts, quantize
from defectkit.deployment.runtime import ExportedModel
from defectkit.files import json_text, sha256_bytes, write_bytes, write_json
from defectkit.models.traceable import traceable
from defectkit.seals import FORMAT_VERSION, add_seal
from defectkit.vocabulary import ANY_DEFECT, ExportFormat, Precision

Show = Callable[[Sequence[ImageBatch], str], Sequence[ImageBatch]]
"""Takes what is gone through, and what is done with it; returns the same, which shows progress."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Export:
    """An exported model, in memory until it is known to answer as the trained one does.

    Attributes:
        files: the content of its files, by their names.
        model: the model that is loaded from them.
    """

    files: Mapping[str, bytes]
    model: ExportedModel

    def with_parity(self, table: Mapping[str, Any]) -> Self:
        """Return it with the table of what was compared, and with the shape that it had."""
        return self._with(parity=dict(table), usual_shape=self._only_shape())

    def with_usual_shape(self) -> Self:
        """Return it with the shape that its graph had for all images so far, if that is one."""
        return self._with(usual_shape=self._only_shape())

    def with_first(self, first: "Export", entry: First) -> Self:
        """Return it as a cascade with a first model, whose files are written into its own.

        Of both graphs that of the first model is compiled ahead: it sees each image.
        """
        files = {**first.files, "model.json": json_text(first.model.info).encode()}
        further = {f"{FIRST}/{name}": content for name, content in files.items()}
        cascade = self._with(first=entry.model_dump(), usual_shape=None)
        return replace(cascade, files={**self.files, **further})

    def _only_shape(self) -> list[int] | None:
        shapes = self.model.engine.shapes()
        return list(shapes[0]) if len(shapes) == 1 else None

    def _with(self, **entries: object) -> Self:
        exported = {**self.model.info["exported"], **entries}
        info = add_seal({**self.model.info, "exported": exported})
        return replace(self, model=replace(self.model, info=info))

    def write(self, folder: Path) -> None:
        """Write its files, and ``model.json``, which has their hashes, after them."""
        for name, content in self.files.items():
            write_bytes(folder / name, content)
        write_json(folder / "model.json", self.model.info)


def export_model(
    model: TrainedModel,
    *,
    kind: ExportFormat,
    precision: Precision,
    folder: Path,
    images: Iterable[Image] = (),
    looks: bool = False,
    show: Show = lambda parts, _: parts,
) -> Export:
    """Return a trained model as an exported one, which nothing was compared with yet.

    Args:
        model: the trained model, on the CPU.
        kind: the format.
        precision: the numbers that it computes with.
        folder: where it is to be written, for messages.
        images: (H, W, C) uint8, those that a model in int8 is calibrated on.
        looks: it is to be the first model of a cascade, which has one class: any defect.
        show: shows how far what goes through the parts of ``images`` has come.

    Raises:
        ExportError: its approach or network cannot be exported.
        MissingPackageError: a package of the extra ``export`` is not installed.
    """
    approach = exportable(model.approach, model.network)
    network = traceable(model.network)
    passes = approach.passes(model.network)
    parts = choose_parts(iter(images), passes) if precision == "int8" else []
    scoring = approach.graph(network, any_defect=looks)
    if looks and isinstance(scoring, SegmentGraph):
        scoring = coarse_graph(scoring, show(parts, "shortening the decoder"))
    # What looks first is read by defectkit alone, which mixes the scores of images itself.
    graph = ImageGraph(scoring, None if looks else approach.tuning.image_mix).eval()
    metadata = _metadata(model, passes)
    traced = trace_to_onnx(graph, channels=approach.channels)
    files = {"model.onnx": onnx_bytes(traced, metadata)}
    if kind == "openvino":
        read = read_in_openvino(files["model.onnx"])
        if precision == "int8":
            shown = show(parts, "converting to 8 bits")
            read = quantize(read, shown, keep_first=not looks)
        files = openvino_files(read, metadata)
        if precision == "bf16":
            files["model.xml"] = keep_first_in_full(files["model.xml"])
    exported = {
        "format": kind,
        "precision": precision,
        "files": {name: sha256_bytes(content) for name, content in files.items()},
        "found_classes": [ANY_DEFECT] if looks else list(model.found_classes),
        "one_class": approach.one_class,
        "passes": passes.model_dump(),
        "parity": {},
        "looks": looks,
    }
    trained = {key: value for key, value in model.info.items() if key != "sha256"}
    info = {
        **trained,
        "format_version": FORMAT_VERSION,
        "defectkit": __version__,
        "tuning": approach.tuning.model_dump(),
        "exported": exported,
    }
    loaded = ExportedModel(
        folder=folder,
        engine=load_engine(kind, precision, files),
        exported=Exported.model_validate(exported),
        chosen=approach.tuning,
        thresholds=model.thresholds,
        info=add_seal(info),
    )
    return Export(files=files, model=loaded)


def _metadata(model: TrainedModel, passes: Passes) -> dict[str, str]:
    """Return what the files themselves say: under the names that other tools read, and our own.

    Normalization is inside of the graph, so these tools must not normalize again.
    """
    info, tuning = model.info, model.approach.tuning
    metadata = {
        "labels": " ".join(name.replace(" ", "_") for name in model.found_classes),
        "confidence_threshold": str(model.thresholds.high),
        "image_threshold": str(model.thresholds.high),
        "pixel_threshold": str(tuning.pixel_threshold),
        "normalization_scale": "1.0",
        "mean_values": " ".join(["0"] * model.channels),
        "scale_values": " ".join(["1"] * model.channels),
        "reverse_input_channels": "False",
        "input_dtype": "u8",
        "tile_size": str(passes.tile),
        "tiles_overlap": str(passes.overlap / passes.tile),
    }
    if passes.resize is not None:
        metadata["resize_type"] = "standard"
    ours = {
        "version": __version__,
        "classes": info["classes"],
        "found_classes": list(model.found_classes),
        "channels": model.channels,
        "thresholds": model.thresholds.to_dict(),
        "tuning": tuning.model_dump(),
        "passes": passes.model_dump(),
        "pixels": info.get("pixels"),
        "roi": info.get("roi"),
        "run": info.get("run", ""),
        "dataset": info.get("dataset", ""),
    }
    return metadata | {f"defectkit.{key}": _as_text(value) for key, value in ours.items()}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
