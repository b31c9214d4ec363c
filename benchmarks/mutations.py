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
CONVENTION = "defectkit/labels/convention.py"
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
        1,
        "the check for what is no digit",
        RLE,
        'if rle.encode("ascii", "replace").translate(None, ALLOWED):',
        "if False:",
    ),
    Mutation(1, "the check for overlaps", RLE, "    if len(overlaps):\n", "    if False:\n"),
    Mutation(1, "the end of the image", RLE, "too_large | empty | early | late", "too_large"),
    Mutation(
        1,
        "the size that COCO's counts must fill",
        "defectkit/labels/coco_rle.py",
        "(lengths > size).any() or lengths.sum() != size:",
        "False:",
        "counts",
    ),
    Mutation(
        6,
        "annotations that are refused",
        "defectkit/labels/annotations.py",
        "            self.refuse(image_id, class_id, str(error))\n",
        "            return\n",
        "annotation",
    ),
    Mutation(
        6,
        "the row that is refused for its image's file",
        "defectkit/data/plan.py",
        "            plan.ledger += _refuse(rows, str(error))\n",
        "",
    ),
    Mutation(
        6,
        "ids as text",
        "defectkit/labels/table.py",
        '        class_id = "1"\n    rle =',
        '        class_id = "1"\n    image_id = image_id.lstrip("0")\n    rle =',
    ),
    Mutation(
        9,
        "the contradiction of a given order",
        CONVENTION,
        "if asked != likely and united and",
        "if False and",
    ),
    Mutation(
        9, "the contradiction of a given base", CONVENTION, "if told and int(asked)", "if 0 and int"
    ),
    Mutation(9, "the refusal of turned images", CONVENTION, "    if not united:", "    if False:"),
    Mutation(
        19,
        "the order read from the masks",
        CONVENTION,
        'likely: rle.Order = "row" if row > column else "column"',
        'likely: rle.Order = "column"',
    ),
    Mutation(
        19,
        "the base read from the runs",
        CONVENTION,
        "right = int(wrapping[0] > wrapping[1])",
        "right = 1",
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
        19,
        "pixels by their centers",
        "defectkit/labels/outlines.py",
        "rows = np.arange(np.ceil(low - 0.5), np.ceil(high - 0.5), dtype=np.intp)",
        "rows = np.arange(np.ceil(low), np.floor(high), dtype=np.intp)",
        "form",
    ),
    Mutation(
        29,
        "the order of findings in a batch",
        "defectkit/evaluation/scoring.py",
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
        31,
        "boxes that are half-open",
        "defectkit/labels/regions.py",
        "(tuple(cv2.boundingRect(contour)), contour[:, 0])",
        "((*cv2.boundingRect(contour)[:3], cv2.boundingRect(contour)[3] - 1), contour[:, 0])",
    ),
)
