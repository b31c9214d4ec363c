"""``defectkit export``: a trained model as files for the line, with its verdicts intact."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit.process_settings import own_torch_settings
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import ExportFormat, Precision

if TYPE_CHECKING:
    from defectkit.arrays import Image
    from defectkit.data.dataset import Dataset
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.cascade import CutChoice
    from defectkit.deployment.export import Export
    from defectkit.deployment.model_info import First
    from defectkit.deployment.parity import Parity
    from defectkit.deployment.runtime import ExportedModel

MAX_CALIBRATION_IMAGES = 128
"""Max. number of training images that a model in int8 is calibrated on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """The folder of an exported model, and how its answers compare with the trained one's."""

    out: Path
    parity: Mapping[str, Any]


@own_torch_settings()
def run(
    run: str | Path,
    *,
    format: ExportFormat = "openvino",  # noqa: A002 (the option's name)
    precision: Precision = "f32",
    first: str | Path | None = None,
    out: str | Path | None = None,
    data: str | Path | None = None,
    console: Console | None = None,
) -> ExportSummary:
    """Export a trained model to ONNX or OpenVINO: for inspection without torch, and faster.

    The validation images go through both models. If a verdict flips, more than 0.01 % of the mask's
    pixels differ, or a score moves by more than 0.0001 (with fewer bits: by more than is told),
    nothing is written and the exit status is 2. Otherwise the table is kept in model.json.
    The folder is all that inspect needs.

    With --first, a quick model passes what is surely good, and RUN judges the rest: the network of
    a run, RUN itself or a smaller one, in 8 bits. What is surely good is chosen on validation, such
    that no defective image that RUN finds is passed.

    Examples:
        defectkit export runs/segment-1
        defectkit export runs/segment-1 --format onnx --out line/model
        defectkit export runs/segment-1 --first runs/segment-1
        defectkit export runs/segment-1 --precision int8
        defectkit inspect runs/segment-1/exported photos/

    Args:
        run: The run folder.
        format: The format of the files.
        precision: Numbers to compute with. bf16 and int8 are faster where the processor has them,
            in OpenVINO alone.
        first: A run whose network looks at each image first, in 8 bits: RUN itself, or one of the
            same data with a smaller network.
        out: The folder to write, by default exported/ in the run; an earlier export there is
            replaced.
        data: The dataset folder; by default the one that the run was trained on.
        console: Where to report; by default the standard error stream.

    Returns:
        The folder, and the table of what was compared.

    Raises:
        ExportError: The model cannot be exported, or the exported one answers otherwise.
        ModelError: The model cannot be loaded.
        DatasetError: The dataset is missing, or is another one.
        OutputError: ``out`` cannot be written, or has other results.
    """
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.cascade import NAMES_OF_FIRST, CutChoice
    from defectkit.deployment.engines import FILES
    from defectkit.deployment.export import export_model
    from defectkit.deployment.run_dataset import load_dataset_of_run
    from defectkit.errors import ConfigError, ExportError
    from defectkit.reporting.progress import Tracked
    from defectkit.results_folder import write_results
    from defectkit.seals import seal_of

    console = console or SafeConsole()
    if precision != "f32" and format != "openvino":
        raise ConfigError(f"precision {precision} needs OpenVINO. Use --format openvino.")
    run = Path(run)
    chosen_with = TrainedModel.load(run, device="cpu")
    trained = chosen_with.in_32_bits()
    dataset = load_dataset_of_run(run, trained, Path(data) if data else None)
    quick = None if first is None else _load_first(Path(first), trained)
    choice = CutChoice(thresholds=trained.thresholds)
    out = Path(out) if out is not None else run / "exported"
    names = [*FILES[format], *(NAMES_OF_FIRST if quick else ())]
    with write_results(out, kind="exported model", head="model.json", names=names) as results:
        console.print("exporting, then comparing both models on the validation images ...")
        export = export_model(
            trained,
            kind=format,
            precision=precision,
            folder=out,
            images=_calibration_images(trained, dataset),
            show=partial(Tracked, console=console),
        )
        looking = None if quick is None else _export_first(quick, dataset, out, console)
        parity = _compare(trained, export.model, dataset, console, looking, choice)
        if failures := parity.failures():
            raise ExportError(
                f"the exported model does not answer as the trained one does: "
                f"{'; '.join(failures)}. Nothing was written. {_way_out(format, precision)}"
            )
        export = export.with_parity(parity.table())
        entry = None
        if looking:
            looking = looking.with_usual_shape()
            entry = choice.choose(seal_of(looking.model.info))
            export = export.with_first(looking, entry)
        export.write(results.folder)
    _tell(console, parity, entry, out)
    if trained is not chosen_with:
        _tell_of_amp(chosen_with, console, out)
    return ExportSummary(out=out, parity=parity.table())


def _tell(console: Console, parity: "Parity", first: "First | None", out: Path) -> None:
    """Print how the exported model compares, what the first of a cascade does, and what is next."""
    from defectkit.deployment.cascade import describe_first, warn_of_first

    lines = [parity.describe(), *([describe_first(first)] if first else [])]
    lines.append(f"exported to {out}. Next: defectkit inspect {out} IMAGES")
    for line in lines:
        console.print(one_line(line), soft_wrap=True, highlight=False)
    if first and (warning := warn_of_first(first)):
        console.print(f"[yellow]warning:[/] {warning}", soft_wrap=True)


def _tell_of_amp(trained: "TrainedModel", console: Console, out: Path) -> None:
    """Print that thresholds were chosen with fewer bits than the exported model scores with."""
    amp = trained.approach.config.infer.amp
    console.print(
        f"[yellow]warning:[/] the run scores images in {amp} (infer.amp), and its thresholds were "
        "chosen for that; the exported model was compared with its network in 32 bits. Verdicts "
        f"near a threshold may differ: see defectkit evaluate {one_line(str(out))}",
        soft_wrap=True,
        highlight=False,
    )


def _load_first(run: Path, full: "TrainedModel") -> "TrainedModel":
    """Load the run whose network is to look first.

    Raises:
        ModelError: it cannot be loaded.
        ExportError: it was made for other images than the full model.
    """
    from defectkit.deployment.bundle import TrainedModel
    from defectkit.deployment.cascade import check_first

    first = TrainedModel.load(run, device="cpu")
    check_first(first, full, str(run))
    return first


def _export_first(
    first: "TrainedModel", dataset: "Dataset", out: Path, console: Console
) -> "Export":
    """Return the first model of the cascade in ``out``, in 8 bits."""
    from defectkit.deployment.cascade import FIRST
    from defectkit.deployment.export import export_model
    from defectkit.reporting.progress import Tracked

    console.print("making the first model, in 8 bits ...")
    return export_model(
        first,
        kind="openvino",
        precision="int8",
        folder=out / FIRST,
        images=_calibration_images(first, dataset),
        looks=True,
        show=partial(Tracked, console=console),
    )


def _calibration_images(trained: "TrainedModel", dataset: "Dataset") -> Iterator["Image"]:
    """Yield images of the training split, spread over all of it."""
    records = dataset.split("train")
    step = max(len(records) // MAX_CALIBRATION_IMAGES, 1)
    for record in records[::step][:MAX_CALIBRATION_IMAGES]:
        yield record.read_image(trained.channels)


def _compare(
    trained: "TrainedModel",
    exported: "ExportedModel",
    dataset: "Dataset",
    console: Console,
    first: "Export | None",
    choice: "CutChoice",
) -> "Parity":
    """Return the comparison of both models' findings in the validation images.

    The exported one reads the files itself, as at the line. So does the ``first`` model of a
    cascade, whose scores go to ``choice``.
    """
    from defectkit.deployment.parity import TOLERANCES, Parity
    from defectkit.reporting.evaluation_progress import predict_with_progress

    parity = Parity(
        tolerances=TOLERANCES[exported.exported.precision], thresholds=trained.thresholds
    )
    for prediction in predict_with_progress(
        trained, dataset.split("val"), title="comparing on val", console=console
    ):
        record = prediction.record
        scope, start = prediction.truth.scope, time.perf_counter()
        theirs = exported.find(record.path, scope)
        parity.update(record.image_id, prediction.finding, theirs)
        if first:
            middle = time.perf_counter()
            look = first.model.look(record.path, scope)
            choice.update(
                look=look,
                full=theirs.score,
                defective=record.defective,
                group=record.group,
                seconds=(time.perf_counter() - middle, middle - start),
            )
    return parity


def _way_out(kind: ExportFormat, precision: Precision) -> str:
    if precision != "f32":
        return "Export with --precision f32."
    return f"Export with --format {'onnx' if kind == 'openvino' else 'openvino'}."
