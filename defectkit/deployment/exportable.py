"""Which approaches and networks can be exported, and why the others cannot."""

from typing import Protocol

from torch import nn

from defectkit.approaches.fused import approach_name
from defectkit.approaches.interface import Approach
from defectkit.approaches.passes import Passes
from defectkit.approaches.segment import Segment
from defectkit.errors import ExportError
from defectkit.models.network import Network


class Exportable(Approach, Protocol):
    """An approach whose scores a graph gives."""

    @property
    def one_class(self) -> bool:
        """Whether all pixels of a region get its class."""
        ...

    def graph(self, network: Network) -> nn.Module:
        """Return what is done to the pixels of images that go through the network at once."""
        ...

    def passes(self, network: Network) -> Passes:
        """Return how images of any size go through the network."""
        ...


def exportable(approach: Approach) -> Exportable:
    """Return the approach, if it can be exported.

    Raises:
        ExportError: it cannot; the message has the reason.
    """
    if isinstance(approach, Segment):
        return approach
    raise ExportError(
        f"models of the approach {approach_name(approach)} cannot be exported yet. Inspect with "
        "the run itself, where torch is installed, or export a run of train --approach segment."
    )
