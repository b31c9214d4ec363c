"""Which image each training sample shows: all come in turn, in an order that is drawn.

Drawn independently, a third of the images would still be unseen when as many samples were drawn as
there are images.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from defectkit.arrays import Int64Array
from defectkit.config import Config
from defectkit.data.dataset import ImageRecord
from defectkit.regions import Region

CLASS_TURNS = 1000
"""About the number of samples near defects in which each class gets exactly its share."""
SOURCES = 4
"""Number of images from which a defect may be injected into a sample: not all fit."""
ANY_IMAGE, NEAR_DEFECT, SOURCE, PART, INSTEAD_OF_HARD = range(2**31, 2**31 + 5)
"""What comes in turn: the second word of the keys, which no epoch reaches."""


class HardPlace(NamedTuple):
    """A pixel of a training image that shows no defect, and its score in [0, 1]."""

    image_id: str
    row: int
    column: int
    score: float


SampleKey = tuple[int, int] | tuple[int, int, HardPlace]
"""The epoch and the index of a sample; and the place near which it is cut, should it be a hard one:
loader processes, which live for many epochs, get it so."""


class Draw(NamedTuple):
    """The image of a sample, and how often it came before.

    ``class_id`` is the class of the defect near which the sample is cut; None: it is cut anywhere.
    ``key`` is that of the order of its parts. ``sources`` are images of one class of which a
    defect is injected, the first that fits. ``place`` is the row and the column of a hard place
    near which the sample is cut.
    """

    record: ImageRecord
    class_id: str | None
    visit: int
    key: tuple[int, ...]
    sources: "tuple[Draw, ...]" = ()
    place: tuple[int, int] | None = None

    @property
    def region(self) -> Region:
        """The defect near which the sample is cut: all of its class in the image come in turn."""
        regions = [r for r in self.record.regions if r.class_id == self.class_id]
        return regions[self.turn(len(regions))]

    def turn(self, count: int) -> int:
        """Return which of ``count`` parts of the image the sample shows: all come in turn."""
        return in_turn(self.visit, count, self.key)[1]


class SampleDraws:
    """The images of all samples: ``data.defect_fraction`` for a defect, the rest any image.

    Of the first each class gets a share, by ``data.class_balance``.
    """

    def __init__(
        self,
        config: Config,
        records: Sequence[ImageRecord],
        classes: Sequence[str],
        *,
        per_epoch: int,
    ) -> None:
        """Draw from ``records``, ``per_epoch`` samples each epoch."""
        self.seed = config.seed
        self.records = list(records)
        self.per_epoch = per_epoch
        images = {c: [record for record in records if c in record.rles] for c in classes}
        self.by_class = {c: own for c, own in images.items() if own}
        self.defect_fraction = config.data.defect_fraction if self.by_class else 0.0
        self.injection = config.data.injection if self.by_class and cuts_crops(config) else 0.0
        self.hard_negatives = config.data.hard_negatives if cuts_crops(config) else 0.0
        self.by_id = {record.image_id: record for record in records}
        counts = np.array([len(own) for own in self.by_class.values()], float)
        weights = counts ** (1 - config.data.class_balance)
        turns = 1 + np.rint(CLASS_TURNS * weights / weights.sum()).astype(int)
        self.class_turns = np.repeat(np.arange(len(turns)), turns)

    def draw(self, key: SampleKey) -> Draw:
        """Return the image of a sample."""
        epoch, index, *hard = key
        number = epoch * self.per_epoch + index
        is_near, near = _share(self.defect_fraction, number)
        if is_near:
            return self._draw_defective(NEAR_DEFECT, near)
        number -= near
        is_injected, injected = _share(self.injection, number)
        is_hard, before = _share(self.hard_negatives, number - injected)
        if is_hard and not is_injected:
            if hard:
                image_id, row, column, _ = hard[0]
                return Draw(self.by_id[image_id], None, 0, (), place=(row, column))
            # No place is known yet: these images come in turn by themselves, since the number of
            # epochs without a place is not known here.
            return self._draw_any(INSTEAD_OF_HARD, before)
        plain = self._draw_any(ANY_IMAGE, number - before)
        sources = (
            self._draw_defective(SOURCE, injected, times=SOURCES, time=time)
            for time in range(is_injected * SOURCES)
        )
        return plain._replace(sources=tuple(sources))

    def _draw_any(self, kind: int, number: int) -> Draw:
        """Return an image for the sample after ``number`` others of its kind."""
        visit, image = in_turn(number, len(self.records), (self.seed, kind))
        return Draw(self.records[image], None, visit, (self.seed, PART, image))

    def _draw_defective(self, kind: int, number: int, *, times: int = 1, time: int = 0) -> Draw:
        """Return an image with a defect for the sample after ``number`` others of its kind.

        Each draws ``times`` images of a class; this is the one after ``time`` others.
        """
        cycle, place = divmod(number, len(self.class_turns))
        order = self.class_turns[_permutation((self.seed, kind, cycle), len(self.class_turns))]
        chosen = int(order[place])
        before = cycle * int((order == chosen).sum()) + int((order[:place] == chosen).sum())
        class_id, images = list(self.by_class.items())[chosen]
        key = (self.seed, kind, chosen, 0)
        visit, image = in_turn(times * before + time, len(images), key)
        return Draw(images[image], class_id, visit, (self.seed, PART, kind, chosen, image))


def cuts_crops(config: Config) -> bool:
    """Return whether samples are crops around places of images: no tiles, no whole images.

    Only then ``data.injection`` and ``data.hard_negatives`` have an effect.
    """
    return config.approach != "patch" and not shows_whole_images(config)


def shows_whole_images(config: Config) -> bool:
    """Return whether samples are whole images, resized; the localizer's always are."""
    return config.data.resize is not None or config.model.architecture == "localizer"


def _share(fraction: float, number: int) -> tuple[bool, int]:
    """Return whether the sample ``number`` is of a fraction, and how many of those before are.

    The fraction is spread evenly.
    """
    before = math.floor(number * fraction)
    return math.floor((number + 1) * fraction) > before, before


def in_turn(number: int, count: int, key: tuple[int, ...]) -> tuple[int, int]:
    """Return how often all of ``range(count)`` came before draw ``number``, and which it draws.

    Each comes once before any comes again, every time in another order, which ``key`` decides.
    """
    cycle, place = divmod(number, count)
    return cycle, int(_permutation((*key, cycle), count)[place])


@lru_cache(maxsize=16)
def _permutation(key: tuple[int, ...], count: int) -> Int64Array:
    return np.random.default_rng(key).permutation(count)
