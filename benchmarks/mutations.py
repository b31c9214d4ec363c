"""The protections that the scorecard takes out, one at a time, to see its checks fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In ``file``, ``old`` (which stands there once) becomes ``new``.

    ``removes`` says what that takes away; ``test``, if given, which of the check's tests must fail
    (as for pytest's ``-k``).
    """

    check: int
    removes: str
    file: str
    old: str
    new: str
    test: str = ""


BOXES = "defectkit/evaluation/boxes.py"
METRICS = "defectkit/evaluation/metrics.py"
RLE = "defectkit/labels/rle.py"
SCORING = "defectkit/evaluation/scoring.py"
TRAIN = "pipelines/train.py"
VERDICTS = "defectkit/evaluation/verdicts.py"

MUTATIONS = (
    Mutation(
        3,
        "validation on the validation split",
        TRAIN,
        'validation_records = dataset.split("val")',
        'validation_records = dataset.split("test")',
    ),
    Mutation(
        8,
        "the limit of AUPRO",
        METRICS,
        "AUPRO_LIMIT = 0.3",
        "AUPRO_LIMIT = 0.31",
        test="aupro",
    ),
    Mutation(
        8,
        "steps of equal scores taken together",
        METRICS,
        "    marked = hits + _from_the_top(negative)[steps]",
        "    marked = hits + _from_the_top(negative)[steps] - negative[steps]",
        test="sklearn",
    ),
    Mutation(
        8,
        "a true box taken by one detection alone",
        BOXES,
        "        free[hits[place], taken[hits[place]]] = False",
        "        pass",
        test="pycocotools",
    ),
    Mutation(
        17,
        "the Dice of defective images alone",
        METRICS,
        "dice_defective_mean=_mean(self._defective_dice)",
        "dice_defective_mean=_mean(self._pair_dice)",
    ),
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
    Mutation(
        20,
        "pixels that are counted at the threshold the model has",
        "pipelines/evaluate.py",
        "threshold=model.approach.pixel_threshold)",
        "threshold=0.4)",
    ),
    Mutation(
        29,
        "each finding with its own image",
        SCORING,
        "zip(batch, pairs, findings, strict=True)",
        "zip(batch, pairs, findings[::-1], strict=True)",
    ),
    Mutation(
        32,
        "an empty pair counted as 1",
        METRICS,
        "kaggle_dice_floor=self._empty_truths / pairs if pairs else None",
        "kaggle_dice_floor=0.0",
    ),
    Mutation(
        33,
        "a threshold below the defective scores where none is good",
        VERDICTS,
        "smallest * (1.0 - MARGIN)",
        "0.0",
    ),
)
