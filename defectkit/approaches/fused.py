"""``novelty`` fused with a trained approach: what that one knows, and what is new to both.

Shapes: K classes, an image of H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import cv2
import numpy as np
import torch
from scipy import special

from defectkit.approaches.good_samples import GoodSamples
from defectkit.approaches.image_mix import ImageMix, add_novelty, logit
from defectkit.approaches.interface import Approach
from defectkit.approaches.novelty import Novelty
from defectkit.approaches.score_maps import best_class, find_regions, image_score
from defectkit.approaches.tuning import UNTUNED, Tuning
from defectkit.arrays import Image, Mask, ScoreMap
from defectkit.config import Config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.findings import NO_CLASS, Finding, best_layers
from defectkit.labels.scope import EVERYWHERE, Scope
from defectkit.models.network import Network
from defectkit.models.novelty.fused_network import FusedNetwork

REACH = 32
"""Pixels around what the trained approach finds that novelty says nothing of: features of a place
see that far, so beside a defect everything is unlike good images."""


@dataclass(frozen=True, eq=False)
class EarlierRun:
    """What novelty is fused with: a tuned approach, its network, and the identity of its run."""

    approach: Approach
    network: Network
    identity: str


@dataclass(frozen=True)
class Fused:
    """The findings of a trained approach, and the novel places that it does not see.

    Novelty adds to the score map where the trained approach finds nothing near; all that this one
    finds stays as it is. The scores of novel places are stretched so that ``novelty_threshold`` of
    the tuning, which good images rarely reach, becomes the pixel threshold, which is that of the
    trained approach. Which class a novel place has is told by the trained approach, too: the one
    that it thinks most likely there. Where all are equally likely, it has none, and all layers of
    the score map have its scores.

    The odds of an image's score are the sum of the trained approach's and of those of its most
    novel place.
    """

    novelty: Novelty
    trained: Approach
    """Has its own configuration and tuning, those of the run that it was trained in."""
    tuning: Tuning = UNTUNED
    trained_run: str = ""
    """The identity of the run that it was trained in."""

    @property
    def config(self) -> Config:
        """The configuration of the run that fused both."""
        return self.novelty.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labels."""
        return self.trained.classes

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The classes that the trained approach tells apart."""
        return self.trained.found_classes

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.trained.channels

    def network(self, *, allow_download: bool = False) -> FusedNetwork:
        """Build both networks; the weights of the trained one are still to be loaded.

        Raises:
            ModelError: an encoder and its weights do not fit each other.
        """
        return FusedNetwork(
            trained=self.trained.network(),
            novelty=self.novelty.network(allow_download=allow_download),
        )

    def samples(self, dataset: Dataset, records: Sequence[ImageRecord]) -> GoodSamples:
        """The good images among the records."""
        return self.novelty.samples(dataset, records)

    def loss(self, network: Network, *_: Any) -> dict[str, torch.Tensor]:
        """Never called: nothing is learned by gradients."""
        return self.novelty.loss(network)

    def find(
        self, network: Network, images: Sequence[Image], scopes: Sequence[Scope] = ()
    ) -> list[Finding]:
        """Return the finding of each image (H, W, C) of any size; equal sizes share a batch."""
        assert isinstance(network, FusedNetwork)
        known = self.trained.find(network.trained, images, scopes)
        novel = self.novelty.find(network.novelty, images, scopes)
        everywhere = scopes or [EVERYWHERE] * len(images)
        return [self._fuse(*one) for one in zip(known, novel, everywhere, strict=True)]

    def tuned(self, novelty_threshold: float | None) -> Self:
        """Return it with a novelty threshold, and all else as the trained approach is tuned.

        A larger minimum area of its own stays: that of novel places.
        """
        tuning = self.trained.tuning
        own = {
            "image_mix": ImageMix(),
            "min_area": max(self.tuning.min_area, tuning.min_area),
            "novelty_threshold": novelty_threshold,
        }
        return replace(self, tuning=tuning.model_copy(update=own))

    def _fuse(self, known: Finding, novel: Finding, scope: Scope) -> Finding:
        """Return the finding of an image from those of both."""
        threshold = self.tuning.novelty_threshold
        fused = replace(
            known,
            score=add_novelty(known.score, novel.score, threshold),
            witnesses=None,  # they were mixed as the trained approach was tuned
        )
        if threshold is None:
            return fused
        return self._add_novel_places(fused, novel.defect_map, scope)

    def _add_novel_places(self, known: Finding, novelty: ScoreMap, scope: Scope) -> Finding:
        """Return a finding with the novel places, of scores (H, W), that it has nothing near."""
        unseen = self._stretch(novelty)
        unseen[_within_reach(known)] = 0.0
        above_0 = max(self.tuning.pixel_threshold, float(np.finfo(np.float32).tiny))
        # The region threshold is that of known regions.
        tuning = self.tuning.model_copy(
            update={"region_threshold": 0.0, "pixel_threshold": above_0}
        )
        added_map, added = find_regions(unseen, tuning=tuning, scope=scope)
        layers = best_layers(known.score_map)  # (H, W): the most likely class of each pixel
        regions = []
        for number, region in enumerate(added, start=1):
            own = added_map[region.window] == number
            index = best_class(known.score_map[:, *region.window][:, own])
            layers[region.window][own] = index
            class_id = "" if index == NO_CLASS else self.found_classes[index]
            regions.append(replace(region, class_id=class_id, mask=own))
        largest = np.maximum(known.defect_map, unseen)
        of_layer = layers == np.arange(len(known.score_map))[:, None, None]
        scores = np.where(of_layer | (layers == NO_CLASS), largest, known.score_map)
        added_map[added_map > 0] += known.region_map.max()
        raised = np.array([image_score(one, scope.counted) for one in scores], np.float32)
        return replace(
            known,
            score_map=scores,
            region_map=np.maximum(known.region_map, added_map),
            regions=(*known.regions, *regions),
            class_scores=np.maximum(known.class_scores, raised),
            # Without detections the boxes to rank are those of the map, as of other approaches.
            detections=(*known.detections, *regions) if known.detections else (),
        )

    def _stretch(self, novelty: ScoreMap) -> ScoreMap:
        """Return scores of novelty (H, W) on the scale of the score map, by their odds."""
        assert self.tuning.novelty_threshold is not None
        shift = logit(self.tuning.pixel_threshold) - logit(self.tuning.novelty_threshold)
        stretched: ScoreMap = special.expit(special.logit(novelty) + np.float32(shift))
        return stretched


def approach_name(approach: Approach) -> str:
    """Return the name of an approach as people read it: that of a fused one names both."""
    name: str = approach.config.approach
    return f"{name} + {approach_name(approach.trained)}" if isinstance(approach, Fused) else name


def network_name(approach: Approach) -> str:
    """Return the name of an approach's network; those of a fused one are both named."""
    name: str = approach.config.model.architecture
    return f"{name} + {network_name(approach.trained)}" if isinstance(approach, Fused) else name


def _within_reach(finding: Finding) -> Mask:
    """Return the pixels near what is found, (H, W) bool."""
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    near: Mask = cv2.dilate(finding.mask.view(np.uint8), square).view(np.bool_)
    return near
