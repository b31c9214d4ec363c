"""``defectkit plan``: the settings that a training on a dataset would have, and why."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them, pydantic) is imported inside the functions that need it.

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.terminal import SafeConsole
from defectkit.vocabulary import ApproachName

if TYPE_CHECKING:
    from defectkit.config import Config
    from defectkit.training.plan import Plan


def run(
    data: str | Path = "dataset",
    *,
    approach: ApproachName | None = None,
    config: "str | Path | Config | None" = None,
    epochs: int | None = None,
    max_time: str | float | None = None,
    settings: Sequence[str] = (),
    console: Console | None = None,
) -> "Plan":
    """Show what prepare measured of a dataset, and the settings that follow from it.

    Train makes the same plan, prints where it differs from the defaults, and keeps it in the run's
    config.yaml. A setting that is given, in a configuration or with --set, is not planned.

    Examples:
        defectkit plan dataset
        defectkit plan dataset --approach box --max-time 25m
        defectkit plan dataset --set data.crop=384

    Args:
        data: The dataset folder; by default dataset.
        approach: The approach: patch, box, segment or novelty; by default segment.
        config: A YAML file, or the name of a shipped configuration.
        epochs: Number of epochs.
        max_time: Wall-clock limit, such as 90s, 20m or 1.5h.
        settings: Change of one setting, such as train.lr=3e-4; may be repeated.
        console: Where to report; by default the standard error stream.

    Returns:
        The facts of the dataset, the planned settings, and the complete configuration.

    Raises:
        DefectkitError: An option, the dataset or one of its images does not fit.
    """
    from defectkit.config.options import options_as_settings, resolve_config
    from defectkit.data.dataset import Dataset
    from defectkit.reporting.plan_tables import measure_with_progress, print_facts, print_plan
    from defectkit.training.plan import make_plan
    from defectkit.training.runs import check_dataset

    console = console or SafeConsole()
    options = options_as_settings(
        approach=approach, device=None, seed=None, epochs=epochs, max_time=max_time
    )
    resolved = resolve_config(config, [*settings, *options])
    dataset = Dataset.load(data)
    check_dataset(dataset, resolved.approach)
    plan = make_plan(measure_with_progress(dataset, console), resolved)
    print_facts(console, plan.facts)
    print_plan(console, plan)
    return plan
