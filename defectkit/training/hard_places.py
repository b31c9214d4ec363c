"""Hard places: good pixels of training images that the network takes for defects."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from defectkit import ranks
from defectkit.approaches.interface import Approach, Samples
from defectkit.approaches.sample_draws import HardPlace, cuts_crops, in_turn
from defectkit.evaluation.prediction import Prediction, batch_size_for, predict
from defectkit.models.network import Network

PIXELS_PER_TRAINED = 0.05
"""Pixels that are scored before an epoch, for each that is trained on in it: about 3 % of its time,
as measured."""
PLACES_PER_IMAGE = 2
"""Max. number of places in one image."""
MAX_PLACES = 512
"""Max. number of places in all: those with the highest scores are kept."""
LABEL_MARGIN = 8
"""Pixels around labeled defects that are not taken for good: labels are not exact."""


def find_hard_places(
    approach: Approach,
    network: Network,
    samples: Samples,
    *,
    known: Sequence[HardPlace],
    epoch: int,
) -> list[HardPlace]:
    """Score the next part of the training images after ``epoch``; return the hardest good places.

    All images come in turn, epoch by epoch; what is ``known`` of others is kept. Where images are
    large, there is none in most epochs. Before the first epoch, where ``data.hard_negatives`` is 0,
    and where samples are no crops, there are no places.

    Raises:
        NotFiniteError: a score is not finite; the message names the image.
    """
    config = approach.config
    if not config.data.hard_negatives or not cuts_crops(config) or epoch == 0:
        return []
    records = samples.records
    size = sum(record.height * record.width for record in records) / len(records)
    trained = len(samples) * config.data.crop**2
    per_epoch = min(PIXELS_PER_TRAINED * trained / size, len(records))
    due = range(math.floor((epoch - 1) * per_epoch), math.floor(epoch * per_epoch))
    turns = (in_turn(number, len(records), (config.seed, 0)) for number in due)
    scored = [records[number] for number in sorted({number for _, number in turns})]
    if not scored:
        return list(known)
    ids = {record.image_id for record in scored}
    places = [place for place in known if place.image_id not in ids]
    network.eval()
    found: list[HardPlace] = []
    with ranks.agreed():
        own = scored[ranks.rank() :: ranks.world()]
        for prediction in predict(approach, network, own, batch_size=batch_size_for(network)):
            found += _hardest_places(prediction, apart=config.data.crop // 2)
    places += ranks.from_first([place for part in ranks.gather(found) for place in part])
    places.sort(key=lambda place: (-place.score, place[:3]))
    return places[:MAX_PLACES]


def _hardest_places(prediction: Prediction, *, apart: int) -> list[HardPlace]:
    """Return the good pixels with the highest scores, more than ``apart`` pixels apart."""
    scope, truth = prediction.truth.scope, prediction.truth.mask.view(np.uint8)
    side = 2 * LABEL_MARGIN + 1
    good = cv2.dilate(truth, np.ones((side, side), np.uint8)) == 0
    if scope.counted is not None:
        good &= scope.counted
    scores = np.where(good, prediction.finding.defect_map, 0)
    places = []
    for _ in range(PLACES_PER_IMAGE):
        row, column = (int(place) for place in np.unravel_index(scores.argmax(), scores.shape))
        score = float(scores[row, column])
        if score == 0:
            break
        places.append(HardPlace(prediction.record.image_id, row, column, score))
        around = (slice(max(start - apart, 0), start + apart + 1) for start in (row, column))
        scores[tuple(around)] = 0
    return places
