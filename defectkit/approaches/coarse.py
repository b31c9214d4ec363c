"""A coarse copy of a segmentation network: a quick look, whose decoder ends early.

At the last of its sizes a decoder outlines defects to the pixel, and takes a good third of the time
that the network takes in 8 bits. Whether there is a defect, it knows before. So the copy ends at a
quarter of the image's side, with a layer that is fitted to what the whole network says of the
training images: the largest logit in each square of 4 x 4 pixels. Nothing is trained for it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from defectkit.approaches.graphs import SegmentGraph, run_graph
from defectkit.arrays import ImageBatch
from defectkit.models.losses import defect_probability
from defectkit.models.segmentation.segmenter import HeadedSegmenter

REDUCTION = 4
"""Side in pixels of the squares that a place of the coarse map stands for."""
MAX_FITTED = 10.0
"""Logits are limited to this magnitude, as where the head for whole images reads them."""
RIDGE = 1e-6
"""What is added to the mean squares of the features, so that the least squares are unique."""


def coarse_graph(graph: SegmentGraph, parts: Iterable[ImageBatch]) -> SegmentGraph:
    """Return a graph with a coarse copy of a network, or ``graph`` itself where it can have none.

    It can where the network has a decoder in blocks that goes beyond a quarter of the side, and
    where the heads read the logits of defects, not those of a background.

    Args:
        graph: gives one class, any defect.
        parts: (B, H, W, C) uint8, of which the layer learns what the whole network says.
    """
    network = graph.network
    if not isinstance(network, HeadedSegmenter) or graph.layout == "exclusive":
        return graph
    blocks = network.first_blocks(REDUCTION)
    if blocks is None:
        return graph
    device = next(network.parameters()).device
    fit = _Fit()
    with _outputs_of(blocks[-1]) as features, _outputs_of(network.body.segmentation_head) as logits:
        for part in parts:
            run_graph(graph, part, device)
            whole = torch.logit(defect_probability(logits.pop(), graph.layout), eps=1e-7)
            largest = F.max_pool2d(whole, REDUCTION).clamp(-MAX_FITTED, MAX_FITTED)
            fit.update(features.pop(), largest)
    # Enlarged to the size that the heads and the margin are made for.
    head = nn.Sequential(fit.layer().to(device), nn.Upsample(scale_factor=float(REDUCTION)))
    return SegmentGraph(
        network.ended_after(blocks, head),
        layout="overlapping",
        margin=graph.margin,
        flip=graph.flip,
        any_defect=True,
    )


class _Fit:
    """Least squares: a layer of 1 x 1 pixels from maps (B, F, h, w) to maps (B, 1, h, w)."""

    def __init__(self) -> None:
        self._squares: torch.Tensor | float = 0.0
        self._products: torch.Tensor | float = 0.0
        self._count = 0

    def update(self, features: torch.Tensor, values: torch.Tensor) -> None:
        known = torch.cat([features, torch.ones_like(features[:, :1])], dim=1).double()
        known = known.transpose(0, 1).flatten(1)  # (F + 1, places)
        self._squares = self._squares + known @ known.T
        self._products = self._products + known @ values.double().flatten()
        self._count += known.shape[1]

    def layer(self) -> nn.Conv2d:
        assert isinstance(self._squares, torch.Tensor)
        ridge = RIDGE * self._count * torch.eye(len(self._squares)).to(self._squares)
        weights = torch.linalg.solve(self._squares + ridge, self._products).float()
        layer = nn.Conv2d(len(weights) - 1, 1, 1)
        layer.load_state_dict({"weight": weights[None, :-1, None, None], "bias": weights[-1:]})
        return layer.eval()


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Yield a list that gets the outputs of a module, call by call."""
    outputs: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()
