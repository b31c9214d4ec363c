"""Which images a validation takes, and after which epochs, so that it costs a tenth of the time.

Between the epochs a part of the validation split is enough to see whether training goes well; the
whole split is validated once, at the end, for what is chosen on it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, zip_longest

from defectkit.data.dataset import ImageRecord

MAX_SHARE = 0.1
"""The share of the time of a training that its validations may take, the last one included."""
ALWAYS_ALLOWED = 10.0
"""Seconds that they may take in any case: a training of a minute validates all images each time."""
FEWEST_OF_A_KIND = 10
"""The smallest number of defective and of good images in a part, where there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPlan:
    """The number of images of each validation, and the number of epochs from one to the next.

    ``image_seconds`` is the time that an image was expected to take, and ``limit`` the epochs or
    seconds of the training that it is for; earlier versions did not record them.
    """

    images: int
    every: int
    image_seconds: float = 0.0
    limit: float | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether a validation follows ``epoch``, from 1; one always follows the last epoch."""
        return (epoch - 1) % self.every == 0


def plan_validation(
    records: Sequence[ImageRecord], *, image_seconds: float, epoch_seconds: float, epochs: int
) -> ValidationPlan:
    """Return the plan with which validation takes a tenth of the time.

    That is a part of the images after each epoch, and where even the smallest part takes too long,
    that part after every second epoch, or every third ...

    Args:
        records: the validation split.
        image_seconds: the time that an image takes.
        epoch_seconds: the time that an epoch takes.
        epochs: number of epochs of the training.
    """
    whole = len(records) * image_seconds
    allowed = max(MAX_SHARE * epochs * epoch_seconds, ALWAYS_ALLOWED)
    if epochs <= 1 or epochs * whole <= allowed:
        return ValidationPlan(images=len(records), every=1)
    between = max(allowed - whole, 0.0)
    images = max(int(between / (epochs * image_seconds)), sum(_fewest(records)))
    # The first epoch is validated, so that there is a model, and so is the last.
    validations = max(int(between / (images * image_seconds)), 2)
    return ValidationPlan(images=images, every=math.ceil((epochs - 1) / (validations - 1)))


def choose_part(records: Sequence[ImageRecord], images: int, *, seed: int) -> list[ImageRecord]:
    """Return a part of the validation split, in its order: the same for an equal seed.

    Defective and good images have their shares of the split, but no fewer than
    ``FEWEST_OF_A_KIND``; the classes have equal shares as far as possible, and groups come once
    before any comes twice.
    """
    defective, good = ([r for r in records if r.defective == kind] for kind in (True, False))
    fewest_defective, fewest_good = _fewest(records)
    share = round(images * len(defective) / len(records))
    n_defective = max(min(share, images - fewest_good), fewest_defective)
    classes = sorted(set(chain(*(record.rles for record in defective))))
    by_class = (
        _by_groups([record for record in defective if class_id in record.rles], seed)
        for class_id in classes
    )
    in_turn = chain(*zip_longest(*by_class))  # one image of each class, then the next of each
    taken = list(dict.fromkeys(record.image_id for record in in_turn if record))[:n_defective]
    taken += [r.image_id for r in _by_groups(good, seed)[: images - len(taken)]]
    chosen = frozenset(taken)
    return [record for record in records if record.image_id in chosen]


def _fewest(records: Sequence[ImageRecord]) -> tuple[int, int]:
    """Return the smallest numbers of defective and of good images in a part."""
    n_defective = sum(record.defective for record in records)
    return (
        min(n_defective, FEWEST_OF_A_KIND),
        min(len(records) - n_defective, FEWEST_OF_A_KIND),
    )


def _by_groups(records: Sequence[ImageRecord], seed: int) -> list[ImageRecord]:
    """Return the records in random order, the first image of every group before any second one."""
    drawn = sorted(records, key=lambda record: _draw(record.image_id, seed))
    earlier: Counter[str] = Counter()
    turns = []
    for record in drawn:
        turns.append(earlier[record.group])
        earlier[record.group] += bool(record.group)  # an image without a group is its own
    order = sorted(range(len(drawn)), key=turns.__getitem__)
    return [drawn[index] for index in order]


def _draw(image_id: str, seed: int) -> bytes:
    return sha256(f"{seed}\0{image_id}".encode("utf-8", "surrogatepass")).digest()
