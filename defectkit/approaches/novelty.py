"""``novelty``: what is unlike all good images, whether or not such a defect was ever labeled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch

from defectkit.approaches.good_samples import GoodSamples
from defectkit.approaches.graphs import NoveltyGraph, run_graph
from defectkit.approaches.passes import Passes
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.approaches.whole_images import Scored, find_by_scores
from defectkit.arrays import Image, ImageBatch
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.network import Network
from defectkit.models.novelty.patch_core import MARGIN, REDUCTIONS, PatchCore, build_patch_core
from defectkit.models.weights import encoder_weights
from defectkit.regions import DEFECT_OR_NOT


@dataclass(frozen=True)
class Novelty:
    """Distances of features to those of good images. Several classes it does not tell apart."""

    config: Config
    classes: tuple[str, ...]
    channels: int
    tuning: Tuning = UNTUNED
    one_class: ClassVar[bool] = False
    """Whether all pixels of a region get its class."""

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The only class, or none of several."""
        return self.classes if len(self.classes) == 1 else DEFECT_OR_NOT

    def network(self, *, allow_download: bool = False) -> PatchCore:
        """Build the network, with pretrained weights as ``model.weights`` says.

        Raises:
            ModelError: the encoder and its weights do not fit each other.
        """
        model = self.config.model
        return build_patch_core(
            in_channels=self.channels,
            encoder=model.encoder,
            bank=self.config.novelty.bank,
            seed=self.config.seed,
            state=encoder_weights(model.weights, model.encoder, allow_download=allow_download),
        )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> GoodSamples:
        """The good images among the records."""
        return GoodSamples(self.config, dataset, records)

    def loss(self, network: Network, *_: Any) -> dict[str, torch.Tensor]:
        """Never called: the network learns nothing by gradients."""
        raise AssertionError(f"{type(network).__name__} learns nothing by gradients")

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image (H, W, C) of any size; equal sizes share a batch."""
        return find_by_scores(
            partial(self._score, network),
            images,
            self.found_classes,
            tuning=self.tuning,
            scopes=scopes,
        )

    def _score(self, network: Network, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) of any size."""
        run = partial(run_graph, self.graph(network), device=next(network.parameters()).device)
        return self.passes(network).score(run, batch, n_classes=1)

    def graph(self, network: Network, *, any_defect: bool = False) -> NoveltyGraph:  # noqa: ARG002
        """All that is done to the pixels of an image that goes through the network at once.

        It has one class with ``any_defect`` and without.
        """
        return NoveltyGraph(network)

    def passes(self, _: Network) -> Passes:
        """How images of any size go through the network."""
        infer = self.config.infer
        return Passes(tile=infer.tile, overlap=infer.overlap, margin=MARGIN, divisor=REDUCTIONS[-1])
