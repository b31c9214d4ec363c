"""Graphs: what an approach does to an image in torch, from its pixels as read to its scores.

Inspection runs a graph, and an export writes it: what is inside of it cannot differ between both.
All that depends on an image's content is inside: normalization, reflected borders, the network,
probabilities. Images that are too large for one pass go through it in parts (``passes.py``).

Shapes: B images of H x W pixels, C channels, K classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from defectkit.approaches.image_mix import MAX_LOGIT, ImageMix
from defectkit.approaches.score_maps import SCORE_WINDOW
from defectkit.approaches.whole_images import Scored
from defectkit.arrays import ImageBatch, ScoreMap
from defectkit.devices import computing_in
from defectkit.models.classification.tile_classifier import (
    TileClassifier,
    score_densely,
    score_one_by_one,
)
from defectkit.models.losses import Layout, class_probabilities, defect_probability
from defectkit.models.mirroring import mirrored_beyond, mirrored_index
from defectkit.models.network import Network, require_finite
from defectkit.models.segmentation.segmenter import SegmenterOutput
from defectkit.vocabulary import Amp

GraphOutput = tuple[torch.Tensor, torch.Tensor | None]
"""Scores (B, K, H, W) float32 in [0, 1], and logits (B,) float32 of whole images, or None."""

SMALLEST = 1e-7
"""Scores are kept this far from 0 and 1 before their logarithm, which ``MAX_LOGIT`` limits."""


class SegmentGraph(nn.Module):
    """Images (B, H, W, C) uint8 -> ``GraphOutput`` of a segmentation network."""

    def __init__(
        self,
        network: Network,
        *,
        layout: Layout,
        margin: int,
        flip: bool,
        any_defect: bool = False,
        amp: Amp = "off",
    ) -> None:
        """Reflect images by ``margin`` pixels; with ``flip``, score them mirrored as well.

        With ``any_defect`` there is one class, which all others are. The network computes in
        the precision ``amp``, by default in 32 bits.
        """
        super().__init__()
        self.network = network
        self.layout = layout
        self.margin = margin
        self.flip = flip
        self.amp = amp
        self.probabilities = defect_probability if any_defect else class_probabilities

    def forward(self, images: torch.Tensor) -> GraphOutput:
        """Score images in one pass, or with ``flip`` in two, of which it takes the mean.

        Raises:
            NotFiniteError: the network's outputs are not finite; not in an exported graph.
        """
        scores, decisions = self._pass(images)
        if self.flip:
            mirrored, others = self._pass(images.flip(2))
            scores = 0.5 * (scores + mirrored.flip(3))
            if decisions is not None and others is not None:
                decisions = 0.5 * (decisions + others)
        return scores, decisions

    def _pass(self, images: torch.Tensor) -> GraphOutput:
        height, width = images.shape[1:3]
        rows, columns = (
            mirrored_beyond(length, margin=self.margin, divisor=self.network.size_divisor)
            for length in (height, width)
        )
        wide = images[:, rows.to(images.device)][:, :, columns.to(images.device)]
        with computing_in(self.amp, images.device):
            outputs: SegmenterOutput = self.network(wide.permute(0, 3, 1, 2))
        first = self.margin
        logits = outputs.pixels[:, :, first : first + height, first : first + width]
        scores = self.probabilities(logits, self.layout)
        if outputs.images is None:
            return scores, None
        require_finite(outputs.images)
        return scores, outputs.images.float()


class NoveltyGraph(nn.Module):
    """Images (B, H, W, C) uint8 -> ``GraphOutput`` of a network that knows good images alone."""

    def __init__(self, network: Network) -> None:
        """Take the network, which reflects borders itself."""
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> GraphOutput:
        """Score images by one class.

        Raises:
            NotFiniteError: the network's outputs are not finite; not in an exported graph.
        """
        logits: torch.Tensor = self.network(images.permute(0, 3, 1, 2))
        return class_probabilities(logits, "overlapping"), None


class PatchGraph(nn.Module):
    """Images (B, H, W, C) uint8 -> ``GraphOutput`` of a network that classifies tiles."""

    def __init__(
        self,
        network: TileClassifier,
        *,
        stride: int,
        one_by_one: bool = False,
        any_defect: bool = False,
        amp: Amp = "off",
    ) -> None:
        """Score tiles at every ``stride`` pixels.

        That is done in dense passes where the network can do that; otherwise, or if ``one_by_one``,
        each tile is cut out and classified on its own. With ``any_defect`` there is one class,
        which all others are. The network computes in the precision ``amp``, by default in 32 bits.
        """
        super().__init__()
        self.network = network
        self.stride = stride
        self.amp = amp
        self.dense = network.stride is not None and not one_by_one
        self.probabilities = defect_probability if any_defect else class_probabilities

    def forward(self, images: torch.Tensor) -> GraphOutput:
        """Give each pixel the mean score of the tiles that it lies in.

        Raises:
            NotFiniteError: the network's outputs are not finite; not in an exported graph.
        """
        scores = self.tile_scores(images)
        rows, columns = (self._mean_weights(length).to(scores) for length in images.shape[1:3])
        means = rows @ scores @ columns.T  # (B, K, H, W)
        return means.clamp(0.0, 1.0), None

    def tile_scores(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, K, h, w): scores in [0, 1] of the tiles.

        They start where ``tile_starts`` says; beyond the border they see the image reflected.

        Raises:
            NotFiniteError: as ``forward``.
        """
        rows, columns = (self._seen(length).to(images.device) for length in images.shape[1:3])
        wide = images[:, rows][:, :, columns].permute(0, 3, 1, 2)
        score = score_densely if self.dense else score_one_by_one
        with computing_in(self.amp, images.device):
            logits = score(self.network, wide, stride=self.stride)
        return self.probabilities(logits, "apart")

    @property
    def _before(self) -> int:
        """Number of tiles that start before the image does."""
        return -(-self.network.tile // self.stride) - 1

    def _seen(self, length: int) -> torch.Tensor:
        """Return the index of the pixels along a side that the tiles and their context see."""
        last = (length - 1) // self.stride * self.stride
        before, after = self._before * self.stride, last + self.network.tile - length
        context = self.network.context
        return mirrored_index(length, before + context, after + context)

    def _mean_weights(self, length: int) -> torch.Tensor:
        """Return the weights of the tiles along a side in each pixel's mean, (length, n)."""
        starts = torch.arange(-self._before, (length - 1) // self.stride + 1) * self.stride
        inside = torch.arange(length)[:, None] - starts  # pixels from the start of each tile
        covers = ((inside >= 0) & (inside < self.network.tile)).float()
        return covers / covers.sum(dim=1, keepdim=True)


class ImageGraph(nn.Module):
    """A graph with the score of each image: what is exported."""

    def __init__(self, graph: nn.Module, mix: ImageMix | None) -> None:
        """Take the scores of ``graph``, and mix those of images by ``mix``, if it is given."""
        super().__init__()
        self.scoring = graph
        self.mix = mix

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``score_map``, ``image_score`` and ``image_logit``, where there are such.

        Args:
            images: (B, H, W, C) uint8, of 5 x 5 pixels or more.
        """
        scores, decisions = self.scoring(images)
        outputs = {"score_map": scores}
        if decisions is not None:
            outputs["image_logit"] = decisions
        if self.mix is not None:
            outputs["image_score"] = image_scores(scores, decisions, self.mix)
        return outputs


def image_scores(
    scores: torch.Tensor, decisions: torch.Tensor | None, mix: ImageMix
) -> torch.Tensor:
    """Return the scores (B,) of images, as ``make_finding`` computes them where all pixels count.

    Args:
        scores: (B, K, H, W) in [0, 1], of 5 x 5 pixels or more.
        decisions: (B,) logits of whole images, or None.
        mix: how both are mixed, where there are logits.
    """
    beyond = SCORE_WINDOW // 2
    rows, columns = (
        mirrored_index(length, beyond, beyond).to(scores.device) for length in scores.shape[2:]
    )
    defect_map = scores.amax(dim=1, keepdim=True).index_select(2, rows).index_select(3, columns)
    means = F.avg_pool2d(defect_map, SCORE_WINDOW, stride=1)
    map_scores = means.amax(dim=(1, 2, 3)).clamp(0.0, 1.0)
    if decisions is None:
        if (mix.alone_weight, mix.alone_bias) == (1.0, 0.0):
            return map_scores
        return torch.sigmoid(mix.alone_weight * _logits(map_scores) + mix.alone_bias)
    return torch.sigmoid(
        mix.map_weight * _logits(map_scores) + mix.image_weight * decisions + mix.bias
    )


def _logits(scores: torch.Tensor) -> torch.Tensor:
    inside = scores.clamp(SMALLEST, 1.0 - SMALLEST)
    return (inside.log() - (1.0 - inside).log()).clamp(-MAX_LOGIT, MAX_LOGIT)


def run_graph(graph: nn.Module, batch: ImageBatch, device: torch.device) -> Scored:
    """Return the scores of images (B, H, W, C) that a graph on ``device`` gives."""
    images = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
    with torch.inference_mode():
        scores, decisions = graph(images)
    maps: ScoreMap = scores.cpu().numpy()
    return maps, None if decisions is None else decisions.cpu().numpy()
