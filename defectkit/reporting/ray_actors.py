"""The actors of an inspection on a Ray cluster: processes on its nodes that hold the model.

Ray restarts none: what an actor has would wait until a node is free. Whoever deals out the work
gives what a lost actor had to the others, and asks for a new one.
"""

import os
import time
import warnings
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from defectkit import __version__
from defectkit.data.image_search import ImageFile
from defectkit.deployment.load_model import load_model
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ConfigError, DefectkitError, DefectkitWarning, WorkerError, shown
from defectkit.models.model_folder import model_folder, read_model_info
from defectkit.reporting.drawing.large_overlay import LargeOverlay
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.inspection import Inspected, InspectionOptions
from defectkit.reporting.inspection_progress import describe_model
from defectkit.reporting.inspector import Inspector
from defectkit.terminal import one_line
from defectkit.vocabulary import Device

MAX_LOSSES = 3
"""How often an actor may be lost with the same batch, or in a row before it has the model."""
SECONDS_TO_LOOK = 0.2
"""How long Ray is waited for before signals are heard."""
SECONDS_TO_TELL, SECONDS_FOR_ACTOR = 15.0, 600.0
"""How long no actor may be there before the user is told, and before that is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnNode:
    """What an actor says of the model that it has loaded.

    Attributes:
        node: the address of its node.
        info: the content of ``model.json``.
        described: of ``describe_model``.
        warned: the warnings of loading it.
    """

    node: str
    info: dict[str, Any]
    described: dict[str, str]
    warned: tuple[str, ...]


class InspectionActor:
    """A process on a node of the cluster, with the model."""

    _model: LoadedModel

    def load(self, folder: str, model: str, device: Device) -> ModelOnNode:
        """Load the model; paths, here and later, are those of the driver, from its folder.

        Raises:
            ConfigError: the folder is not there.
            DefectkitError: as ``load_model``.
        """
        try:
            os.chdir(folder)
        except OSError as error:
            raise ConfigError(
                f"the folder {folder} of this command cannot be entered on another node of the "
                f"cluster ({error.strerror}). Run it in a folder that all nodes have."
            ) from error
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", DefectkitWarning)
            self._model = load_model(model, device=device)
        return ModelOnNode(
            node=_node_address(),
            info=self._model.info,
            described=describe_model(self._model),
            warned=tuple(
                str(one.message) for one in warned if issubclass(one.category, DefectkitWarning)
            ),
        )

    def inspect(
        self,
        files: Sequence[ImageFile],
        options: InspectionOptions,
        ids: Collection[str],
        done: int,
    ) -> list[Inspected]:
        """Return what ``Engine.inspect`` yields, in a form that can be sent."""
        inspected = Inspector(self._model).inspect(
            files, options, ids=ids, done=done, watch=lambda *_: None
        )
        return [*map(_to_send, inspected)]


@dataclass(eq=False, slots=True)
class RayWorker:
    """An actor with the model, and the batches it has, the first of which it inspects."""

    actor: Any
    node: str
    batches: deque[int] = field(default_factory=deque)


class RayActors:
    """The actors of an inspection: those that have the model, and those that are to get it."""

    def __init__(self, ray: Any, model: str | Path, device: Device, console: Console) -> None:
        self._ray, self._console = ray, console
        self._arguments = (os.getcwd(), str(model), device)  # noqa: PTH109 (a text)
        resources = ray.cluster_resources()
        exported = read_model_info(model_folder(model)).get("exported")
        on_gpu = device == "cuda" or (device == "auto" and "GPU" in resources and not exported)
        self._needs = {"num_cpus": 1, "num_gpus": int(on_gpu)}
        self._class = ray.remote(InspectionActor)
        self._starting: dict[Any, Any] = {}
        self._lost_at_start = 0
        self._without_actor = time.monotonic()
        self._told = False
        self.workers: list[RayWorker] = []
        self.running: dict[Any, tuple[RayWorker, int]] = {}
        self.model: ModelOnNode | None = None

    @property
    def capacity(self) -> int:
        """Number of actors for which the cluster has processors and GPUs now."""
        resources = self._ray.cluster_resources()
        kind = "GPU" if self._needs["num_gpus"] else "CPU"
        return int(resources.get(kind, 0))

    def start(self, wanted: int) -> None:
        """Ask for actors until as many as ``wanted`` are there or were asked for."""
        while len(self.workers) + len(self._starting) < wanted:
            actor = self._class.options(max_restarts=0, **self._needs).remote()
            self._starting[actor.load.remote(*self._arguments)] = actor

    def submit(self, worker: RayWorker, batch: int, *arguments: Any) -> None:
        """Give a batch to an actor."""
        self.running[worker.actor.inspect.remote(*arguments)] = (worker, batch)
        worker.batches.append(batch)

    def wait(self) -> tuple[list[Inspected], list[RayWorker]]:
        """Wait a moment; return the images of a batch that is done, and the actors that were lost.

        Raises:
            DefectkitError: an actor has raised it, or no actor can be had.
        """
        waited = [*self._starting, *self.running]
        ready, _ = self._ray.wait(waited, num_returns=1, timeout=SECONDS_TO_LOOK)
        done, lost = list[Inspected](), list[RayWorker]()
        for ref in ready:
            if ref in self._starting:
                self._admit(ref)
                continue
            worker, batch = self.running.pop(ref)
            try:
                done += self._get(ref)
                worker.batches.remove(batch)
            except self._ray.exceptions.RayError as error:
                self._drop(worker, error)
                lost.append(worker)
        self._check_patience()
        return done, lost

    def close(self) -> None:
        """End all actors."""
        for actor in [*self._starting.values(), *(worker.actor for worker in self.workers)]:
            self._ray.kill(actor)
        self._starting, self.workers, self.running = {}, [], {}

    def _get(self, ref: Any) -> Any:
        """Return a result.

        Raises:
            DefectkitError: the actor has raised it.
            RayError: the actor, its node or the result was lost.
        """
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DefectkitError):
                raise error.cause from error
            raise RuntimeError(f"an actor of the cluster has failed: {error}") from error

    def _admit(self, ref: Any) -> None:
        """Let an actor work that has loaded the model.

        Raises:
            ConfigError: it has other packages, another device or another model than the first.
            WorkerError: actors end again and again.
        """
        actor = self._starting.pop(ref)
        try:
            model: ModelOnNode = self._get(ref)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)
            self._lost_at_start += 1
            if self._lost_at_start >= MAX_LOSSES:
                raise WorkerError(
                    f"{MAX_LOSSES} actors ended before they had the model: {_reason(error)}. "
                    "Install the same defectkit on all nodes, and see the logs of Ray."
                ) from error
            return
        if self.model is None:
            self.model = model
            for text in model.warned:
                warnings.warn(text, DefectkitWarning, stacklevel=2)
            first, where = {"the version of defectkit": __version__}, "this process"
        else:
            first, where = self.model.described, self.model.node
        for name, value in first.items():
            if model.described[name] != value:
                raise ConfigError(
                    f"{name} is {shown(value)} in {where}, and {shown(model.described[name])} on "
                    f"the node {model.node}: the results would differ. Install the same on all "
                    "nodes, and use nodes of one kind; --device cpu leaves GPUs out."
                )
        self._lost_at_start, self._told = 0, False
        self.workers.append(RayWorker(actor, model.node))

    def _drop(self, worker: RayWorker, error: Exception) -> None:
        self._ray.kill(worker.actor)
        self.workers.remove(worker)
        self.running = {ref: one for ref, one in self.running.items() if one[0] is not worker}
        told = f"an actor on node {worker.node} was lost ({_reason(error)}); its images are "
        self._console.print(f"[yellow]note:[/] {one_line(told)}inspected again", highlight=False)

    def _check_patience(self) -> None:
        """Tell the user when no actor is there for long.

        Raises:
            WorkerError: the cluster gives none.
        """
        if self.workers:
            self._without_actor = time.monotonic()
            return
        seconds, resources = time.monotonic() - self._without_actor, self._ray.cluster_resources()
        has = ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        wants = f"an actor needs 1 CPU{' and 1 GPU' if self._needs['num_gpus'] else ''}"
        if seconds > SECONDS_FOR_ACTOR:
            raise WorkerError(
                f"the Ray cluster has given no actor for {seconds:.0f} s: it has {has}, and "
                f"{wants}. Add a node, or wait until others have ended; --resume continues."
            )
        if seconds > SECONDS_TO_TELL and not self._told:
            self._told = True
            self._console.print(
                f"waiting for the Ray cluster: it has {has}, and {wants}", highlight=False
            )


def _to_send(inspected: Inspected) -> Inspected:
    """Return what is to be written with bytes of its own: views of memory are not sent."""
    if not (overlay := inspected.overlay):
        return inspected
    if isinstance(overlay, LargeOverlay):
        overlay = overlay.encode()
    preview = None if overlay.preview is None else bytes(overlay.preview)
    return replace(inspected, overlay=EncodedOverlay(bytes(overlay.picture), preview))


def _node_address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
