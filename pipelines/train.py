"""``defectkit train``: from a dataset to a run with a model, its history and its pictures."""

# Long: one training from its options to its end, in order.
# The command line reads ``run`` for its help: what is slow to import (torch, numpy and whatever
# uses them, pydantic) is imported inside the functions that need it.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit.devices import choose_device, describe_device
from defectkit.errors import ConfigError
from defectkit.files import read_json
from defectkit.process_settings import own_torch_settings
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import ApproachName, Device

if TYPE_CHECKING:
    import torch

    from defectkit.approaches.interface import Approach, Samples
    from defectkit.config import Config
    from defectkit.data.dataset import Dataset, ImageRecord
    from defectkit.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """Where a run is and what its best epoch reached on validation."""

    run: Path
    epochs: int
    best_epoch: int
    image_ap: float | None
    pixel_ap: float | None
    dice: float | None


def run(
    *,
    approach: ApproachName | None = None,
    config: "str | Path | Config | None" = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_time: str | float | None = None,
    device: Device | None = None,
    seed: int | None = None,
    resume: bool = False,
    allow_download: bool = False,
    settings: Sequence[str] = (),
    console: Console | None = None,
) -> TrainSummary:
    """Train on a dataset and write a run: model, history, curves, pictures of the progress.

    Settings that are not given are planned from the dataset, as plan shows; --set plan=false leaves
    them at their defaults. However it ends, the last checkpoint stays: continue with --resume, or
    evaluate what there is.

    Examples:
        defectkit train --approach segment
        defectkit train --max-time 25m --data dataset --out runs/tiles
        defectkit train --config segnet --set train.lr=3e-4
        defectkit train --resume --out runs/tiles

    Exit status:
        3: training has diverged: the loss, its gradient or a score is not finite.
        4: a worker process died, or could not be started.

    Args:
        approach: The approach: patch, box, segment or novelty; by default segment.
        config: A YAML file, or the name of a shipped configuration.
        data: The dataset folder; by default dataset, or that of the run that is resumed.
        out: The run folder; by default the next free runs/APPROACH-N.
        epochs: Number of epochs.
        max_time: Wall-clock limit, such as 90s, 20m or 1.5h; the schedule is fitted to it.
        device: Where to compute; auto takes a GPU if there is one.
        seed: Seed of every random draw.
        resume: Continue the run in OUT, by default the newest one.
        allow_download: Allow fetching pretrained weights from the network.
        settings: Change of one setting, such as train.lr=3e-4; may be repeated.
        console: Where to report; by default the standard error stream.

    Returns:
        Where the run is and what its best epoch reached.

    Raises:
        DefectkitError: An option, the dataset, the weights or the run folder does not fit, or the
            training failed; its ``exit_code`` is the exit status above.
    """
    from defectkit.config import Config
    from defectkit.config.options import options_as_settings, resolve_config
    from defectkit.training.runs import check_run_folder, load_resumed_config, newest_run

    options = options_as_settings(
        approach=approach, device=device, seed=seed, epochs=epochs, max_time=max_time
    )
    settings = [*settings, *options]  # an option counts more than a setting
    folder = Path(out) if out else None
    if resume and config is not None:
        raise ConfigError("a resumed run keeps its configuration: drop --config or --resume.")
    if resume:
        folder = folder or newest_run(approach or Config().approach)
        resolved = load_resumed_config(folder, settings)
    else:
        resolved = resolve_config(config, settings)
    if folder:
        check_run_folder(folder, resume=resume)  # before the seconds that importing torch takes
    return _run(
        data=Path(data) if data else None,
        out=folder,
        config=resolved,
        resume=resume,
        allow_download=allow_download,
        console=console or SafeConsole(),
    )


@own_torch_settings()
def _run(
    *,
    data: Path | None,
    out: Path | None,
    config: "Config",
    resume: bool,
    allow_download: bool,
    console: Console,
) -> TrainSummary:
    """Load the dataset, try a step, take the run's folder for this process alone, and train.

    Without ``data`` a resumed run takes its own dataset. ``run`` has checked a given ``out``.
    """
    import torch

    from defectkit.approaches.build import build_approach
    from defectkit.data.dataset import Dataset
    from defectkit.reporting.plan_tables import measure_with_progress, print_changes
    from defectkit.training import runs
    from defectkit.training.checkpoint import has_checkpoint
    from defectkit.training.plan import make_plan
    from defectkit.training.trial import try_training

    before = runs.read_run_info(out) if out and resume else {}
    dataset = Dataset.load(data or Path(before.get("dataset_folder", "dataset")))
    runs.check_dataset(dataset, config.approach)
    if out:
        runs.check_same_dataset(out, dataset, before)
    if config.plan and not resume:  # a run to resume has its settings
        plan = make_plan(measure_with_progress(dataset, console), config)
        print_changes(console, plan)
        config = plan.config
    device = choose_device(config.device)
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    torch.manual_seed(config.seed)  # for the weights that are not pretrained
    network = approach.network(allow_download=allow_download)
    samples = approach.samples(dataset, dataset.split("train"))
    seconds = 0.0
    if not (out and before and has_checkpoint(out / "checkpoints")):
        seconds = try_training(approach, network, samples, dataset.split("val"), device)
    out = out or runs.create_run_folder(config.approach)  # not for what was refused so far
    with runs.lock_run(out, resume=resume):
        _train(dataset, out, approach, network, samples, before=before, device=device,
               validation_seconds=seconds, console=console)  # fmt: skip
        return _summarize(out, console)


def _train(
    dataset: "Dataset",
    out: Path,
    approach: "Approach",
    network: "Network",
    samples: "Samples",
    *,
    before: Mapping[str, Any],
    device: "torch.device",
    validation_seconds: float,
    console: Console,
) -> None:
    """Train into ``out``; ``before`` is the ``run.json`` of a run to resume, else empty."""
    from defectkit.config import save_config
    from defectkit.deployment.best_model import describe_dataset, repair_model
    from defectkit.reporting.drawing import training_progress
    from defectkit.reporting.training_log import (
        print_introduction,
        progress_bar,
        tell_how_to_resume,
    )
    from defectkit.training.checkpoint import has_checkpoint
    from defectkit.training.failures import explain_failures
    from defectkit.training.runs import make_run_info, record_status

    config = approach.config
    run_info = make_run_info(dataset, config, describe_device(device), before)
    if before:
        repair_model(out, identity=run_info["identity"])
    # A run that was stopped before its first checkpoint starts again.
    resuming = bool(before) and has_checkpoint(out / "checkpoints")
    if not resuming:
        training_progress.draw_augmentations(out / "augmentations.png", samples, dataset)
    print_introduction(console, approach, network, dataset, samples, device=device, out=out)
    if before and not resuming and network.learns:
        console.print("no epoch was finished: starting from epoch 1")

    with (
        tell_how_to_resume(console, out),
        training_progress.write_gif_after_failure(out),  # after the status: drawing takes its time
        record_status(out, run_info),
        explain_failures(config),
        progress_bar(console) as on_progress,
    ):
        # After run.json: a run that has its configuration can be resumed.
        save_config(config, out / "config.yaml")
        train: Callable[..., None] = train_in_one_pass
        if network.learns:
            train = partial(train_epochs, resuming=resuming)
        train(
            approach,
            network,
            samples=samples,
            validation_records=dataset.split("val"),
            out=out,
            device=device,
            dataset_facts=describe_dataset(dataset),
            identity=run_info["identity"],
            validation_seconds=validation_seconds,
            console=console,
            on_progress=on_progress,
        )
        training_progress.write_progress_gif(out)


def train_epochs(
    approach: "Approach",
    network: "Network",
    *,
    samples: "Samples",
    validation_records: "Sequence[ImageRecord]",
    out: Path,
    device: "torch.device",
    dataset_facts: dict[str, Any],
    identity: str,
    resuming: bool,
    console: Console,
    validation_seconds: float = 0.0,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> None:
    """Train until epochs or time are over, or nothing improves; write each epoch to ``out``.

    Raises:
        NotFiniteError: the loss, its gradient or a score is not finite.
        TrainingError: there is nothing to resume.
    """
    import torch

    from defectkit.deployment.best_model import save_best_model
    from defectkit.reporting.drawing.training_progress import draw_epoch
    from defectkit.reporting.training_log import print_epoch, print_finished
    from defectkit.training.hard_places import find_hard_places
    from defectkit.training.history import write_history
    from defectkit.training.loader import EpochLoader, batches_of_one
    from defectkit.training.loop import train_one_epoch
    from defectkit.training.schedule import Budget
    from defectkit.training.state import TrainState, build_learner, load_state, save_state
    from defectkit.training.validation import WATCHED_IMAGES, validate

    config = approach.config
    network = network.to(device).to(memory_format=torch.channels_last)
    if not resuming:  # a checkpoint has what is fitted
        network.fit_before_training(batches_of_one(samples, device))
    learner = build_learner(network, config.train, device)
    evaluated = learner.evaluated
    loader = EpochLoader(samples, config.train, workers=config.data.workers, device=device)
    fresh = TrainState(validation_seconds=validation_seconds)
    state = load_state(out, learner, identity=identity) if resuming else fresh
    budget = Budget(config.train, len(loader), state.seconds, state.validation_seconds)
    check = partial(validate, approach, evaluated, validation_records, watch=WATCHED_IMAGES)
    if resuming and state.is_finished(config.train, budget):
        print_finished(console, out, state.epoch)
    save_best = partial(save_best_model, out, approach, evaluated, identity=identity)
    with loader:  # its processes end first, whatever happens
        while not state.is_finished(config.train, budget):
            state.hard_places = find_hard_places(
                approach, evaluated, samples, known=state.hard_places, epoch=state.epoch
            )
            result = train_one_epoch(
                approach, learner, loader, state, budget, on_progress=on_progress
            )
            on_progress(budget.progress(state.steps), f"epoch {state.epoch + 1}  validation")
            validation = check(fitted_to=batches_of_one(samples, device))
            budget.validation_seconds = validation.seconds
            state.add_epoch(result, validation, seconds=budget.elapsed())
            # The checkpoint comes last: a run that is killed before it repeats the epoch, and then
            # writes the same row, model and picture again; nothing of a finished epoch is lost.
            write_history(out / "history.csv", state.history)
            if state.is_best:
                save_best(validation, epoch=state.epoch, dataset_facts=dataset_facts)
            draw_epoch(out, validation, epoch=state.epoch, best_epoch=state.best_epoch)
            print_epoch(console, state.history[-1], is_best=state.is_best)
            state.seconds = budget.elapsed()
            save_state(out, state, learner, identity=identity)


def train_in_one_pass(
    approach: "Approach",
    network: "Network",
    *,
    samples: "Samples",
    validation_records: "Sequence[ImageRecord]",
    out: Path,
    device: "torch.device",
    dataset_facts: dict[str, Any],
    identity: str,
    console: Console,
    validation_seconds: float = 0.0,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> None:
    """Fit a network that learns nothing by gradients, and write it to ``out`` as its only epoch.

    There is no checkpoint: a resumed run makes the pass again.
    """
    import torch

    from defectkit.deployment.best_model import save_best_model
    from defectkit.reporting.drawing.training_progress import draw_epoch
    from defectkit.reporting.training_log import print_epoch
    from defectkit.training.history import write_history
    from defectkit.training.loop import fit_in_one_pass
    from defectkit.training.schedule import Budget
    from defectkit.training.state import TrainState
    from defectkit.training.validation import WATCHED_IMAGES, validate

    network = network.to(device).to(memory_format=torch.channels_last)
    state = TrainState()
    one_epoch = approach.config.train.model_copy(update={"epochs": 1})
    budget = Budget(one_epoch, len(samples), validation_seconds=validation_seconds)
    result = fit_in_one_pass(
        network, samples, state, budget, device=device, on_progress=on_progress
    )
    on_progress(1.0, "validation")
    validation = validate(approach, network, validation_records, watch=WATCHED_IMAGES)
    state.add_epoch(result, validation, seconds=budget.elapsed())
    write_history(out / "history.csv", state.history)
    save_best_model(out, approach, network, validation, epoch=state.epoch, identity=identity,
                    dataset_facts=dataset_facts)  # fmt: skip
    draw_epoch(out, validation, epoch=state.epoch, best_epoch=state.best_epoch)
    print_epoch(console, state.history[-1], is_best=True)


def _summarize(out: Path, console: Console) -> TrainSummary:
    """Print the end of the run and return its summary."""
    from defectkit.reporting.training_log import print_end
    from defectkit.training.history import read_history

    model = read_json(out / "model" / "model.json")
    print_end(console, out, model)
    validation = model["validation"]
    return TrainSummary(
        run=out,
        epochs=len(read_history(out / "history.csv")),
        best_epoch=model["epoch"],
        image_ap=validation["image_average_precision"],
        pixel_ap=validation["pixel_average_precision"],
        dice=validation["dice"],
    )
