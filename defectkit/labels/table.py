"""The label table: what every label format is read to, each of its rows accounted for."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from defectkit.errors import LabelError
from defectkit.labels.outlines import Outline
from defectkit.object_stores import FilePath
from defectkit.vocabulary import GOOD_WORDS, LabelKind

MAX_ID_BYTES = 255
"""The length of the longest file name on common file systems."""
MAX_PATH_BYTES = 2048
"""The length of the longest path that is looked for."""
MAX_CLASS_LENGTH = 200
"""Max. number of characters of the name of a class."""

INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
NO_DEFECT_CLASSES = GOOD_WORDS | {
    *("", "none", "nan", "null", "na", "okay", "nofinding", "nofindings"),
}
"""What classes without a defect are called, in lower case and without blanks."""
WHOLE_NUMBER = re.compile(r"(\d+)\.0*")


# Without slots it travels between processes in half of the time.
@dataclass(frozen=True)
class LabelRow:
    """One usable row; ``rle`` is not decoded yet, and "" means: no defect (of this class).

    ``line`` is the 1-based physical line on which the row starts; in sources other than CSV, the
    1-based number of the annotation (of the mask image), files in the order of their names.
    ``class_id`` is "1" where the table has no classes, and "" where the row of a good image names
    none. ``outline`` is the mask in sources other than CSV; then ``rle`` is "".

    ``label_file`` is the path, below the folder of the labels and without its suffix, of a label
    file that is about one image alone. ``note`` is what the ledger should say of the row.
    ``ignored``: the outline is neither defect nor good, and counts nowhere; it has no class.
    """

    line: int
    image_id: str
    class_id: str
    rle: str
    outline: Outline | None = None
    label_file: str = ""
    note: str = ""
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One row that cannot be used: as much of it as could be read, and the reason.

    ``label_file`` as in ``LabelRow``.
    """

    line: int
    image_id: str
    class_id: str
    reason: str
    label_file: str = ""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The labels of one source. Each of its rows is in ``rows`` or in ``refused``, in its order.

    Attributes:
        path: the label file, or the folder of the label files.
        form: the columns as found, or the name of the format and its variant.
        encoding: of the text, of most files if they differ.
        rows: the usable rows.
        refused: the others.
        meta: by image id, the cells of further columns that are not blank: ``group``, ``split`` and
            ``lot`` under these names, others under their own if they are the same in all rows of
            each image.
        unlabeled: the images that the source lists without any label: good ones.
        empty_files: the label files about one image that have no label, as in
            ``LabelRow.label_file``, with the image that each names: good ones.
        kind: whether the labels outline defects or only box them.
        files: all files that were read.
        image_root: the folder that the ids of images are paths below, where the reader found them.
        notes: what the user should know of how the labels were read, a sentence each, without its
            period.
    """

    path: Path
    form: str
    encoding: str
    rows: tuple[LabelRow, ...]
    refused: tuple[RefusedRow, ...]
    meta: dict[str, dict[str, str]]
    unlabeled: tuple[str, ...] = ()
    kind: LabelKind = "masks"
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    empty_files: dict[str, str] = field(default_factory=dict)
    image_root: FilePath | None = None


@lru_cache(maxsize=4096)
def clean_class(text: str) -> tuple[str, str]:
    """Return a class name as all formats write it, and a note where it was written otherwise.

    Blanks around it and invisible characters go, those within become one space, characters of
    several code points are composed, and numbers are whole: ``1.0`` is ``1``.

    Examples:
        >>> clean_class(" deep   scratch ")
        ('deep scratch', "class ' deep   scratch ' is read as 'deep scratch'")
        >>> clean_class("1.0")
        ('1', "class '1.0' is read as '1'")
    """
    name = " ".join(unicodedata.normalize("NFC", INVISIBLE.sub("", text)).split())
    if whole := WHOLE_NUMBER.fullmatch(name):
        name = whole[1]
    return name, "" if name == text else f"class {text[:60]!r} is read as {name[:60]!r}"


def means_good(name: str) -> bool:
    """Return whether a word about an image or the name of a class says that there is no defect.

    >>> means_good("No finding"), means_good("i.O."), means_good("NG")
    (True, True, False)
    """
    return re.sub(r"[\W_]+", "", name).casefold() in NO_DEFECT_CLASSES


def class_notes(class_ids: Iterable[str]) -> list[str]:
    """Return a sentence for each class of defects whose name is that of good parts.

    Further ones are about names that differ from others by their case alone.
    """
    counts = Counter(class_ids)
    good = [
        f"the class {name!r} has the name of a good class, but its outlines ({count}) are read as "
        "defects. If they are none, remove their rows: their images are good then"
        for name, count in sorted(counts.items())
        if name and means_good(name)
    ]
    return [*good, *_case_notes(counts)]


def _case_notes(class_ids: Iterable[str]) -> list[str]:
    by_folded: dict[str, list[str]] = {}
    for class_id in sorted(set(class_ids)):
        by_folded.setdefault(class_id.casefold(), []).append(class_id)
    return [
        f"the classes {', '.join(map(repr, names))} differ by case alone and are different "
        "classes. If they are one, write them alike"
        for names in by_folded.values()
        if len(names) > 1
    ]


def refuse_names(image_id: str, class_id: str) -> None:
    """Refuse an image id that is missing or leads up, and names that are unprintable or too long.

    Raises:
        LabelError: with the reason.
    """
    if not image_id:
        raise LabelError("the row has no image id")
    shown = f"image id {image_id[:60]!r}"
    if re.search(r"[\x00-\x1f\x7f]", image_id + class_id):
        raise LabelError(f"{shown} or its class has a control character")
    if len(class_id) > MAX_CLASS_LENGTH:
        raise LabelError(
            f"the class {class_id[:60]!r}... has {len(class_id):,} characters, more than "
            f"{MAX_CLASS_LENGTH}"
        )
    parts = re.split(r"[/\\]", image_id)
    longest = max(len(part.encode()) for part in parts)
    if longest > MAX_ID_BYTES or len(image_id.encode()) > MAX_PATH_BYTES:
        raise LabelError(f"{shown} is longer than a file name can be")
    if ".." in parts:
        raise LabelError(f"{shown} may not have '..': write its path below the image folder")
