"""What the readers of all formats but CSV share: annotations are numbered, and none is lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from defectkit.errors import LabelError
from defectkit.labels.formats.text_encoding import Encodings
from defectkit.labels.outlines import Box, Outline, RleMask
from defectkit.labels.table import (
    LabelRow,
    LabelTable,
    RefusedRow,
    class_notes,
    clean_class,
    means_good,
    refuse_names,
)


class Annotation(NamedTuple):
    """One label of an image; an empty mask needs no class. The rest as in ``LabelRow``."""

    image_id: str
    class_id: str
    outline: Outline
    note: str = ""
    ignored: bool = False


ONLY_A_BOX = (
    "it has only a box, where other annotations have outlines: draw one, or read all labels as "
    "their boxes with --boxes"
)

ReadAnnotation = Callable[[], Annotation]
"""Returns an annotation, or raises ``LabelError`` where it is malformed."""


@dataclass(slots=True)
class TableBuilder:
    """Collects the annotations of a source one by one, numbered from 1, to a ``LabelTable``."""

    path: Path
    rows: list[LabelRow] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    unlabeled: list[str] = field(default_factory=list)
    empty_files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    encodings: Encodings = field(default_factory=Encodings)
    entries: dict[str, list[str]] = field(default_factory=dict)
    """By image id, what says where in the source the image is listed."""

    def enter(self, image_id: str, entry: str) -> None:
        """Note where an image is listed: with several such entries, all its labels are refused."""
        known = self.entries.setdefault(image_id, [])
        if entry not in known:
            known.append(entry)

    def add(
        self, image_id: str, class_id: str, read: ReadAnnotation, *, label_file: str = ""
    ) -> None:
        """Add what ``read`` returns, or if it raises, a refusal under the ids as far as known."""
        number = len(self.rows) + len(self.refused) + 1
        try:
            image_id, class_id, outline, note, ignored = read()
            class_id, spelling = clean_class(class_id)
            refuse_names(image_id, class_id)
            is_empty = isinstance(outline, RleMask) and not outline.rle
            if not class_id and not is_empty and not ignored:
                raise LabelError("the annotation has no class")
        except LabelError as error:
            self.refuse(image_id, class_id, str(error), label_file=label_file)
        else:
            note = "; ".join(filter(None, [note, spelling]))
            self.rows.append(
                LabelRow(number, image_id, class_id, "", outline, label_file, note, ignored)
            )

    def refuse(self, image_id: str, class_id: str, reason: str, *, label_file: str = "") -> None:
        """Add an annotation, or a whole file, that cannot be used."""
        number = len(self.rows) + len(self.refused) + 1
        self.refused.append(RefusedRow(number, image_id, class_id, reason, label_file))

    def add_unlabeled(self, image_id: str, words: Sequence[str]) -> None:
        """Add an image without a shape: a good one, unless a word about it says otherwise."""
        try:
            refuse_words(words)
        except LabelError as error:
            self.refuse(image_id, "", str(error))
        else:
            self.unlabeled.append(image_id)

    def build(self, form: str, files: Sequence[Path]) -> LabelTable:
        """Return the table.

        Raises:
            LabelError: there are no annotations.
        """
        self._refuse_images_listed_twice()
        if not (self.rows or self.refused or self.unlabeled or self.empty_files):
            raise LabelError(f"{self.path} has no annotations.")
        classes = (row.class_id for row in self.rows if not row.ignored)
        return LabelTable(
            path=self.path,
            form=form,
            encoding=self.encodings.common,
            rows=tuple(self.rows),
            refused=tuple(self.refused),
            meta={},
            unlabeled=tuple(self.unlabeled),
            kind="boxes" if any(isinstance(row.outline, Box) for row in self.rows) else "masks",
            files=tuple(files),
            empty_files=self.empty_files,
            notes=(*self.notes, *self.encodings.notes(), *class_notes(classes)),
        )

    def _refuse_images_listed_twice(self) -> None:
        """Refuse what several entries say of one name: they may be different images."""
        twice = {name: entries for name, entries in self.entries.items() if len(entries) > 1}
        if not twice:
            return

        def reason(name: str) -> str:
            first, second, *others = twice[name]
            return (
                f"{name[:60]!r} is listed {len(twice[name])} times: {first} and {second}"
                f"{' and others' if others else ''}. If these are one image, leave one of them; if "
                "they are different ones, give them different names"
            )

        self.refused += [
            RefusedRow(row.line, row.image_id, row.class_id, reason(row.image_id), row.label_file)
            for row in self.rows
            if row.image_id in twice
        ]
        self.refused.sort(key=lambda row: row.line)
        self.rows = [row for row in self.rows if row.image_id not in twice]
        for name in self.unlabeled:
            if name in twice:
                self.refuse(name, "", reason(name))
        self.unlabeled = [name for name in self.unlabeled if name not in twice]

    def shift_boxes(self, *, left: float, top: float) -> None:
        """Move the left and top edges of all boxes."""
        for index, row in enumerate(self.rows):
            if isinstance(row.outline, Box):
                box = replace(row.outline, left=row.outline.left + left, top=row.outline.top + top)
                self.rows[index] = replace(row, outline=box)


def refuse_words(words: Sequence[str]) -> None:
    """Refuse an image without a shape if a word about the whole image says that it is not good.

    Raises:
        LabelError: with the word.
    """
    if other := [word for word in words if not means_good(word)]:
        raise LabelError(
            f"the image is called {other[0][:60]!r}, but no shape says where the defect is. Draw "
            "it, or if the image is good, remove the word"
        )


def settle_boxes(table: LabelTable, *, boxes: bool) -> LabelTable:
    """Return the table of boxes alone or of outlines alone; ``boxes`` takes all as boxes.

    Otherwise boxes are refused among outlines: nobody knows what the defects in them look like.
    """
    outlines = [row.outline for row in table.rows if row.outline]
    mixed = len({isinstance(outline, Box) for outline in outlines}) > 1
    if boxes or not mixed:
        return replace(table, kind="boxes") if boxes else table
    rows = [row for row in table.rows if not isinstance(row.outline, Box)]
    refused = [
        RefusedRow(row.line, row.image_id, row.class_id, ONLY_A_BOX, row.label_file)
        for row in table.rows
        if isinstance(row.outline, Box)
    ]
    refused = sorted([*table.refused, *refused], key=lambda row: row.line)
    return replace(table, rows=tuple(rows), refused=tuple(refused), kind="masks")


def collect_annotations(
    path: Path,
    files: Sequence[Path],
    read_file: Callable[[Path, Path], tuple[str, list[ReadAnnotation]]],
    encodings: Encodings | None = None,
) -> TableBuilder:
    """Collect the annotations of ``files`` below ``path`` that each belong to one image.

    A file without annotations is a good image's. One that cannot be read is refused under its own
    name.

    Args:
        path: the folder of the labels.
        files: in it or below it.
        read_file: takes a file and the folder it lies in, relative to ``path``, and returns the
            image id and what returns each annotation.
        encodings: in which ``read_file`` decodes them.
    """
    table = TableBuilder(path, encodings=encodings or Encodings())
    for file in files:
        inner = file.relative_to(path).parent
        own_name = (inner / file.stem).as_posix()
        try:
            image_id, reads = read_file(file, inner)
        except LabelError as error:
            table.refuse(own_name, "", f"{file.name}: {error}", label_file=own_name)
            continue
        for read in reads:
            table.add(image_id, "", read, label_file=own_name)
        if not reads:
            table.empty_files[own_name] = image_id
    return table
