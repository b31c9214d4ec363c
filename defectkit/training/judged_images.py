"""What validation keeps of predictions: sums and a few numbers of each image, no images.

Several processes each judge a part of the images; added up in the order of the images, theirs are
those of one process to the last bit.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace

import numpy as np

from defectkit import ranks
from defectkit.approaches.fused import Fused
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.interface import Approach
from defectkit.arrays import BoolArray
from defectkit.data.dataset import ImageRecord
from defectkit.evaluation.drift import measure_image
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.evaluation.region_tuning import RegionTuning
from defectkit.models.network import Network

GATHERED = 16
"""Number of images that each of several processes judges before the first one adds them up."""


class JudgedImages:
    """Images with their predictions, added one by one or those of another one."""

    def __init__(self, approach: Approach, watched_ids: Set[str] = frozenset()) -> None:
        """Start without images; the predictions of ``watched_ids`` are kept."""
        # What is fused is found as before: the trained approach is tuned already.
        self.kept = approach.tuning if isinstance(approach, Fused) else None
        self.classes = approach.found_classes
        self.pixels = PixelMetrics(
            classes=self.classes, threshold=self.kept.pixel_threshold if self.kept else None
        )
        self.regions = RegionTuning(min_area=approach.tuning.min_area)
        self.watched_ids = watched_ids
        self.watched: list[Prediction] = []
        self.scores: list[float] = []
        self.witnesses: list[tuple[float, float | None] | None] = []
        self.truth: list[bool] = []
        self.groups: list[str] = []
        self.gray: list[tuple[float, float]] = []

    @property
    def defective(self) -> BoolArray:
        """Whether each image is defective, (N,)."""
        return np.array(self.truth)

    def add(self, prediction: Prediction) -> None:
        """Add an image."""
        judged = prediction.truth.as_found(self.classes)
        self.pixels.update(prediction.finding.score_map, judged)
        if not self.kept:
            self.regions.update(prediction.finding.defect_map, prediction.truth)
        self.scores.append(prediction.finding.score)
        self.witnesses.append(prediction.finding.witnesses)
        self.truth.append(prediction.record.defective)
        self.groups.append(prediction.record.group)
        self.gray.append(measure_image(prediction.image, prediction.truth.scope))
        if prediction.record.image_id in self.watched_ids:
            self.watched.append(prediction)

    def merge(self, other: "JudgedImages") -> None:
        """Add the images of ``other``, after those that are there."""
        self.pixels.merge(other.pixels)
        self.regions.merge(other.regions)
        for name in ("watched", "scores", "witnesses", "truth", "groups", "gray"):
            getattr(self, name).extend(getattr(other, name))

    def watched_with(self, image_mix: ImageMix) -> tuple[Prediction, ...]:
        """Return the predictions that are kept, with the scores that their images get from now on.

        Those without witnesses keep their score.
        """
        return tuple(
            replace(one, finding=replace(one.finding, score=image_mix.score(*witnesses)))
            if (witnesses := one.finding.witnesses)
            else one
            for one in self.watched
        )


def judge(
    approach: Approach, predictions: Iterable[Prediction], *, watched_ids: Set[str] = frozenset()
) -> JudgedImages:
    """Return the judged images of predictions, each held only until the next."""
    images = JudgedImages(approach, watched_ids)
    for prediction in predictions:
        images.add(prediction)
    return images


def judge_records(
    approach: Approach,
    network: Network,
    records: Sequence[ImageRecord],
    *,
    watched_ids: Set[str] = frozenset(),
) -> JudgedImages:
    """Return the judged images of records, shared by all processes; they are in the first one.

    Raises:
        DefectkitError: a process cannot read or judge an image; it is raised in all.
    """
    if ranks.world() == 1:
        predictions = predict(approach, network, records, batch_size=batch_size_for(network))
        return judge(approach, predictions, watched_ids=watched_ids)
    images = JudgedImages(approach)
    for one in _judged_one_by_one(approach, network, records, watched_ids):
        images.merge(one)
    return images


def _judged_one_by_one(
    approach: Approach, network: Network, records: Sequence[ImageRecord], watched_ids: Set[str]
) -> Iterator[JudgedImages]:
    """Yield each record's in the first process, in order; the others only do their part."""
    together = GATHERED * ranks.world()
    for start in range(0, len(records), together):
        own = records[start : start + together][ranks.rank() :: ranks.world()]
        judged = []
        with ranks.agreed():
            predictions = predict(approach, network, own, batch_size=batch_size_for(network))
            judged = [judge(approach, [one], watched_ids=watched_ids) for one in predictions]
        parts = ranks.gather(judged)
        for place in range(GATHERED):
            yield from (part[place] for part in parts if place < len(part))
