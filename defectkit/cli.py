"""The command line: one typer command per pipeline.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once. The exit
statuses are those of ``errors.py``.
"""

import signal
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from defectkit import __version__
from defectkit.errors import INTERRUPTED, TERMINATED, DefectkitError

app = typer.Typer(
    name="defectkit",
    help="Find texture and surface defects: from label files to verdicts and overlays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
configs_app = typer.Typer(
    help="List, show and copy the shipped configurations.", no_args_is_help=True
)
app.add_typer(configs_app, name="configs", rich_help_panel="More")
labels_app = typer.Typer(help="Write labels back out in other forms.", no_args_is_help=True)
app.add_typer(labels_app, name="labels", rich_help_panel="More")

console = Console(stderr=True)


class RleBase(StrEnum):
    """How the first pixel is numbered."""

    auto = "auto"
    zero = "0"
    one = "1"


class RleOrder(StrEnum):
    """In which direction pixels are numbered."""

    auto = "auto"
    column = "column"
    row = "row"


class LabelFormat(StrEnum):
    """The forms of labels."""

    auto = "auto"
    csv = "csv"
    coco = "coco"
    masks = "masks"
    labelme = "labelme"
    voc = "voc"
    yolo = "yolo"


class WrittenFormat(StrEnum):
    """The forms in which labels are written back out."""

    csv = "csv"
    coco = "coco"
    masks = "masks"


class Unlisted(StrEnum):
    """What images are that no label file names."""

    ignore = "ignore"
    good = "good"


class ApproachChoice(StrEnum):
    """The ways of finding defects."""

    patch = "patch"
    box = "box"
    segment = "segment"


class DeviceChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class SplitChoice(StrEnum):
    """The parts of a dataset."""

    train = "train"
    val = "val"
    test = "test"


DeviceOption = Annotated[
    DeviceChoice, typer.Option(help="Where to compute; auto takes a GPU if there is one.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel="Main job")
def prepare(
    source: Annotated[
        Path, typer.Argument(help="The label file, or the folder of label files or masks.")
    ],
    label_format: Annotated[
        LabelFormat, typer.Option("--format", help="The form of the labels; auto looks.")
    ] = LabelFormat.auto,
    images: Annotated[
        Path | None, typer.Option(help="Image folder; by default found beside the labels.")
    ] = None,
    meta: Annotated[
        Path | None, typer.Option(help="CSV with a row per image: ImageId and group, split, lot.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The dataset folder to write.")] = Path("dataset"),
    rle_base: Annotated[
        RleBase, typer.Option(help="Number of the first pixel; auto reads it from the data.")
    ] = RleBase.auto,
    rle_order: Annotated[
        RleOrder, typer.Option(help="column: down, then right. row: right, then down.")
    ] = RleOrder.auto,
    group_by: Annotated[
        str | None,
        typer.Option(help="A column, or a regular expression on the id: groups are never divided."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Parts for training, validation and test.")
    ] = "0.7/0.15/0.15",
    pixel_pitch: Annotated[float | None, typer.Option(help="Millimeters per pixel.")] = None,
    unlisted: Annotated[
        Unlisted, typer.Option(help="What images are that nothing names.")
    ] = Unlisted.ignore,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Refuse bad rows in the ledger and go on.")
    ] = False,
    allow_leaks: Annotated[
        bool,
        typer.Option("--allow-leaks", help="Keep a given split that divides copies of an image."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides the split.", min=0)] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one per processor.", min=0)
    ] = None,
) -> None:
    """Turn a label file into a proven dataset: masks, boxes, splits, a ledger of every row.

    **Examples**

        defectkit prepare train.csv

        defectkit prepare train.csv --meta images.csv --out dataset

        defectkit prepare instances.json --images photos

        defectkit prepare masks --group-by '^(lot\\d+)_'

        defectkit prepare labels.csv --images photos --rle-base 0 --group-by '^(lot\\d+)_'
    """  # noqa: D301 - \\d is meant for the reader of the help
    from defectkit.api import prepare as run

    run(
        source,
        label_format=label_format.value,
        images=images,
        meta=meta,
        out=out,
        rle_base=rle_base.value,
        rle_order=rle_order.value,
        group_by=group_by,
        split=split,
        pixel_pitch=pixel_pitch,
        unlisted=unlisted.value,
        skip_bad_rows=skip_bad_rows,
        allow_leaks=allow_leaks,
        seed=seed,
        workers=workers,
        console=console,
    )


@app.command(rich_help_panel="Main job")
def train(
    approach: Annotated[
        ApproachChoice | None, typer.Option(help="The way of finding defects.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file, or the name of a shipped configuration.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; by default dataset/.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/APPROACH-N.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.", min=1)] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="Wall-clock limit, such as 90s, 20m, 1.5h; the schedule is fitted to it."
        ),
    ] = None,
    device: Annotated[
        DeviceChoice | None,
        typer.Option(help="Where to compute; auto takes a GPU if there is one."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Every random draw is keyed by it.", min=0)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the newest one.")
    ] = False,
    allow_download: Annotated[
        bool,
        typer.Option(
            "--allow-download", help="Pretrained weights may be fetched from the network."
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    ] = None,
) -> None:
    """Train on a dataset and write a run: model, history, curves, pictures of the progress.

    **Examples**

        defectkit train --approach segment

        defectkit train --max-time 25m --data dataset --out runs/tiles

        defectkit train --config segnet --set train.lr=3e-4

        defectkit train --resume --out runs/tiles

    **Exit status**: 0 finished, 2 a mistake to mend, 3 the loss is not finite, 4 a loader process
    died, 5 too little memory, 6 the disk is full, 130 Ctrl+C, 143 SIGTERM. Whichever it is, the
    last checkpoint stays: go on with --resume, or evaluate what there is.
    """
    from defectkit.api import train as run

    run(
        approach=approach.value if approach else None,
        config=config,
        data=data,
        out=out,
        epochs=epochs,
        max_time=max_time,
        device=device.value if device else None,
        seed=seed,
        resume=resume,
        allow_download=allow_download,
        settings=set_ or (),
        console=console,
    )


@app.command(rich_help_panel="Main job")
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    split: Annotated[SplitChoice, typer.Option(help="The split to judge on.")] = SplitChoice.test,
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; by default the one it was trained on.")
    ] = None,
    max_escape_rate: Annotated[
        float | None,
        typer.Option(help="Largest part of defective images that may be called good."),
    ] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="How many overkills one escape costs.")
    ] = None,
    best_f1: Annotated[
        bool, typer.Option("--best-f1", help="Choose the threshold by the best F1 again.")
    ] = False,
    device: DeviceOption = DeviceChoice.auto,
) -> None:
    """Judge a run on images it has not seen: metrics, verdicts, overlays, report.html.

    Thresholds come from the validation split, never from the split that is judged. Those chosen
    with --max-escape-rate, --cost-ratio or --best-f1 are kept in the model: inspect uses them.

    **Examples**

        defectkit evaluate runs/segment-1

        defectkit evaluate runs/segment-1 --max-escape-rate 0.01

        defectkit evaluate runs/segment-1 --cost-ratio 50
    """
    from defectkit.api import evaluate as run_pipeline

    run_pipeline(
        run,
        split=split.value,
        data=data,
        max_escape_rate=max_escape_rate,
        cost_ratio=cost_ratio,
        best_f1=best_f1,
        device=device.value,
        console=console,
    )


@app.command(rich_help_panel="Main job")
def inspect(
    model: Annotated[Path, typer.Argument(help="A run or its model/ folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("inspection"),
    device: DeviceOption = DeviceChoice.auto,
) -> None:
    """Look at new images of any size: verdicts, masks and overlays.

    Files that cannot be read are listed in errors.csv; the work goes on and the exit status is 1.

    **Examples**

        defectkit inspect runs/segment-1 photos/

        defectkit inspect runs/segment-1/model part-17.png --out looked-at
    """
    from defectkit.api import inspect as run_pipeline

    summary = run_pipeline(model, *images, out=out, device=device.value, console=console)
    if summary.unreadable:
        raise typer.Exit(1)


@app.command(rich_help_panel="Main job")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="The run folders.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("comparison"),
    split: Annotated[SplitChoice, typer.Option(help="The split to judge on.")] = SplitChoice.test,
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; by default the one of the first run.")
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
) -> None:
    """Put runs side by side: one table, which differences count, one picture of the same images.

    All runs must have been trained on one dataset. Those that were not evaluated since they were
    trained are evaluated now.

    **Examples**

        defectkit compare runs/*

        defectkit compare runs/patch-1 runs/segment-1 --out patch-or-segment
    """
    from defectkit.api import compare as run_pipeline

    run_pipeline(*runs, out=out, split=split.value, data=data, device=device.value, console=console)


@app.command(rich_help_panel="More")
def suspects(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; by default the one of the run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; by default RUN/suspects.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="How many images to draw.")] = 50,
    device: DeviceOption = DeviceChoice.auto,
) -> None:
    """List the labels that a trained model contradicts: a work list for relabeling.

    Looks at the training and validation images: defects that the model sees and nobody labeled,
    labels of which it sees nothing or another class, copies that are labeled differently, regions
    of a few pixels or that look like their surroundings. Changes nothing.

    **Examples**

        defectkit suspects runs/segment-1

        defectkit suspects runs/segment-1 --most 200 --out relabel
    """
    from defectkit.api import suspects as run_pipeline

    run_pipeline(run, data=data, out=out, most=most, device=device.value, console=console)


@app.command(rich_help_panel="More")
def synth(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    images: Annotated[int, typer.Option(help="How many images.")] = 88,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 512,
    textures: Annotated[int, typer.Option(help="How many texture families, 1 to 6.")] = 6,
    seed: Annotated[int, typer.Option(help="Other seeds give other images.", min=0)] = 0,
    difficulty: Annotated[float, typer.Option(help="0: plain to see, 1: hardly visible.")] = 0.1,
    force: Annotated[bool, typer.Option("--force", help="Replace other labels in OUT.")] = False,
) -> None:
    """Make images of textured surfaces with faint defects, and their label file.

    **Example**

        defectkit synth practice --images 200 --difficulty 0.5
    """
    from defectkit.pipelines import synth as pipeline

    pipeline.run(
        out,
        images=images,
        size=size,
        textures=textures,
        seed=seed,
        difficulty=difficulty,
        force=force,
    )


@labels_app.command("convert")
def labels_convert(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    to: Annotated[WrittenFormat, typer.Option(help="The form to write.")],
    out: Annotated[Path, typer.Option(help="The new file, or folder of masks, to write.")],
    uncompressed: Annotated[
        bool, typer.Option("--uncompressed", help="COCO: the RLE as lists of numbers.")
    ] = False,
) -> None:
    """Write the labels of a prepared dataset as RLE CSV, COCO JSON or mask pictures.

    **Examples**

        defectkit labels convert dataset --to coco --out instances.json

        defectkit labels convert dataset --to masks --out masks
    """
    from defectkit.pipelines import convert

    convert.run(dataset, to=to.value, out=out, compressed=not uncompressed, console=console)


@configs_app.command("ls")
def configs_ls() -> None:
    """List the shipped configurations."""
    from defectkit.configs import summaries

    for name, summary in summaries().items():
        typer.echo(f"{name:20} {summary}")


@configs_app.command("show")
def configs_show(name: Annotated[str, typer.Argument(help="As listed by `configs ls`.")]) -> None:
    """Print a shipped configuration."""
    from defectkit.configs import path_of

    typer.echo(path_of(name).read_text(encoding="utf-8"), nl=False)


@configs_app.command("reference")
def configs_reference() -> None:
    """Print every setting with its default and meaning, as Markdown."""
    from defectkit.config import reference

    typer.echo(reference(), nl=False)


@configs_app.command("copy")
def configs_copy(
    name: Annotated[str, typer.Argument(help="As listed by `configs ls`.")],
    file: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Copy a shipped configuration to a file of your own, to change it."""
    from defectkit.configs import path_of
    from defectkit.errors import OutputError
    from defectkit.files import write_bytes

    if file.exists():
        raise OutputError(f"{file} exists already. Choose another name.")
    write_bytes(file, path_of(name).read_bytes())


def main() -> None:
    """Run the command line; errors of the family end with a message and their exit status."""
    from defectkit.devices import let_idle_threads_sleep

    let_idle_threads_sleep()
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(prog_name="defectkit")
    except DefectkitError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code in (INTERRUPTED, TERMINATED):
            console.print("interrupted; what is finished is on disk. Training: add --resume.")
        raise


def _terminate(*_: object) -> None:
    # As after Ctrl+C, half-written files are removed and run.json tells what happened.
    sys.exit(TERMINATED)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from defectkit.errors import DefectkitWarning

    # Warnings of the libraries are for their developers, not for a vision engineer.
    if issubclass(category, DefectkitWarning):
        console.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False)


if __name__ == "__main__":
    main()
