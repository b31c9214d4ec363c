"""``patch``: a network classifies tiles; neighboring defective tiles are one region."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from defectkit.approaches.graphs import PatchGraph, run_graph
from defectkit.approaches.passes import Passes
from defectkit.approaches.tile_labels import tile_starts
from defectkit.approaches.tile_samples import TileSamples
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.approaches.whole_images import Scored, find_by_scores
from defectkit.arrays import Image, ImageBatch
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.classification.all_conv import AllConv
from defectkit.models.classification.classifiers import build_classifier
from defectkit.models.classification.lenet import LeNet
from defectkit.models.classification.tile_classifier import TileClassifier
from defectkit.models.losses import (
    class_loss,
    count_outputs,
    mean_of_counted,
    pixelwise_losses,
)
from defectkit.models.network import Network
from defectkit.models.weights import classifier_weights
from defectkit.vocabulary import Amp


@dataclass(frozen=True)
class Patch:
    """Tiles classified by All-CNN, a LeNet or any timm or torchvision classifier."""

    config: Config
    classes: tuple[str, ...]
    channels: int
    tuning: Tuning = UNTUNED
    one_class: ClassVar[bool] = False
    """Whether all pixels of a region get its class."""

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes, which it tells apart."""
        return self.classes

    def network(self, *, allow_download: bool = False) -> TileClassifier:
        """Build the network, with pretrained weights as ``model.weights`` says.

        Raises:
            ModelError: the network, its weights and the tiles do not fit each other.
        """
        model, patch = self.config.model, self.config.patch
        out_channels = count_outputs(len(self.classes), "apart")
        match model.architecture:
            case "all_conv":
                return AllConv(
                    tile=patch.tile, in_channels=self.channels, out_channels=out_channels
                )
            case "lenet":
                return LeNet(tile=patch.tile, in_channels=self.channels, out_channels=out_channels)
            case _:
                return build_classifier(
                    encoder=model.encoder,
                    tile=patch.tile,
                    context=patch.context,
                    reduction=patch.reduction,
                    in_channels=self.channels,
                    out_channels=out_channels,
                    state=classifier_weights(
                        model.weights, model.encoder, allow_download=allow_download
                    ),
                )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> TileSamples:
        """Tiles of the records' images with their labels, augmented."""
        takes_context = self.config.model.architecture == "classifier"
        context = self.config.patch.context if takes_context else 0
        return TileSamples(self.config, dataset, records, context=context)

    def loss(
        self, network: Network, inputs: torch.Tensor, targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Named terms and ``loss``, their sum: whether a tile is defective, and of which class.

        Tiles (N, C, S, S) and their labels (N, K); a tile counts like an image of one pixel.
        """
        logits = network(inputs)  # (N, K', 1, 1)
        kept = (targets >= 0).all(dim=1)
        labels = (targets * kept[:, None])[:, :, None, None]  # Without a class none is learned.
        terms = {}
        if len(self.classes) > 1:
            terms["classes"] = class_loss(logits, labels)
        pixelwise = pixelwise_losses(logits, labels, "apart")
        terms["bce"] = mean_of_counted(pixelwise, kept[:, None, None])
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image (H, W, C) of any size; equal sizes share a batch."""
        return find_by_scores(
            partial(self._score, network),
            images,
            self.classes,
            tuning=self.tuning,
            scopes=scopes,
        )

    def graph(
        self,
        network: Network,
        *,
        one_by_one: bool = False,
        any_defect: bool = False,
        amp: Amp = "off",
    ) -> PatchGraph:
        """All that is done to the pixels of an image that goes through the network at once.

        With ``any_defect``, to tell whether there is a defect: of one class. The network computes
        in the precision ``amp``, by default in 32 bits.
        """
        assert isinstance(network, TileClassifier)
        return PatchGraph(
            network,
            stride=self.config.patch.stride,
            one_by_one=one_by_one,
            any_defect=any_defect,
            amp=amp,
        )

    def passes(self, network: Network) -> Passes:
        """How images of any size go through the network."""
        assert isinstance(network, TileClassifier)
        infer, patch = self.config.infer, self.config.patch
        beyond = -tile_starts(1, tile=patch.tile, stride=patch.stride)[0]
        return Passes(
            tile=infer.tile,
            overlap=infer.overlap,
            margin=max(int(beyond), 0) + network.context,
            divisor=patch.stride,
        )

    def _score(self, network: Network, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) of any size."""
        device = next(network.parameters()).device
        graph = self.graph(network, amp=self.config.infer.amp)
        run = partial(run_graph, graph, device=device)
        return self.passes(network).score(run, batch, n_classes=len(self.classes))

    def tile_scores(
        self, network: Network, batch: ImageBatch, *, one_by_one: bool = False
    ) -> torch.Tensor:
        """(B, H, W, C) -> (B, K, h, w): scores in [0, 1] of the tiles, as ``PatchGraph`` does."""
        images = torch.from_numpy(batch).to(next(network.parameters()).device)
        with torch.inference_mode():
            return self.graph(network, one_by_one=one_by_one).tile_scores(images)
