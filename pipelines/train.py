"""``defectkit train``: from a dataset to a run with a model, its history and its pictures."""

# Long: one training from its options to its end, in order.
# The command line reads ``run`` for its help: what is slow to import (torch, numpy and whatever
# uses them, pydantic) is imported inside the functions that need it.

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit import launcher, ranks
from defectkit.devices import choose_device, describe_device
from defectkit.errors import ConfigError
from defectkit.files import read_json
from defectkit.process_settings import own_torch_settings
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import ApproachName, Device

if TYPE_CHECKING:
    import torch

    from defectkit.approaches.fused import EarlierRun
    from defectkit.config import Config
    from defectkit.data.dataset import Dataset
    from defectkit.training.job import TrainingJob
    from defectkit.training.schedule import Budget
    from defectkit.training.state import Learner, TrainState
    from defectkit.training.validation import Validation
    from defectkit.training.validator import Validator


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """Where a run is and what its model reached on validation; ``kept_epoch`` is its epoch.

    Of several ``seeds``: the folder of their runs, the sum of their epochs, and the means.
    """

    run: Path
    epochs: int
    kept_epoch: int | None
    image_ap: float | None
    pixel_ap: float | None
    dice: float | None
    seeds: "tuple[TrainSummary, ...]" = ()


def run(
    *,
    approach: ApproachName | None = None,
    config: "str | Path | Config | None" = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_time: str | float | None = None,
    folds: int | None = None,
    device: Device | None = None,
    seed: int | None = None,
    seeds: int | None = None,
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
        defectkit train --folds 5 --max-time 2h
        defectkit train --seeds 3 --out runs/thrice
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
        folds: Number of folds of training and validation together, for few defective images; every
            image is validated by a network that was not trained on it, and the model is trained on
            all of them.
        seed: Seed of every random draw.
        seeds: Number of trainings with this seed and the next ones, each into a run of its own
            below OUT, to see how much of a result is chance.
        resume: Continue the run in OUT, by default the newest one.
        allow_download: Allow fetching pretrained weights from the network.
        settings: Change of one setting, such as train.lr=3e-4; may be repeated.
        console: Where to report; by default the standard error stream.

    Returns:
        Where the run is and what its model reached.

    Raises:
        DefectkitError: An option, the dataset, the weights or the run folder does not fit, or the
            training failed; its ``exit_code`` is the exit status above.
    """
    from defectkit.config.options import options_as_settings

    options = options_as_settings(
        approach=approach, device=device, seed=seed, epochs=epochs, max_time=max_time, folds=folds
    )
    with ranks.joined():
        if not ranks.is_first():
            console = SafeConsole(quiet=True)
        return _run_together(
            approach=approach,
            config=config,
            data=Path(data) if data else None,
            folder=Path(out) if out else None,
            seeds=seeds,
            resume=resume,
            allow_download=allow_download,
            settings=[*settings, *options],  # an option counts more than a setting
            console=console or SafeConsole(),
        )


def _run_together(
    *,
    approach: ApproachName | None,
    config: "str | Path | Config | None",
    data: Path | None,
    folder: Path | None,
    seeds: int | None,
    resume: bool,
    allow_download: bool,
    settings: Sequence[str],
    console: Console,
) -> TrainSummary:
    """Do ``run``, whose arguments are these; of several processes each one is here."""
    from defectkit.config import Config
    from defectkit.config.options import resolve_config
    from defectkit.training.runs import (
        check_run_folder,
        is_of_this_launch,
        load_resumed_config,
        newest_run,
    )
    from defectkit.training.seeds import check_seeds, first_run

    train = partial(_run, data=data, allow_download=allow_download, console=console)
    with ranks.agreed():
        if seeds is not None:
            check_seeds(seeds)
            ranks.refuse_several("--seeds")
        if launcher.restarts() and folder and is_of_this_launch(folder):
            # As it was begun: the command is the same as at the start.
            resume, config, settings = True, None, ()
        if resume and config is not None:
            raise ConfigError("a resumed run keeps its configuration: drop --config or --resume.")
        if resume:
            begun = (
                first_run(folder) if seeds else folder or newest_run(approach or Config().approach)
            )
            resolved = load_resumed_config(begun, settings)
            folder = folder or begun
        else:
            resolved = resolve_config(config, settings)
        if folder and not seeds:
            check_run_folder(folder, resume=resume)  # before the seconds that importing torch takes
    if seeds is not None:
        return _train_seeds(
            train, resolved, folder, seeds, settings, resume=resume, console=console
        )
    return train(out=folder, config=resolved, resume=resume)


@own_torch_settings()
def _run(
    *,
    data: Path | None,
    out: Path | None,
    config: "Config",
    resume: bool,
    allow_download: bool,
    console: Console,
    of_several: bool = False,
) -> TrainSummary:
    """Load the dataset, try a step, take the run's folder for this process alone, and train.

    Without ``data`` a resumed run takes its own dataset. ``run`` has checked a given ``out``.
    ``of_several`` says that the caller tells how all runs are resumed.
    """
    from defectkit.data.dataset import Dataset
    from defectkit.reporting.plan_tables import measure_with_progress, print_changes
    from defectkit.reporting.training_log import describe_training, tell_how_to_resume
    from defectkit.training import runs
    from defectkit.training.checkpoint import has_checkpoint
    from defectkit.training.distributed import check_processes
    from defectkit.training.job import make_job
    from defectkit.training.plan import make_plan
    from defectkit.training.run_info import read_run_info

    with ranks.agreed():
        before = read_run_info(out) if out and resume else {}
        dataset = Dataset.load(data or Path(before.get("dataset_folder", "dataset")))
        runs.check_dataset(dataset, config.approach)
        if out:
            runs.check_same_dataset(out, dataset, before)
        device = choose_device(config.device)
    if config.plan and not resume:  # a run to resume has its settings
        measure = partial(measure_with_progress, dataset, console)
        plan = ranks.by_first(lambda: make_plan(measure(), config))
        print_changes(console, plan)
        config = plan.config
    with ranks.agreed():
        check_processes(config, device)
    if config.train.folds:
        return _train_folds(
            dataset,
            out,
            config,
            before=before,
            allow_download=allow_download,
            console=console,
            of_several=of_several,
        )
    with ranks.agreed():
        earlier = _load_earlier_run(config, dataset, out, before=before, console=console)
        job = make_job(dataset, config, earlier=earlier, allow_download=allow_download)
        trying = not (out and before and has_checkpoint(out / "checkpoints"))
    if ranks.from_first(trying):
        job = job.tried(device)
    # Not for what was refused so far.
    out = ranks.by_first(lambda: out or runs.create_run_folder(config.approach))
    with ExitStack() as claimed:
        with ranks.agreed():
            if ranks.is_first():
                claimed.enter_context(runs.lock_run(out, resume=resume))
        if not of_several:
            claimed.enter_context(tell_how_to_resume(console, out))
        _train(job, dataset, config, out, before=before, console=console)
        return ranks.by_first(
            lambda: _summarize(out, console, **describe_training(job, out, device))
        )


def _load_earlier_run(
    config: "Config",
    dataset: "Dataset",
    out: Path | None,
    *,
    before: Mapping[str, Any],
    console: Console,
) -> "EarlierRun | None":
    """Return the run that novelty is fused with, if it is.

    A run ``out`` to resume, whose ``run.json`` was ``before``, may have it in its own model.
    """
    from defectkit.deployment.fusing import load_run_to_fuse, take_over, take_over_again

    if config.novelty.fuse is None:
        return None
    if out and before and (kept := take_over_again(out, identity=before["identity"])):
        return kept
    model = load_run_to_fuse(Path(config.novelty.fuse), dataset)
    console.print(
        f"fused with {config.novelty.fuse}: {model.approach.config.approach}, epoch "
        f"{model.info['epoch']}",
        markup=False,
        soft_wrap=True,
    )
    return take_over(model)


def _train_seeds(
    train: Callable[..., TrainSummary],
    config: "Config",
    folder: Path | None,
    count: int,
    settings: Sequence[str],
    *,
    resume: bool,
    console: Console,
) -> TrainSummary:
    """Call ``train``, which is ``_run``, for each seed, and tell how far the results differ."""
    from defectkit.config.options import resolve_config
    from defectkit.reporting.training_log import print_seeds, tell_how_to_resume
    from defectkit.tables import table_rows, write_table
    from defectkit.training import runs
    from defectkit.training.seeds import (
        METRICS,
        SEEDS_TABLE,
        check_table,
        run_of_seed,
        tabulate_seeds,
    )

    seeds = range(config.seed, config.seed + count)
    configs = {seed: resolve_config(config, [f"seed={seed}"]) for seed in seeds}
    out = folder or runs.create_run_folder(config.approach)
    check_table(out, resume=resume)
    changes = [one for one in settings if one.partition("=")[0].strip() != "seed"]
    begun = set()
    for seed in seeds:  # all of them, before any is trained
        run = run_of_seed(out, seed)
        if resume and (run / "config.yaml").is_file():
            begun.add(seed)
            configs[seed] = runs.load_resumed_config(run, changes)
        runs.check_run_folder(run, resume=seed in begun)
    summaries = []
    with tell_how_to_resume(console, out, seeds=count):
        for number, seed in enumerate(seeds, start=1):
            console.print(f"\n[bold]seed {seed}[/], {number} of {count}")
            run, resumed = run_of_seed(out, seed), seed in begun
            summaries.append(train(out=run, config=configs[seed], resume=resumed, of_several=True))
    rows = [
        {"seed": seed, "run": one.run.name, **{name: getattr(one, name) for name in METRICS}}
        for seed, one in zip(seeds, summaries, strict=True)
    ]
    table = tabulate_seeds(rows)
    write_table(out / SEEDS_TABLE, table)
    print_seeds(console, table, out)
    means = next(row for row in table_rows(table) if row["seed"] == "mean")
    return TrainSummary(
        run=out,
        epochs=sum(one.epochs for one in summaries),
        kept_epoch=None,
        **{name: means[name] for name in METRICS},
        seeds=tuple(summaries),
    )


def _train_folds(
    dataset: "Dataset",
    out: Path | None,
    config: "Config",
    *,
    before: Mapping[str, Any],
    allow_download: bool,
    console: Console,
    of_several: bool,
) -> TrainSummary:
    """Train on all folds but one, for each of them, and at last on all images.

    The trainings of the folds are runs of their own, in ``folds/`` of the run ``out``.
    """
    from defectkit.config import save_config
    from defectkit.deployment.out_of_fold import validate_out_of_fold
    from defectkit.reporting.training_log import tell_how_to_resume
    from defectkit.training import runs
    from defectkit.training.folds import (
        FOLDER,
        RUN_SETTINGS,
        config_of_fold,
        config_of_last,
        make_folds,
        trains_the_same,
    )
    from defectkit.training.job import make_job
    from defectkit.training.run_info import read_run_info, record_status
    from defectkit.training.schedule import CAUTION

    count, device = config.train.folds or 0, choose_device(config.device)
    folds = make_folds(dataset, count, seed=config.seed)
    records = [record for record in dataset.records if record.split != "test"]
    make = partial(make_job, allow_download=allow_download)
    tried = make(folds[0], config).tried(device, images=len(records))
    validation_seconds = CAUTION * tried.expected.validation(len(records))
    own = config_of_fold(config, validation_seconds=validation_seconds)
    last = config_of_last(
        config, validation_seconds=validation_seconds, samples_per_epoch=len(tried.samples)
    )
    for fold in folds[1:]:  # what these refuse is refused before hours are spent on the first
        tried.approach.samples(fold, fold.split("train"))
    out = out or runs.create_run_folder(config.approach)  # not for what was refused so far
    in_folders = [(out / FOLDER / f"fold-{n}", fold) for n, fold in enumerate(folds, start=1)]
    info = _describe_run(tried, dataset, config, before)
    facts = {RUN_SETTINGS: info["config"]}
    tell = nullcontext() if of_several else tell_how_to_resume(console, out)
    with runs.lock_run(out, resume=bool(before)), tell, record_status(out, info):
        save_config(config, out / "config.yaml")
        for number, (folder, fold) in enumerate(in_folders, start=1):
            console.print(f"\n[bold]fold {number} of {count}[/]")
            earlier = read_run_info(folder) if (folder / "run.json").is_file() else {}
            is_same = trains_the_same(earlier.get(RUN_SETTINGS, {}), info["config"])
            if earlier.get("status") == "finished" and is_same:
                console.print("finished before")
                continue
            job = replace(make(fold, own), expected=tried.expected)
            with runs.lock_run(folder, resume=bool(earlier)):
                _train(job, fold, own, folder, before=earlier, facts=facts, console=console)
        console.print("\n[bold]the model, of all images[/]")
        job = replace(make(dataset, last, records=records), expected=tried.expected)
        choose = partial(validate_out_of_fold, out, job.approach, in_folders)
        job = replace(job, out_of_fold=choose)
        _train(job, dataset, config, out, before=before, console=console)
        return _summarize(out, console)


def _describe_run(
    job: "TrainingJob", dataset: "Dataset", config: "Config", before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of ``run.json``; ``before`` is that of a run to resume, else empty."""
    from defectkit.training.reduced_precision import describe_precision
    from defectkit.training.run_info import make_run_info

    device = choose_device(config.device)
    precision = describe_precision(job.network, config.train, device)
    return make_run_info(
        dataset, config, before, device=describe_device(device), precision=precision
    )


def _train(
    job: "TrainingJob",
    dataset: "Dataset",
    config: "Config",
    out: Path,
    *,
    before: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    console: Console,
) -> None:
    """Do a job, whose dataset and configuration are told, in the run ``out``.

    ``before`` is the ``run.json`` of a run to resume, else empty; ``facts`` are added to the new
    one.
    """
    from defectkit.config import save_config
    from defectkit.deployment.best_model import describe_dataset, repair_model
    from defectkit.reporting.drawing import training_progress
    from defectkit.reporting.progress import Progress
    from defectkit.reporting.training_log import print_introduction, print_other_precision
    from defectkit.training.checkpoint import has_checkpoint
    from defectkit.training.failures import explain_failures
    from defectkit.training.run_info import record_status

    device = choose_device(config.device)
    run_info = {**_describe_run(job, dataset, config, before), **(facts or {})}

    def prepare() -> bool:
        """Return whether there is something to resume."""
        if before and not job.out_of_fold:  # else the model is written at the end alone
            repair_model(out, identity=run_info["identity"])
        # A run that was stopped before its first checkpoint starts again.
        if has_checkpoint(out / "checkpoints"):
            return True
        training_progress.draw_augmentations(out / "augmentations.png", job.samples, dataset)
        return False

    resuming = ranks.by_first(prepare)
    print_introduction(console, job, dataset, device=device, out=out)
    if before and not resuming and job.network.learns and not job.out_of_fold:
        console.print("no epoch was finished: starting from epoch 1")
    if resuming and before.get("precision", run_info["precision"]) != run_info["precision"]:
        print_other_precision(console, str(before["precision"]), run_info["precision"])

    with ExitStack() as recorded:
        with ranks.agreed():
            if ranks.is_first():
                # After the status: drawing takes its time.
                recorded.enter_context(training_progress.write_gif_after_failure(out))
                recorded.enter_context(record_status(out, run_info))
                # After run.json: a run that has its configuration can be resumed.
                save_config(config, out / "config.yaml")
        recorded.enter_context(explain_failures(config))
        on_progress = recorded.enter_context(Progress(console, "starting")).update
        train: Callable[..., None] = train_in_one_pass
        if job.network.learns:
            train = partial(train_epochs, resuming=resuming)
        train(
            job,
            out=out,
            device=device,
            dataset_facts=describe_dataset(dataset),
            identity=run_info["identity"],
            console=console,
            on_progress=on_progress,
        )
        ranks.by_first(partial(training_progress.write_progress_gif, out))


def train_epochs(
    job: "TrainingJob",
    *,
    out: Path,
    device: "torch.device",
    dataset_facts: dict[str, Any],
    identity: str,
    resuming: bool,
    console: Console,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> None:
    """Train until epochs or time are over, or nothing improves; write each epoch to ``out``.

    Between the epochs a part of the validation images is validated, and at the end all of them, for
    the model that is kept. Of several processes the first one writes.

    Raises:
        NotFiniteError: the loss, its gradient or a score is not finite.
        TrainingError: there is nothing to resume.
    """
    import torch

    from defectkit.deployment.best_model import save_best_model
    from defectkit.reporting.training_log import print_finished
    from defectkit.training.distributed import ending_together, share_learner
    from defectkit.training.hard_places import find_hard_places
    from defectkit.training.loader import EpochLoader, batches_of_one
    from defectkit.training.loop import train_one_epoch
    from defectkit.training.schedule import Budget
    from defectkit.training.shared_weights import fit_together
    from defectkit.training.state import TrainState, build_learner, load_state
    from defectkit.training.validator import Validator

    approach, samples, config = job.approach, job.samples, job.approach.config
    network = job.network.to(device).to(memory_format=torch.channels_last)
    if not resuming:  # a checkpoint has what is fitted
        fit_together(network, lambda: network.fit_before_training(batches_of_one(samples, device)))
    learner = build_learner(network, config.train, device)
    evaluated = learner.evaluated
    loader = EpochLoader(samples, config, workers=config.data.workers, device=device)
    validator = Validator(job, network=evaluated, device=device)
    state = TrainState(validation_seconds=validator.expected_seconds)
    if resuming:
        loaded = ranks.by_first(partial(load_state, out, learner, identity=identity))
        state = share_learner(learner, loaded)
    budget = Budget(config.train, len(loader), state.seconds, state.validation_seconds)
    if resuming and state.is_finished(config.train, budget):
        print_finished(console, out, state.epoch)
    save = partial(
        save_best_model, out, approach, evaluated, identity=identity, dataset_facts=dataset_facts
    )
    with loader:  # its processes end first, whatever happens
        while not state.is_finished(config.train, budget):
            state.hard_places = find_hard_places(
                approach, evaluated, samples, known=state.hard_places, epoch=state.epoch
            )
            with ending_together():
                result = train_one_epoch(
                    approach, learner, loader, state, budget, on_progress=on_progress
                )
            validation = validator.after_epoch(state, budget, result, on_progress=on_progress)
            state.add_epoch(result, validation, seconds=budget.elapsed())
            ranks.by_first(partial(_write_epoch, out, state, learner, validation, save,
                budget=budget, console=console, identity=identity))  # fmt: skip
    _settle(job, out, state, validator, save, identity=identity, console=console)


def _write_epoch(
    out: Path,
    state: "TrainState",
    learner: "Learner",
    validation: "Validation | None",
    save: Callable[..., None],
    *,
    budget: "Budget",
    identity: str,
    console: Console,
) -> None:
    """Write what an epoch has changed, and print its line; ``save`` writes the model.

    The checkpoint comes last: a run that is killed before it repeats the epoch, and then writes the
    same row, model and picture again; nothing of a finished epoch is lost.
    """
    from defectkit.reporting.drawing.training_progress import draw_epoch
    from defectkit.reporting.training_log import print_epoch
    from defectkit.training.history import write_history
    from defectkit.training.state import save_state

    write_history(out / "history.csv", state.history)
    if validation and state.is_kept:
        save(validation, epoch=state.epoch)
    draw_epoch(out, validation, epoch=state.epoch, kept_epoch=state.kept_epoch)
    print_epoch(console, state.history[-1], kept_epoch=state.kept_epoch)
    state.seconds, state.validation_seconds = budget.elapsed(), budget.validation_seconds
    save_state(out, state, learner, identity=identity)


def _settle(
    job: "TrainingJob",
    out: Path,
    state: "TrainState",
    validator: "Validator",
    save: Callable[..., None],
    *,
    identity: str,
    console: Console,
) -> None:
    """Validate all images for the model that is kept, unless that was done; ``save`` writes it."""
    from defectkit.deployment.best_model import is_settled, load_kept_weights
    from defectkit.reporting.training_log import print_validation
    from defectkit.training.shared_weights import share_weights

    # A run that is killed before this has a model whose thresholds rest on a part of the images.
    images, epoch = len(job.validation_records), state.epoch if state.is_kept else None
    settled = partial(is_settled, out, identity=identity, epoch=epoch, images=images)
    if ranks.by_first(settled):
        return
    if epoch is None:
        # By its own account: one that was killed between model and checkpoint has a later epoch.
        epoch = ranks.by_first(partial(load_kept_weights, out, validator.network))
        share_weights(validator.network)
    validation = validator.at_the_end()
    ranks.by_first(partial(save, validation, epoch=epoch))
    print_validation(console, validation, job, epoch=epoch)


def train_in_one_pass(
    job: "TrainingJob",
    *,
    out: Path,
    device: "torch.device",
    dataset_facts: dict[str, Any],
    identity: str,
    console: Console,
    on_progress: Callable[[float, str], None] = lambda *_: None,
) -> None:
    """Fit a network that learns nothing by gradients, and write it to ``out`` as its only epoch.

    There is no checkpoint: a resumed run makes the pass again, unless it has its model.
    """
    import torch

    from defectkit.deployment.best_model import is_settled, save_best_model
    from defectkit.reporting.drawing.training_progress import draw_epoch
    from defectkit.reporting.training_log import print_epoch
    from defectkit.training.history import write_history
    from defectkit.training.loop import fit_in_one_pass
    from defectkit.training.schedule import Budget
    from defectkit.training.state import TrainState
    from defectkit.training.validator import Validator

    if is_settled(out, identity=identity, epoch=1, images=len(job.validation_records)):
        console.print(f"{out} is finished", markup=False)
        return
    network = job.network.to(device).to(memory_format=torch.channels_last)
    validator, state = Validator(job, network=network, device=device), TrainState()
    one_epoch = job.approach.config.train.model_copy(update={"epochs": 1})
    seconds = validator.expected_seconds
    budget = Budget(one_epoch, len(job.samples), validation_seconds=seconds)
    result = fit_in_one_pass(
        network, job.samples, state, budget, device=device, on_progress=on_progress
    )
    on_progress(1.0, "validation")
    validation = validator.at_the_end()
    state.add_epoch(result, validation, seconds=budget.elapsed())
    write_history(out / "history.csv", state.history)
    save_best_model(out, job.approach, network, validation, epoch=state.epoch, identity=identity,
                    dataset_facts=dataset_facts)  # fmt: skip
    draw_epoch(out, validation, epoch=state.epoch, kept_epoch=state.kept_epoch)
    print_epoch(console, state.history[-1], kept_epoch=state.kept_epoch)


def _summarize(out: Path, console: Console, **told: str) -> TrainSummary:
    """Print the end of the run with what ``print_end`` takes, and return its summary."""
    from defectkit.reporting.training_log import print_end
    from defectkit.training.history import read_history

    model = read_json(out / "model" / "model.json")
    print_end(console, out, model, **told)
    validation = model["validation"]
    return TrainSummary(
        run=out,
        epochs=len(read_history(out / "history.csv")),
        kept_epoch=model["epoch"],
        image_ap=validation["image_average_precision"],
        pixel_ap=validation["pixel_average_precision"],
        dice=validation["dice"],
    )
