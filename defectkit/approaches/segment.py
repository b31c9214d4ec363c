"""``segment``: a network scores every pixel of the image for every defect class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from defectkit.approaches.crop_samples import CropSamples, check_side
from defectkit.approaches.passes import Passes
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.approaches.whole_images import Scored, find_by_scores
from defectkit.arrays import Image, ImageBatch, ScoreMap
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import pad_image
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.models.losses import (
    Layout,
    choose_layout,
    class_probabilities,
    count_outputs,
    segmentation_losses,
)
from defectkit.models.network import Network, require_finite
from defectkit.models.segmentation.segmenter import (
    Segmenter,
    SegmenterOutput,
    build_fcn,
    build_pixel_net,
    build_segnet,
    build_smp,
)
from defectkit.models.weights import encoder_weights


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
                    image_window=self._window if self.config.loss.image else None,
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
            one_class=self.layout == "apart",
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

    def _score(self, network: Network, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) of any size."""
        run = partial(self._probabilities, network)
        return self.passes(network).score(run, batch, n_classes=len(self.classes))

    def _probabilities(self, network: Network, batch: ImageBatch) -> Scored:
        """Score (B, H, W, C) in one pass, or with ``infer.flip`` in two, mirrored and averaged."""
        scores, decisions = self._pass(network, batch)
        if self.config.infer.flip:
            mirrored, others = self._pass(network, batch[:, :, ::-1])
            scores = np.float32(0.5) * (scores + mirrored[..., ::-1])
            if decisions is not None and others is not None:
                decisions = np.float32(0.5) * (decisions + others)
        return scores, decisions

    def _pass(self, network: Network, batch: ImageBatch) -> Scored:
        height, width = batch.shape[1:3]
        margin = self.passes(network).margin
        around = ((margin, margin), (margin, margin), (0, 0))
        padded = np.stack(
            [
                pad_image(np.pad(image, around, mode="symmetric"), network.size_divisor)
                for image in batch
            ]
        )
        device = next(network.parameters()).device
        images = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device)
        inside = slice(margin, margin + height), slice(margin, margin + width)
        with torch.inference_mode():
            outputs: SegmenterOutput = network(images)
            logits = outputs.pixels[:, :, *inside]
            scores: ScoreMap = class_probabilities(logits, self.layout).cpu().numpy()
            if outputs.images is None:
                return scores, None
            require_finite(outputs.images)
            return scores, outputs.images.float().cpu().numpy()
