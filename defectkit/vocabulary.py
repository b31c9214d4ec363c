"""The words that options, files and code share: each set of values is declared once, here.

Imports nothing, so that the command line can offer the choices without loading what computes.
"""

from typing import Literal, get_args

ApproachName = Literal["patch", "box", "segment"]
"""The ways of finding defects."""

Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; ``auto`` takes a GPU where there is one."""

Split = Literal["train", "val", "test"]
"""The parts of a dataset."""
SPLITS: tuple[Split, ...] = get_args(Split)

Verdict = Literal["good", "review", "defective"]
"""What is said of an image."""

Outcome = Literal["hit", "escape", "overkill", "pass", "review"]
"""What a verdict means for an image whose truth is known."""

LabelFormat = Literal["csv", "coco", "masks", "labelme", "voc", "yolo"]
"""The formats of labels that are read."""
LabelFormatOption = Literal["auto", "csv", "coco", "masks", "labelme", "voc", "yolo"]
"""As ``LabelFormat``; ``auto`` detects the format."""

WrittenLabelFormat = Literal["csv", "coco", "masks"]
"""The formats in which labels are written."""

LabelKind = Literal["masks", "boxes"]
"""Whether labels outline defects, or only box them."""

RleBaseOption = Literal["auto", "0", "1"]
"""The number of the first pixel; ``auto`` reads it from the data."""

RleOrder = Literal["column", "row"]
"""How pixels are numbered: ``column`` is down, then right (Kaggle's); ``row`` right, then down."""
RleOrderOption = Literal["auto", "column", "row"]
"""As ``RleOrder``; ``auto`` reads it from the data."""

RowOutcome = Literal["used", "merged", "refused"]
"""What became of a row of the label file."""

LeakKind = Literal["exact", "near", "overlap"]
"""How two images show the same thing: equal files, all of one in the other, or a part."""
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)

SuspectKind = Literal["unlabeled", "unseen", "class", "copies", "tiny", "flat"]
"""Why a label is suspected to be wrong."""

UnlistedOption = Literal["ignore", "good"]
"""What images are that no label file names."""
