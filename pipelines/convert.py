"""``defectkit labels convert``: the labels of a prepared dataset, written in other formats."""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from defectkit.control_characters import has_controls
from defectkit.errors import DatasetError, OutputError
from defectkit.files import write_csv, write_json
from defectkit.object_stores import locate
from defectkit.results_folder import write_results
from defectkit.results_marker import LOCK, MARKER, Marker, files_below, own_files
from defectkit.terminal import SafeConsole, one_line
from defectkit.vocabulary import WrittenLabelFormat

if TYPE_CHECKING:
    from defectkit.arrays import Image, Mask
    from defectkit.data.dataset import Dataset, ImageRecord
    from defectkit.regions import Region

IGNORED_CLASS = "ignored"
"""What ignored pixels are called in formats that have no other place for them."""


def run(
    dataset: str | Path,
    *,
    to: WrittenLabelFormat,
    out: str | Path,
    uncompressed: bool = False,
    console: Console | None = None,
) -> Path:
    """Write the labels of a prepared dataset as RLE CSV, COCO JSON or mask images.

    Preparing what was written gives the same masks.csv. Images are named by the paths of their
    files below the image folder.

    - csv: ImageId,ClassId,EncodedPixels, 1-based, down then right.
    - coco: an annotation for each connected region; of a dataset of boxes, the boxes alone.
    - masks: a PNG for each image, 0 and the numbers of the classes, 255 for ignored pixels;
      classes.csv names the classes.

    In csv and coco ignored pixels are a class of their own, "ignored", for --ignore-class. No
    format has a place for the region to inspect.

    Examples:
        defectkit labels convert dataset --to coco --out instances.json
        defectkit labels convert dataset --to masks --out masks

    Args:
        dataset: The dataset folder.
        to: The format to write.
        out: The new file, or folder of masks, to write.
        uncompressed: COCO: the RLE as lists of numbers.
        console: Where to report; by default the standard error stream.

    Returns:
        ``out``.

    Raises:
        DatasetError: ``dataset`` is not one, has boxes where masks are asked for, or classes
            overlap where the format has no room for both.
        OutputError: ``out`` exists already or cannot be written.
    """
    from defectkit.data.dataset import Dataset

    data, out, console = Dataset.load(dataset), Path(out), console or SafeConsole()
    if os.path.lexists(out) and not (to == "masks" and _is_free(out)):
        raise OutputError(f"{out} exists already. Choose a new --out.")
    names = _image_names(data)
    if data.label_kind == "boxes" and to != "coco":
        raise DatasetError(
            f"{data.folder} has boxes but no masks; {to} cannot store boxes. Use --to coco."
        )
    if to != "coco" and any(map(has_controls, [*names, *data.classes])):
        raise DatasetError(
            f"{data.folder} has control characters in names of images or classes, which {to} "
            "cannot store. Use --to coco."
        )
    if IGNORED_CLASS in data.classes and any(record.ignored for record in data.records):
        raise DatasetError(
            f"{data.folder} has ignored pixels and a class {IGNORED_CLASS!r}, the name that they "
            "would get. Rename the class."
        )
    match to:
        case "csv":
            _write_csv(data, names, out)
        case "coco":
            write_json(out, _coco(data, names, compressed=not uncompressed))
        case "masks":
            _write_masks(data, names, out)
    console.print(one_line(f"{len(data.records)} images written to {out}."), soft_wrap=True)
    if to != "masks" and any(record.ignored for record in data.records):
        console.print(f"Ignored pixels have a class: prepare with --ignore-class {IGNORED_CLASS}.")
    if any(record.roi for record in data.records):
        console.print("The region to inspect is not written: name it again with prepare --roi.")
    return out


def _is_free(folder: Path) -> bool:
    """Return whether a folder has nothing but what a conversion that failed left there."""
    if not folder.is_dir():
        return False
    marker = Marker.read(folder)
    known = {MARKER, LOCK, *own_files(folder), *(marker.files if marker else ())}
    return known.issuperset(files_below(folder)) and not (marker and marker.complete)


def _image_names(data: "Dataset") -> list[str]:
    """Return the path of each image's file below the image folder."""
    root = str(locate(data.info["images"], data.folder).resolve())
    return [
        (record.path.parent.resolve() / record.path.name).relative_to(root).as_posix()
        for record in data.records
    ]


def _write_csv(data: "Dataset", names: Sequence[str], out: Path) -> None:
    rows = (
        row
        for name, record in zip(names, data.records, strict=True)
        for row in ([[name, *pair] for pair in _texts(record).items()] or [[name, "", ""]])
    )
    write_csv(out, ["ImageId", "ClassId", "EncodedPixels"], rows)


def _texts(record: "ImageRecord") -> dict[str, str]:
    """Return the encodings of all classes, that of the ignored pixels among them."""
    return {**record.rles, **({IGNORED_CLASS: record.ignored} if record.ignored else {})}


def _coco(data: "Dataset", names: Sequence[str], *, compressed: bool) -> dict[str, Any]:
    from defectkit.labels import coco_rle, rle

    used = [*data.classes, *([IGNORED_CLASS] if any(one.ignored for one in data.records) else [])]
    categories = {class_id: number for number, class_id in enumerate(used, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, record) in enumerate(zip(names, data.records, strict=True), start=1):
        size = {"height": record.height, "width": record.width}
        images.append({"id": image_id, "file_name": name, **size})
        for region, mask in _region_masks(record):
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": categories[region.class_id],
                "bbox": list(region.box_xywh),
                "area": region.area,
                "iscrowd": 0,
            }
            if data.label_kind == "masks":
                counts = coco_rle.runs_to_counts(rle.Runs.from_mask(mask))
                annotation["segmentation"] = {
                    "size": list(mask.shape),
                    "counts": coco_rle.compress(counts) if compressed else counts,
                }
            annotations.append(annotation)
    named = [{"id": number, "name": class_id} for class_id, number in categories.items()]
    return {"images": images, "categories": named, "annotations": annotations}


def _region_masks(record: "ImageRecord") -> "Iterator[tuple[Region, Mask]]":
    """Yield each connected region and its mask, (H, W) bool."""
    from defectkit.labels import rle
    from defectkit.regions import label_regions

    for class_id, text in _texts(record).items():
        labels, regions = label_regions(rle.decode(text, (record.height, record.width)), class_id)
        for number, region in enumerate(regions, start=1):
            yield region, labels == number


def _write_masks(data: "Dataset", names: Sequence[str], out: Path) -> None:
    from defectkit.data.images import write_png
    from defectkit.preparation.mask_names import CLASSES_FILE
    from defectkit.preparation.mask_values import IGNORE_VALUE

    if len(data.classes) >= IGNORE_VALUE:
        raise DatasetError(
            f"{len(data.classes)} classes do not fit in a mask image. Use --to coco."
        )
    for record in data.records:  # before anything is written
        if len(record.rles) > 1:
            _class_numbers(record, data.classes)
    stems = Counter(PurePosixPath(name).with_suffix("") for name in names)
    masks = [
        # "a.png" and "a.jpg" keep their suffixes, so that each has a mask of its own.
        f"{stem if stems[stem] == 1 else name}.png"
        for name in names
        for stem in [PurePosixPath(name).with_suffix("")]
    ]
    with write_results(out, kind="masks", head=CLASSES_FILE, names=masks) as results:
        for mask, record in zip(masks, data.records, strict=True):
            write_png(results.folder / mask, _class_numbers(record, data.classes))
        numbered = enumerate(data.classes, start=1)
        write_csv(results.folder / CLASSES_FILE, ["value", "class_id"], map(list, numbered))


def _class_numbers(record: "ImageRecord", classes: Sequence[str]) -> "Image":
    """Return the number of each pixel's class, (H, W), 0 for none."""
    import numpy as np

    from defectkit.preparation.mask_values import IGNORE_VALUE

    masks, ignored = record.read_masks(classes), record.read_scope().ignored
    if (masks.sum(axis=0) > 1).any():
        raise DatasetError(
            f"in {record.image_id} pixels belong to two classes; a mask image stores one "
            "class per pixel. Use --to coco or --to csv."
        )
    numbers = np.arange(1, len(classes) + 1, dtype=np.uint8)
    values = np.asarray(np.tensordot(numbers, masks, axes=1), np.uint8)
    return values if ignored is None else np.where(ignored, np.uint8(IGNORE_VALUE), values)
