"""The values that options, files and code share: each set is declared once, here.

Imports nothing from defectkit, so that the command line can offer the choices without loading the
libraries that compute.
"""

from typing import Literal, get_args

ApproachName = Literal["patch", "box", "segment", "novelty"]
"""The ways of finding defects."""

Device = Literal["auto", "cpu", "cuda", "mps"]
"""The device to compute on; ``auto`` takes a GPU if there is one."""

Amp = Literal["auto", "off", "bf16", "fp16"]
"""The precision that a network is trained in, or scores images in: automatic mixed precision."""

InspectEngine = Literal["process", "ray"]
"""What inspects images: this process, or the nodes of a Ray cluster."""

ExportFormat = Literal["openvino", "onnx"]
"""The formats of exported models."""

Precision = Literal["f32", "bf16", "int8"]
"""The numbers that an exported model computes with."""

Split = Literal["train", "val", "test"]
"""The splits of a dataset."""
EvaluatedSplit = Literal["train", "val", "test", "all"]
"""What is evaluated of a dataset: one of its splits, or all of its images."""
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
"""How tables and folders call the splits, in lower case."""

GOOD_WORDS = frozenset(
    {"good", "ok", "normal", "normals", "negative", "negatives", "clean", "pass", "healthy",
     "defectfree", "nodefect", "nodefects", "withoutdefect", "withoutdefects", "gut", "io",
     "正常", "良品", "合格", "无缺陷"}
)  # fmt: skip
"""What folders and classes of good images are called, in lower case and without blanks."""

Verdict = Literal["good", "review", "defective"]
"""The decision about an image, from its score and the thresholds."""

Overlays = Literal["flagged", "all", "none"]
"""The images that get an overlay: those that a person should look at, all, or none.

Of inspected images that are those to review and defective ones, of evaluated ones escapes,
overkills, those to review and some of the others.
"""

Outcome = Literal["hit", "escape", "overkill", "pass", "review"]
"""A verdict compared with the truth.

``hit``: defective, called defective. ``escape``: defective, called good. ``overkill``: good, called
defective. ``pass``: good, called good. ``review``: either, sent to review.
"""

LabelFormat = Literal[
    "csv", "coco", "masks", "labelme", "voc", "yolo", "cvat", "via", "label-studio"
]
"""The label formats that can be read."""
LabelFormatOption = Literal[
    "auto", "csv", "coco", "masks", "labelme", "voc", "yolo", "cvat", "via", "label-studio"
]
"""As ``LabelFormat``; ``auto`` detects the format."""

WrittenLabelFormat = Literal["csv", "coco", "masks"]
"""The label formats that can be written."""

LabelKind = Literal["masks", "boxes"]
"""Whether the labels outline the defects or only give their boxes."""

RleBaseOption = Literal["auto", "0", "1"]
"""The number of the first pixel; ``auto`` detects it from the data."""

RleOrder = Literal["column", "row"]
"""How pixels are numbered: ``column`` is down, then right (Kaggle's); ``row`` right, then down."""
RleOrderOption = Literal["auto", "column", "row"]
"""As ``RleOrder``; ``auto`` detects it from the data."""

PolygonOption = Literal["auto", "points", "pixels"]
"""What the corners of polygons are; ``auto`` detects it from the data."""

RowOutcome = Literal["used", "merged", "refused"]
"""What was done with a row of the label file."""

LeakKind = Literal["exact", "near", "overlap"]
"""How two images show the same thing.

``exact``: equal files. ``near``: nearly all of one image is in the other. ``overlap``: they share a
smaller area.
"""
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)

ANY_DEFECT = "defect"
"""The class of a dataset in which no defect is labeled, so that what is found in it has a name."""

MAX_CLASSES = 256
"""Max. number of defect classes: every pixel has a score for each."""

SuspectKind = Literal["unlabeled", "missed", "class", "copies", "tiny", "flat"]
"""Why a label is suspected to be wrong."""

RelabelAction = Literal["drop-label", "set-class", "ignore", "mark-good", "leave-out", "keep"]
"""What ``prepare --relabel`` does with a label or an image.

``drop-label``: the labeled region is no defect. ``set-class``: it is one of another class.
``ignore``: the unlabeled pixels of a box count nowhere. ``mark-good``: no label of the image is a
defect. ``leave-out``: the image is not used. ``keep``: the label was looked at and is right.
"""
RELABEL_ACTIONS: tuple[RelabelAction, ...] = get_args(RelabelAction)

SynthSurface = Literal["textures", "weave", "part"]
"""What synthetic images show: the texture families in turn, or pieces of one weave, or parts of one
kind under a fixed camera, which are hard to tell from copies."""

UnlistedOption = Literal["ignore", "good"]
"""How images are treated that the label file does not name."""

PagesOption = Literal["first", "channels"]
"""What the pages of a TIFF are: pictures, of which the first is taken, or channels of one."""

PixelNote = Literal["several pages", "planes first"]
"""What is to be said of an image file: it has further pages or frames, which are left out; its
first axis are the channels."""
