"""An inspection on a Ray cluster, written by this process as one process writes it.

It deals out batches of files to actors, and puts what comes back in order.
"""

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from rich.console import Console

from defectkit.data.image_search import ImageFile
from defectkit.errors import WorkerError
from defectkit.reporting.inspection import Inspected, InspectionOptions, WatchImage
from defectkit.reporting.ray_actors import MAX_LOSSES, ModelOnNode, RayActors, RayWorker
from defectkit.reporting.ray_connection import connected_to_ray
from defectkit.vocabulary import Device

BATCH = 8
"""Number of files that an actor gets at a time."""
QUEUE = 2
"""Max. number of batches that an actor has: one waits while the other is inspected."""
AHEAD = 4
"""Max. number of batches, for each actor, that are ahead of the first one that is not written."""


class RayEngine:
    """What inspects images on a cluster."""

    def __init__(self, ray: Any, actors: RayActors, model: ModelOnNode) -> None:
        self._ray, self._actors, self._model = ray, actors, model

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of the model's ``model.json``."""
        return self._model.info

    @property
    def described(self) -> Mapping[str, str]:
        """What ``describe_model`` says of the model on the nodes."""
        return self._model.described

    def inspect(
        self,
        files: Sequence[ImageFile],
        options: InspectionOptions,
        *,
        ids: Collection[str],
        done: int,
        watch: WatchImage,  # noqa: ARG002 (nothing is told from node to node)
    ) -> Generator[Inspected, None, None]:
        """Yield what ``Engine.inspect`` says; ``watch`` is told nothing.

        Only so many batches are ahead of the one that is yielded that memory does not grow with the
        number of files.

        Raises:
            WorkerError: no actor can be had, or they are lost with the same files again and again.
        """
        batches = _batches(files)
        unlike = [one for one in ids if "#" in one]  # Other ids are none of a page.
        shared = (self._ray.put(options), self._ray.put(unlike))
        batch_of = {file.number: place for place, batch in enumerate(batches) for file in batch}
        waiting = [*range(len(batches))]  # a heap
        losses, results = Counter[int](), dict[int, list[Inspected]]()
        capacity = self._actors.capacity
        for file in files:
            while file.number not in results:
                # One more than there is room for now: it takes the place of one that is lost, and
                # lets a cluster grow that can.
                there = len(self._actors.workers)
                self._actors.start(min(there + len(waiting), max(capacity, there + 1)))
                first = batch_of[file.number]
                self._deal(batches, waiting, first, shared, (files[0].number, done))
                finished, lost = self._actors.wait()
                for one in finished:
                    results.setdefault(one.file.number, []).append(one)
                for worker in lost:
                    self._take_back(worker, batches, waiting, losses)
            yield from results.pop(file.number)

    def _deal(
        self,
        batches: Sequence[Sequence[ImageFile]],
        waiting: list[int],
        first: int,
        shared: tuple[Any, Any],
        begun: tuple[int, int],
    ) -> None:
        """Give batches to the actors that have room for more, the first ones first."""
        last = first + AHEAD * len(self._actors.workers)
        for length in range(QUEUE):
            for worker in self._actors.workers:
                if not waiting or waiting[0] > last:
                    return
                if len(worker.batches) <= length:
                    batch = heappop(waiting)
                    done = begun[1] if batches[batch][0].number == begun[0] else 0
                    self._actors.submit(worker, batch, batches[batch], *shared, done)

    def _take_back(
        self,
        worker: RayWorker,
        batches: Sequence[Sequence[ImageFile]],
        waiting: list[int],
        losses: Counter[int],
    ) -> None:
        """Let the batches of a lost actor wait again.

        Raises:
            WorkerError: the first of them was lost too often.
        """
        for batch in worker.batches:
            heappush(waiting, batch)
        losses[worker.batches[0]] += 1
        if losses[worker.batches[0]] >= MAX_LOSSES:
            names = ", ".join(file.image_id for file in batches[worker.batches[0]])
            raise WorkerError(
                f"{MAX_LOSSES} actors were lost while they inspected these images: {names}. "
                "One of them may need more memory than a node has: inspect them by one process, "
                "without --engine ray, to see which."
            )


@contextmanager
def open_ray_engine(
    model: str | Path, *, device: Device, address: str | None, console: Console
) -> Iterator[RayEngine]:
    """Connect to a cluster, and yield the engine when one of its actors has loaded the model.

    Raises:
        ConfigError: there is no cluster at the address, or it has another version of defectkit.
        MissingPackageError: Ray is not installed.
        ModelError: the model cannot be loaded.
        WorkerError: no actor can be had.
    """
    with connected_to_ray(address) as ray:
        actors = RayActors(ray, model, device, console)
        try:
            while actors.model is None:
                actors.start(1)
                actors.wait()
            yield RayEngine(ray, actors, actors.model)
        finally:
            actors.close()


def _batches(files: Sequence[ImageFile]) -> list[list[ImageFile]]:
    """Return files in batches, in order.

    Files whose names differ by a ``#`` at the end alone stay together: the ids of their pages,
    which must differ, depend on each other.
    """
    groups: dict[str, list[ImageFile]] = {}
    for file in files:
        groups.setdefault(file.image_id.rstrip("#"), []).append(file)
    batches: list[list[ImageFile]] = []
    for group in groups.values():
        if not batches or len(batches[-1]) >= BATCH:
            batches.append([])
        batches[-1] += group
    return batches
