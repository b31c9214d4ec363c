"""``segment``: a network scores every pixel of the image for every defect class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from defectkit.approaches.crop_samples import CropSamples, check_side
from defectkit.approaches.graphs import SegmentGraph, run_graph
from defectkit.approaches.passes import Passes
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.approaches.whole_images import Scored, find_by_scores
from defectkit.arrays import Image, ImageBatch
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.losses import (
    Layout,
    choose_layout,
    count_outputs,
    segmentation_losses,
)
from defectkit.models.network import Network
from defectkit.models.segmentation.fcn import build_fcn
from defectkit.models.segmentation.segmenter import (
    HeadedSegmenter,
    Segmenter,
    SegmenterOutput,
    build_pixel_net,
    build_segnet,
    build_smp,
)
from defectkit.models.weights import encoder_weights
from defectkit.vocabulary import Amp


@dataclass(frozen=True)
class Segment:
    """Scores of pixels by a U-Net, SegNet, FCN or another segmentation network."""

    config: Config
    classes: tuple[str, ...]
    channels: int
    tuning: Tuning = UNTUNED

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes, which it tells apart."""
        return self.classes

    @property
    def layout(self) -> Layout:
        """The meaning of the network's output channels."""
        loss = self.config.loss
        return choose_layout(cross_entropy=loss.cross_entropy, classes=loss.classes)

    @property
    def one_class(self) -> bool:
        """Whether all pixels of a region get its class."""
        return self.layout == "apart"

    @property
    def _window(self) -> int:
        """Side in pixels of what the network judges as a whole: that of its training samples."""
        return self.config.data.resize or self.config.data.crop

    def network(self, *, allow_download: bool = False) -> Segmenter:
        """Build the network, with pretrained weights as ``model.weights`` says.

        Raises:
            ModelError: the architecture, encoder, weights and size of samples do not fit each
                other.
        """
        network = self._build(allow_download=allow_download)
        network.reduce(self.config.model.input_reduction)
        check_side(self.config, divisor=network.size_divisor, resize=self.config.data.resize)
        return network

    def _build(self, *, allow_download: bool) -> Segmenter:
        model = self.config.model
        channels = {
            "in_channels": self.channels,
            "out_channels": count_outputs(len(self.classes), self.layout),
        }
        match model.architecture:
            case "segnet":
                return build_segnet(**channels)
            case "pixel_net":
                return build_pixel_net(**channels)
        state = encoder_weights(model.weights, model.encoder, allow_download=allow_download)
        match model.architecture:
            case "fcn":
                return build_fcn(
                    **channels,
                    encoder=model.encoder,
                    state=state,
                    transposed=model.upsampling == "transposed",
                )
            case architecture:
                return build_smp(
                    **channels,
                    architecture=architecture,
                    encoder=model.encoder,
                    decoder_channels=model.decoder_channels,
                    state=state,
                    class_head=self.layout == "apart" and len(self.classes) > 1,
                    image_window=(
                        self._window // model.input_reduction if self.config.loss.image else None
                    ),
                )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> CropSamples:
        """Crops of the records' images with their masks, augmented."""
        return CropSamples(self.config, dataset, records)

    def loss(self, network: Network, inputs: torch.Tensor, targets: Any) -> dict[str, torch.Tensor]:
        """Named terms and ``loss``, their weighted sum; ``targets`` are those of ``samples``."""
        masks, counted = targets, None
        if isinstance(targets, dict):
            masks, counted = targets["masks"], targets["counted"]
        outputs: SegmenterOutput = network(inputs)
        return segmentation_losses(
            outputs.pixels,
            masks,
            image_logits=outputs.images,
            counted=counted,
            **self.config.loss.model_dump(),
        )

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image (H, W, C) of any size; equal sizes share a batch."""
        return find_by_scores(
            partial(self._score, network),
            images,
            self.classes,
            tuning=self.tuning,
            one_class=self.one_class,
            scopes=scopes,
        )

    def passes(self, network: Network) -> Passes:
        """How images of any size go through the network."""
        infer, resize = self.config.infer, self.config.data.resize
        return Passes(
            tile=infer.tile,
            overlap=infer.overlap,
            margin=0 if resize else infer.margin,
            divisor=network.size_divisor,
            resize=resize,
        )

    def graph(
        self, network: Network, *, any_defect: bool = False, amp: Amp = "off"
    ) -> SegmentGraph:
        """All that is done to the pixels of an image that goes through the network at once.

        With ``any_defect``, to tell whether there is a defect: of one class, and in one pass. The
        network computes in the precision ``amp``, by default in 32 bits.
        """
        if any_defect and isinstance(network, HeadedSegmenter):
            network = network.without_classes()
        return SegmentGraph(
            network,
            layout=self.layout,
            margin=self.passes(network).margin,
            flip=self.config.infer.flip and not any_defect,
            any_defect=any_defect,
            amp=amp,
        )

    def _score(self, network: Network, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) of any size."""
        device = next(network.parameters()).device
        graph = self.graph(network, amp=self.config.infer.amp)
        run = partial(run_graph, graph, device=device)
        return self.passes(network).score(run, batch, n_classes=len(self.classes))
