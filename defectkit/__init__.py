"""defectkit finds texture and surface defects: from run-length-encoded masks to verdicts.

The commands are functions of the same names. With ``train.csv`` and ``Train/`` in the working
folder (20 images, two defect classes):

>>> from defectkit import evaluate, inspect, load, prepare, train
>>> prepare("train.csv", split="0.5/0.25/0.25").images
20
>>> run = train(epochs=1, settings=["data.crop=64", "train.samples_per_epoch=8"]).run
>>> run.as_posix()
'runs/segment-1'
>>> metrics = evaluate(run).metrics
>>> metrics["image"]["n_defective"] + metrics["image"]["n_good"]
5
>>> inspect(run, "Train/part-00.png").unreadable
0
>>> finding = load(run).find(image)                    # (H, W) or (H, W, 3) uint8
>>> finding.score_map.shape, 0 <= finding.score <= 1
((2, 96, 96), True)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectkit import errors

if TYPE_CHECKING:
    from defectkit.deployment.loaded_model import LoadedModel
    from defectkit.pipelines.compare import run as compare
    from defectkit.pipelines.evaluate import run as evaluate
    from defectkit.pipelines.export import run as export
    from defectkit.pipelines.inspect import run as inspect
    from defectkit.pipelines.merge import run as merge
    from defectkit.pipelines.plan import run as plan
    from defectkit.pipelines.prepare import run as prepare
    from defectkit.pipelines.suspects import run as suspects
    from defectkit.pipelines.train import run as train
    from defectkit.vocabulary import Device

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "compare",
    "errors",
    "evaluate",
    "export",
    "inspect",
    "load",
    "merge",
    "plan",
    "prepare",
    "suspects",
    "train",
]


def load(model: "str | Path", *, device: "Device" = "auto") -> "LoadedModel":
    """Load a run, its ``model/`` folder or an exported folder.

    ``load(...).find(image)`` gives a ``Finding``; several threads may call it at a time.

    Raises:
        ModelError: a file is missing or damaged.
        ConfigError: the device is not on this machine.
        MissingPackageError: what computes the model is not installed.
    """
    from defectkit.deployment.load_model import load_model

    return load_model(model, device=device)


def __getattr__(name: str) -> Any:
    # The pipelines are imported when one is asked for: whoever wants a module of the floors below,
    # such as the processes that ``prepare`` starts, does not wait for them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from defectkit.arguments import checked
    from defectkit.pipelines import (
        compare,
        evaluate,
        export,
        inspect,
        merge,
        plan,
        prepare,
        suspects,
        train,
    )

    pipelines = (compare, evaluate, export, inspect, merge, plan, prepare, suspects, train)
    return {run.__name__: run for run in (checked(pipeline.run) for pipeline in pipelines)}[name]


def __dir__() -> list[str]:
    return sorted(__all__)
