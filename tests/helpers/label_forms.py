"""One truth, written in every label format, for the tests of reading and of converting labels."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as pycoco
from rich.console import Console

from defectkit.data.images import write_png
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.pipelines import prepare

HEIGHT, WIDTH = 24, 40
CLASSES = ("1", "2")
# By image: class and corners of polygons with sides along the axes, an L and an off-border box.
L_SHAPE = ((3, 4), (12, 4), (12, 8), (7, 8), (7, 20), (3, 20))
TRUTH: list[list[tuple[str, tuple[tuple[int, int], ...]]]] = [
    [("1", L_SHAPE)],
    [("2", ((0, 0), (9, 0), (9, 5), (0, 5))), ("1", ((30, 10), (40, 10), (40, 24), (30, 24)))],
    [("1", ((5, 5), (6, 5), (6, 6), (5, 6)))],
    [("2", ((20, 1), (33, 1), (33, 4), (20, 4))), ("2", ((20, 9), (22, 9), (22, 12), (20, 12)))],
    [("2", L_SHAPE)],
    [("1", ((0, 3), (40, 3), (40, 5), (0, 5)))],
    [],
    [],
    [],
    [],
]
QUIET = Console(file=io.StringIO())


def corners_mask(corners) -> np.ndarray:
    """By hand: the L is a bar and a stem, all others are boxes."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if corners == L_SHAPE:
        mask[4:8, 3:12] = mask[8:20, 3:7] = 1
    else:
        (left, top), _, (right, bottom), _ = corners
        mask[top:bottom, left:right] = 1
    return mask


def class_masks(index: int) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for class_id, corners in TRUTH[index]:
        masks[class_id] = masks.get(class_id, 0) | corners_mask(corners)
    return masks


def name(index: int) -> str:
    return f"part-{index}.png"


def write_images(folder: Path) -> None:
    for index in range(len(TRUTH)):
        pixels = np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        write_png(folder / "images" / name(index), pixels)


def write_csv_form(folder: Path) -> Path:
    rows = [["ImageId", "ClassId", "EncodedPixels"]]
    for index in range(len(TRUTH)):
        masks = class_masks(index)
        rows += [[name(index), c, rle.encode(mask)] for c, mask in masks.items()]
        rows += [] if masks else [[name(index), "", ""]]
    with (folder / "train.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "train.csv"


def coco_document(segmentation) -> dict:
    annotations = []
    for index, shapes in enumerate(TRUTH):
        for class_id, corners in shapes:
            mask = corners_mask(corners)
            packed = pycoco.encode(np.asfortranarray(mask))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 100, "iscrowd": 0,
                 "category_id": int(class_id) + 7, "area": int(mask.sum()),
                 "bbox": pycoco.toBbox(packed).tolist(),
                 "segmentation": segmentation(mask, corners, packed)}
            )  # fmt: skip
    images = [
        {"id": index + 100, "file_name": name(index), "height": HEIGHT, "width": WIDTH}
        for index in range(len(TRUTH))
    ]
    categories = [{"id": int(c) + 7, "name": c} for c in reversed(CLASSES)]
    return {"images": images, "categories": categories, "annotations": annotations}


def polygon(mask, corners, packed):
    return [[float(number) for corner in corners for number in corner]]


def compressed(mask, corners, packed):
    return {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()}


def uncompressed(mask, corners, packed):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=-1))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff(edges, prepend=0).tolist()}


def coco_writer(segmentation):
    def write(folder: Path) -> Path:
        (folder / "annotations").mkdir()
        path = folder / "annotations" / "instances.json"
        path.write_text(json.dumps(coco_document(segmentation)))
        return path

    return write


def masks_writer(mode: str, values: dict[str, int], names: bool = False):
    def write(folder: Path) -> Path:
        (folder / "masks").mkdir()
        for index in range(len(TRUTH)):
            pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
            for class_id, mask in class_masks(index).items():
                pixels[mask > 0] = values[class_id]
            image = Image.fromarray(pixels, "P" if mode == "P" else "L")
            if mode == "P":
                image.putpalette([255, 255, 255, 200, 0, 0, 0, 90, 0] + [7] * 759)
            if mode == "RGB":
                image = image.convert("RGB")
            if mode == "I;16":
                image = Image.fromarray(pixels.astype(np.uint16))
            image.save(folder / "masks" / name(index))
        if names:
            rows = "".join(f"{value},{class_id}\n" for class_id, value in values.items())
            (folder / "masks" / "classes.csv").write_text(f"value,class_id\n{rows}")
        return folder

    return write


def write_labelme(folder: Path) -> Path:
    (folder / "labels").mkdir()
    for index, shapes in enumerate(TRUTH):
        document = {
            "version": "5.0.1", "flags": {}, "imageData": base64.b64encode(b"x").decode(),
            "imagePath": f"..\\images\\{name(index)}", "imageHeight": HEIGHT, "imageWidth": WIDTH,
            "shapes": [
                {"label": class_id, "points": [list(map(float, corner)) for corner in corners],
                 "shape_type": "polygon", "group_id": None, "flags": {}}
                for class_id, corners in shapes
            ],
        }  # fmt: skip
        (folder / "labels" / f"part-{index}.json").write_text(json.dumps(document))
    return folder


def write_yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names:\n  0: '1'\n  1: '2'\n")
    for index, shapes in enumerate(TRUTH):
        lines = [
            f"{CLASSES.index(c)} "
            + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)
            for c, corners in shapes
        ]
        (folder / "labels" / f"part-{index}.txt").write_text("\n".join(lines))
    return folder


def write_labelme_masks(folder: Path) -> Path:
    write_labelme(folder)
    for index, shapes in enumerate(TRUTH):
        path = folder / "labels" / f"part-{index}.json"
        document = json.loads(path.read_text())
        for shape, (_, corners) in zip(document["shapes"], shapes, strict=True):
            left, top, right, bottom = box_of(corners)
            file = io.BytesIO()
            Image.fromarray(corners_mask(corners)[top:bottom, left:right] > 0).save(file, "PNG")
            shape.update(
                shape_type="mask", points=[[left, top], [right - 1, bottom - 1]],
                mask=base64.b64encode(file.getvalue()).decode(),
            )  # fmt: skip
        path.write_text(json.dumps(document))
    return folder


def cvat_writer(shape):
    def write(folder: Path) -> Path:
        images = "".join(
            f'<image id="{index}" name="{name(index)}" width="{WIDTH}" height="{HEIGHT}">'
            + "".join(shape(class_id, corners) for class_id, corners in shapes)
            + "</image>"
            for index, shapes in enumerate(TRUTH)
        )
        (folder / "annotations.xml").write_text(
            f"<annotations><version>1.1</version><meta/>{images}</annotations>"
        )
        return folder

    return write


def cvat_polygon(class_id, corners):
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
    return f'<polygon label="{class_id}" source="manual" occluded="0" points="{points}"/>'


def cvat_mask(class_id, corners):
    left, top, right, bottom = box_of(corners)
    flat = corners_mask(corners)[top:bottom, left:right].ravel()
    lengths = np.diff(np.flatnonzero(np.diff(flat, prepend=0, append=-1)), prepend=0)
    return (
        f'<mask label="{class_id}" rle="{", ".join(map(str, lengths))}" left="{left}" '
        f'top="{top}" width="{right - left}" height="{bottom - top}"/>'
    )


def write_via(folder: Path) -> Path:
    images = {
        f"{name(index)}123": {
            "filename": name(index), "size": 123, "file_attributes": {},
            "regions": [
                {"shape_attributes": via_shape(corners), "region_attributes": {"class": class_id}}
                for class_id, corners in shapes
            ],
        }
        for index, shapes in enumerate(TRUTH)
    }  # fmt: skip
    (folder / "via.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": images}))
    return folder / "via.json"


def via_shape(corners):
    xs, ys = zip(*corners, strict=True)
    return {"name": "polygon", "all_points_x": xs, "all_points_y": ys}


def write_via_csv(folder: Path) -> Path:
    rows = [["filename", "file_size", "file_attributes", "region_count", "region_id",
             "region_shape_attributes", "region_attributes"]]  # fmt: skip
    for index, shapes in enumerate(TRUTH):
        for number, (class_id, corners) in enumerate(shapes):
            shape, attributes = json.dumps(via_shape(corners)), json.dumps({"class": class_id})
            rows.append([name(index), 123, "{}", len(shapes), number, shape, attributes])
        rows += [] if shapes else [[name(index), 123, "{}", 0, 0, "{}", "{}"]]
    with (folder / "via.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "via.csv"


def label_studio_writer(kind, value):
    def write(folder: Path) -> Path:
        tasks = [
            {"id": index, "data": {"image": f"/data/upload/1/0a1b2c3d-{name(index)}"},
             "annotations": [{"id": index, "was_cancelled": False, "result": [
                 {"id": str(number), "type": kind, "original_width": WIDTH,
                  "original_height": HEIGHT, "image_rotation": 0,
                  "value": {**value(corners), kind: [class_id]}}
                 for number, (class_id, corners) in enumerate(shapes)]}]}
            for index, shapes in enumerate(TRUTH)
        ]  # fmt: skip
        (folder / "project.json").write_text(json.dumps(tasks))
        return folder / "project.json"

    return write


def percent_points(corners):
    return {"points": [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in corners], "closed": True}


def brush(corners):
    """As Label Studio's converter writes it: each stretch of equal bytes is one word."""
    values = np.repeat(corners_mask(corners).ravel() * 255, 4)
    edges = np.flatnonzero(np.diff(values.astype(int), prepend=-1))
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    for start, end in zip(edges, [*edges[1:], len(values)], strict=True):
        bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return {"format": "rle", "rle": [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]}


FORMS = {
    "coco polygons": ("coco", coco_writer(polygon)),
    "coco compressed": ("coco", coco_writer(compressed)),
    "coco uncompressed": ("coco", coco_writer(uncompressed)),
    "masks index": ("masks", masks_writer("L", {"1": 1, "2": 2})),
    "masks palette": ("masks", masks_writer("P", {"1": 1, "2": 2})),
    "masks gray as RGB": ("masks", masks_writer("RGB", {"1": 1, "2": 2})),
    "masks 16 bits": ("masks", masks_writer("I;16", {"1": 1, "2": 2})),
    "masks named": ("masks", masks_writer("L", {"1": 120, "2": 255}, names=True)),
    "labelme": ("labelme", write_labelme),
    "labelme masks": ("labelme", write_labelme_masks),
    "yolo polygons": ("yolo", write_yolo),
    "cvat polygons": ("cvat", cvat_writer(cvat_polygon)),
    "cvat masks": ("cvat", cvat_writer(cvat_mask)),
    "via json": ("via", write_via),
    "via csv": ("csv", write_via_csv),
    "label studio polygons": ("label-studio", label_studio_writer("polygonlabels", percent_points)),
    "label studio brush": ("label-studio", label_studio_writer("brushlabels", brush)),
}


def prepared(source: Path, out: Path, **options) -> Path:
    prepare.run(source, out=out, workers=0, split="0.4/0.3/0.3", console=QUIET, **options)
    return out


def defects(dataset: Path) -> set[tuple[str, ...]]:
    """The regions; they are numbered by class, in the order of the source."""
    rows = read_csv(dataset / "defects.csv")
    return {tuple(cell for key, cell in row.items() if key != "defect_id") for row in rows}


def write_voc(folder: Path, origin: int = 1) -> Path:
    (folder / "Annotations").mkdir()
    for index, shapes in enumerate(TRUTH):
        objects = "".join(
            f"<object><name>{c}</name><bndbox><xmin>{left + origin}</xmin><ymin>{top + origin}"
            f"</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for c, (left, top, right, bottom) in boxes(shapes)
        )
        text = (
            f"<annotation><filename>{name(index)}</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>1</depth></size>{objects}</annotation>"
        )
        (folder / "Annotations" / f"part-{index}.xml").write_text(text)
    return folder


def write_yolo_boxes(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "labels" / "classes.txt").write_text("1\n2\n")
    for index, shapes in enumerate(TRUTH):
        lines = [
            f"{CLASSES.index(c)} "
            f"{(left + right) / 2 / WIDTH:.6f} {(top + bottom) / 2 / HEIGHT:.6f} "
            f"{(right - left) / WIDTH:.6f} {(bottom - top) / HEIGHT:.6f}"
            for c, (left, top, right, bottom) in boxes(shapes)
        ]
        (folder / "labels" / f"part-{index}.txt").write_text("\n".join(lines))
    return folder


def write_coco_boxes(folder: Path) -> Path:
    document = coco_document(lambda *_: [])
    (folder / "boxes.json").write_text(json.dumps(document))
    return folder


def write_labelme_boxes(folder: Path) -> Path:
    write_labelme(folder)
    for index, shapes in enumerate(TRUTH):
        path = folder / "labels" / f"part-{index}.json"
        document = json.loads(path.read_text())
        for shape, (_, (left, top, right, bottom)) in zip(
            document["shapes"], boxes(shapes), strict=True
        ):
            shape.update(shape_type="rectangle", points=[[right, bottom], [left, top]])
        path.write_text(json.dumps(document))
    return folder


def boxes(shapes):
    for class_id, corners in shapes:
        yield class_id, box_of(corners)


def box_of(corners):
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def write_csv_boxes(folder: Path) -> Path:
    rows = [["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]]
    for index, shapes in enumerate(TRUTH):
        for class_id, box in boxes(shapes):
            rows.append([name(index), WIDTH, HEIGHT, class_id, *box])
        rows += [] if shapes else [[name(index), WIDTH, HEIGHT, "", "", "", "", ""]]
    with (folder / "boxes.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "boxes.csv"


def cvat_box(class_id, corners):
    left, top, right, bottom = box_of(corners)
    edges = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
    return f'<box label="{class_id}" occluded="0" {edges}/>'


def percent_box(corners):
    left, top, right, bottom = box_of(corners)
    return {
        "x": left / WIDTH * 100, "y": top / HEIGHT * 100, "width": (right - left) / WIDTH * 100,
        "height": (bottom - top) / HEIGHT * 100, "rotation": 0,
    }  # fmt: skip


BOX_FORMS = {
    "voc": write_voc,
    "voc from 0": lambda folder: write_voc(folder, origin=0),
    "yolo": write_yolo_boxes,
    "coco": write_coco_boxes,
    "labelme": write_labelme_boxes,
    "csv": write_csv_boxes,
    "cvat": cvat_writer(cvat_box),
    "label studio": label_studio_writer("rectanglelabels", percent_box),
}
