"""Apply the corrections of ``--relabel`` to what the rows of the images say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from defectkit.arrays import BoxXywh, ImageSize
from defectkit.labels import rle
from defectkit.labels.corrections import Correction, refuse_corrections
from defectkit.preparation.matching import Matching
from defectkit.preparation.rows_read import RowsRead
from defectkit.regions import label_regions

MAX_BOXES_NAMED = 5


def assign_corrections(matching: Matching, corrections: Sequence[Correction], path: Path) -> None:
    """Give each image its corrections; change ``matching``.

    Raises:
        LabelError: a correction is about no image, or gives a class that no label has.
    """
    own: dict[str, list[Correction]] = {image.image_id: [] for image in matching.images}
    classes = {row.class_id for row in matching.table.rows if row.class_id}
    bad = []
    for one in corrections:
        if one.image_id not in own:
            bad.append((one.line, f"no image has the id {one.image_id[:60]!r}"))
        elif one.action == "set-class" and one.new_class not in classes:
            named = ", ".join(sorted(classes)[:20])
            bad.append((one.line, f"{one.new_class[:60]!r} is none of the classes {named}"))
        else:
            own[one.image_id].append(one)
    refuse_corrections(path, bad)
    matching.images = [
        replace(image, corrections=tuple(own[image.image_id])) if own[image.image_id] else image
        for image in matching.images
    ]


def correct(
    read: RowsRead, corrections: Sequence[Correction], shape: ImageSize
) -> tuple[tuple[tuple[int, str], ...], str]:
    """Apply the corrections of an image in their order; change ``read``.

    Args:
        read: what the rows of the image say.
        corrections: those of the image.
        shape: height and width of the image.

    Returns:
        The lines of the corrections that fit nothing, each with the reason; and why the image is
        left out, or "".
    """
    unfit, left_out = [], ""
    for one in corrections:
        reason = ""
        match one.action:
            case "mark-good":
                for class_id in [*read.runs_by_class]:
                    _put(read, class_id, np.zeros(shape, np.bool_), one)
            case "drop-label" | "set-class":
                reason = _move_region(read, one, shape)
            case "ignore":
                reason = _ignore(read, one, shape)
            case "leave-out":
                left_out = f"left out by --relabel, line {one.line}"
                read.ledger = [
                    replace(row, outcome="refused", reason=left_out, refused_with_image=True)
                    for row in read.ledger
                ]
            case "keep":
                pass
        if reason:
            unfit.append((one.line, f"image {one.image_id!r}: {reason}"))
    return tuple(unfit), left_out


def _move_region(read: RowsRead, one: Correction, shape: ImageSize) -> str:
    """Take a region out of its class, and put it into another if one is given.

    Returns:
        Why it fits nothing, or "".
    """
    runs = read.runs_by_class.get(one.class_id)
    mask = runs.to_mask(shape).view(np.bool_) if runs else np.zeros(shape, np.bool_)
    region_map, regions = label_regions(mask)
    same = [number for number, own in enumerate(regions, 1) if own.box_xywh == one.box_xywh]
    if not same:
        boxes = "; ".join(_box(own.box_xywh) for own in regions[:MAX_BOXES_NAMED])
        more = f" and {len(regions) - MAX_BOXES_NAMED} more" if len(regions) > 5 else ""
        has = f"its regions of the class are at {boxes}{more}" if boxes else "it has none"
        return f"no region of class {one.class_id!r} has the box {_box(one.box_xywh)}: {has}"
    region = np.isin(region_map, same)
    _put(read, one.class_id, mask & ~region, one)
    if one.new_class:
        other = read.runs_by_class.get(one.new_class)
        joined = region | other.to_mask(shape).view(np.bool_) if other else region
        _put(read, one.new_class, joined, one)
    return ""


def _ignore(read: RowsRead, one: Correction, shape: ImageSize) -> str:
    """Let the pixels of a box that have no label count nowhere; return why it does not fit."""
    assert one.box_xywh is not None
    x, y, width, height = one.box_xywh
    if x + width > shape[1] or y + height > shape[0]:
        return f"the box {_box(one.box_xywh)} reaches beyond its {shape[1]} x {shape[0]} pixels"
    ignored = np.zeros(shape, np.bool_)
    ignored[y : y + height, x : x + width] = True
    for runs in read.runs_by_class.values():
        ignored &= ~runs.to_mask(shape).view(np.bool_)
    if read.ignored:
        ignored |= read.ignored.to_mask(shape).view(np.bool_)
    if ignored.all():
        return "no pixel would be left that counts; use leave-out"
    if ignored.any():
        read.ignored = rle.Runs.from_mask(ignored)
    return ""


def _put(read: RowsRead, class_id: str, mask: np.ndarray, one: Correction) -> None:
    """Set the pixels of a class, and say so of its rows."""
    if mask.any():
        read.runs_by_class[class_id] = rle.Runs.from_mask(mask)
        read.rles[class_id] = read.runs_by_class[class_id].to_text()
    else:
        read.runs_by_class.pop(class_id, None)
        read.rles.pop(class_id, None)
    note = f"changed by --relabel, line {one.line}"
    read.ledger = [
        replace(row, reason="; ".join(filter(None, [row.reason, note])))
        if row.class_id == class_id
        else row
        for row in read.ledger
    ]


def _box(box: BoxXywh | None) -> str:
    return ",".join(map(str, box or ()))
