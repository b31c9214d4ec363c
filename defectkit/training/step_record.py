"""What the steps of an epoch have said, read from the device now and then.

To read a number is to wait until a GPU has computed it and all that comes before. So loss terms and
the norms of gradients stay on the device, and are read together, every ``READ_EVERY`` steps and at
the end of the epoch. What is not finite is found then: some steps late, but before anything is
saved. A CPU does not wait, so there each step is read before it changes the weights.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import torch
from torch import nn

from defectkit.errors import NotFiniteError

READ_EVERY = 20
"""Number of steps on a GPU from one reading to the next."""
MAX_SKIPPED = 20
"""Number of steps in a row that may be skipped in float16: the factor of the loss, which begins at
65536, has then been halved to 1/16."""

Describe = Callable[[int, Mapping[str, float]], str]
"""Returns the message about a batch, from 0, and its values that are not finite."""


class StepRecord:
    """The loss terms of an epoch's steps, and whether they and the gradients are finite.

    ``scaled`` says that a scaler skips steps whose gradient is not finite; ``skipped`` is the
    number of steps in a row, the last ones, that were skipped.
    """

    def __init__(
        self, device: torch.device, *, scaled: bool, skipped: int, describe: Describe
    ) -> None:
        self.every = 1 if device.type == "cpu" else READ_EVERY
        self.scaled, self.skipped, self.describe = scaled, skipped, describe
        self.sums: dict[str, float] = {}
        self.read_steps = 0
        self._waiting: list[tuple[tuple[str, ...], torch.Tensor]] = []

    def add(self, terms: Mapping[str, torch.Tensor], norm: torch.Tensor) -> None:
        """Record a step whose gradient has a ``norm``, before it changes the weights.

        Raises:
            NotFiniteError: as ``read``, if it is time to read.
        """
        values = [value.detach().float() for value in (*terms.values(), norm)]
        self._waiting.append((tuple(terms), torch.stack(values)))
        if len(self._waiting) >= self.every:
            self.read()

    def read(self) -> None:
        """Read the steps that wait, at once.

        Raises:
            NotFiniteError: a loss or, unless a scaler has skipped the step, a gradient is not
                finite; or too many steps in a row were skipped.
        """
        if not self._waiting:
            return
        values = iter(torch.cat([vector for _, vector in self._waiting]).tolist())
        waiting, self._waiting = self._waiting, []
        for names, _ in waiting:
            terms = {name: next(values) for name in names}
            self._count(terms, norm=next(values))

    def _count(self, terms: Mapping[str, float], *, norm: float) -> None:
        if not math.isfinite(terms["loss"]):
            raise NotFiniteError(self.describe(self.read_steps, terms))
        if math.isfinite(norm):
            self.skipped = 0
        elif self.scaled:
            self.skipped += 1
        else:
            raise NotFiniteError(self.describe(self.read_steps, {"gradient": norm}))
        if self.skipped >= MAX_SKIPPED:
            raise NotFiniteError(
                f"the last {self.skipped} steps changed nothing: their gradients are not finite in "
                "float16, however little the loss is scaled. Start a new run in another precision, "
                "with --set train.amp=bf16 or train.amp=off, or with a lower rate, such as --set "
                "train.lr=1e-4."
            )
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.read_steps += 1

    def describe_loss(self) -> str:
        """Return the mean loss so far for the line of progress; empty before it was read."""
        return f"  loss {self.sums['loss'] / self.read_steps:.4f}" if self.read_steps else ""

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the steps that were read; empty before the first."""
        return {name: total / self.read_steps for name, total in self.sums.items()}


def check_weights(modules: Iterable[nn.Module]) -> None:
    """Check that all weights and statistics are finite, in one reading from the device.

    The last step of an epoch may have spoiled them, and no loss is computed after it.

    Raises:
        NotFiniteError: one is NaN or infinite.
    """
    tensors = chain.from_iterable(chain(one.parameters(), one.buffers()) for one in modules)
    finite = [one.detach().isfinite().all() for one in tensors if one.is_floating_point()]
    if finite and not bool(torch.stack(finite).all()):
        raise NotFiniteError(
            "the network's weights are not finite: its training has diverged. Nothing of this "
            "epoch is saved. Start a new run with a lower rate, such as --set train.lr=1e-4."
        )
