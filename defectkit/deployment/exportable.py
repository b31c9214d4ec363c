"""Which approaches and networks can be exported, and why the others cannot."""

from typing import Protocol

from torch import nn

from defectkit.approaches.fused import Fused, approach_name, network_name
from defectkit.approaches.interface import Approach
from defectkit.approaches.novelty import Novelty
from defectkit.approaches.passes import Passes
from defectkit.approaches.patch import Patch
from defectkit.approaches.segment import Segment
from defectkit.config import ARCHITECTURES
from defectkit.errors import ExportError
from defectkit.models.classification.tile_classifier import TileClassifier
from defectkit.models.network import Network

BOXES = "a detector gives boxes and no score map, which is what an exported graph gives"
NOT_EXPORTED: dict[str, str] = {
    **dict.fromkeys(ARCHITECTURES["box"], BOXES),
    "fused": "novelty that is fused with a trained approach has two networks, and what they find "
    "is joined outside of both",
    "single tiles": "this encoder classifies one tile at a time, so that a graph of a whole image "
    "would have to hold thousands of tiles at once",
}
"""What cannot be exported, by its architecture or kind, and why; all other models can be."""


class Exportable(Approach, Protocol):
    """An approach whose scores a graph gives."""

    @property
    def one_class(self) -> bool:
        """Whether all pixels of a region get its class."""
        ...

    def graph(self, network: Network, *, any_defect: bool = False) -> nn.Module:
        """Return what is done to the pixels of images that go through the network at once.

        With ``any_defect`` it gives one class, which all others are.
        """
        ...

    def passes(self, network: Network) -> Passes:
        """Return how images of any size go through the network."""
        ...


def exportable(approach: Approach, network: Network) -> Exportable:
    """Return the approach of a model, if that can be exported.

    Raises:
        ExportError: it cannot; the message has the reason.
    """
    kind: str = approach.config.model.architecture
    if isinstance(approach, Fused):
        kind = "fused"
    elif isinstance(network, TileClassifier) and network.stride is None:
        kind = "single tiles"
    if kind in NOT_EXPORTED:
        raise ExportError(
            f"models of {approach_name(approach)} ({network_name(approach)}) cannot be exported: "
            f"{NOT_EXPORTED[kind]}. Inspect with the run itself, where torch is installed, or "
            "export a run of another approach, such as segment."
        )
    assert isinstance(approach, Segment | Patch | Novelty)
    return approach
