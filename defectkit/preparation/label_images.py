"""Change the images that a label table names: to their paths, and where tables are joined."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

from defectkit.errors import LabelError
from defectkit.labels.formats.label_studio import UPLOADED
from defectkit.labels.table import LabelTable
from defectkit.preparation.image_index import ImageIndex


def rename_images(
    table: LabelTable,
    rename: Callable[[str], str],
    rename_file: Callable[[str], str] | None = None,
) -> LabelTable:
    """Replace every image id of ``table``, and the names of its label files: two stay two."""
    name = cache(lambda text: rename(text) if text else "")
    file = cache(lambda text: (rename_file or rename)(text) if text else "")
    return replace(
        table,
        rows=tuple(
            replace(row, image_id=name(row.image_id), label_file=file(row.label_file))
            for row in table.rows
        ),
        refused=tuple(
            replace(row, image_id=name(row.image_id), label_file=file(row.label_file))
            for row in table.refused
        ),
        unlabeled=tuple(map(name, table.unlabeled)),
        empty_files={file(own): name(image_id) for own, image_id in table.empty_files.items()},
        meta={name(image_id): cells for image_id, cells in table.meta.items()},
    )


def locate_images(table: LabelTable, index: ImageIndex, inner: Sequence[str]) -> LabelTable:
    """Replace the folders in image ids by those of the images, where ``index`` knows just one.

    What follows the last ``/`` stays as it is written.

    Args:
        table: the labels.
        index: the images.
        inner: the folders between the one that the index compares with and ``table.path``.
    """

    def locate(image_id: str) -> str:
        path = PurePosixPath(image_id)
        image, _ = index.find((*inner, *path.parts[:-1]), path.name)
        if image is None:
            return image_id
        return "/".join((*PurePosixPath(image.name).parts[:-1], path.name))

    own = {row.label_file for row in table.rows} | {row.label_file for row in table.refused}
    located = {file: locate(file) for file in own | table.empty_files.keys()}
    count = Counter(located.values())
    # Of two label files of one image it is said later that they are two.
    by_file = {file: new if count[new] == 1 else file for file, new in located.items()}
    return rename_images(table, locate, by_file.__getitem__)


def find_uploads(table: LabelTable, index: ImageIndex) -> LabelTable:
    """Give image ids of Label Studio what it puts before the names of uploads, if files have it.

    That is where no file in ``index`` is called as the id, and just one so but for its beginning.
    """
    names = [PurePosixPath(image.name).name for image in index.images]
    uploads: dict[str, list[str]] = {}
    for name in names:
        uploads.setdefault(UPLOADED.sub("", name), []).append(name)
    ids = {row.image_id for row in table.rows} | {row.image_id for row in table.refused}
    ids.update(table.unlabeled)
    found = {
        image_id: uploads[image_id][0]
        for image_id in sorted(ids.difference(names))
        if len(uploads.get(image_id, [])) == 1
    }
    if not found:
        return table
    short, whole = next(iter(found.items()))
    note = f"{len(found)} images are called as Label Studio's uploads, such as {whole} for {short}"
    table = rename_images(table, lambda image_id: found.get(image_id, image_id))
    return replace(table, notes=(*table.notes, note))


def join_tables(path: Path, tables: Sequence[LabelTable]) -> LabelTable:
    """Join the tables of several files of one format to one; rows are numbered on.

    Raises:
        LabelError: some have outlines and others boxes.
    """
    first = tables[0]
    if len({table.kind for table in tables}) > 1:
        raise LabelError(f"{path} has files with outlines and others with boxes alone. Name one.")
    rows, refused, before = [], [], 0
    for table in tables:
        rows += [replace(row, line=row.line + before) for row in table.rows]
        refused += [replace(row, line=row.line + before) for row in table.refused]
        before += len(table.rows) + len(table.refused)
    return replace(
        first,
        path=path,
        form=f"{first.form}, {len(tables)} files",
        rows=tuple(rows),
        refused=tuple(refused),
        meta={image_id: cells for table in tables for image_id, cells in table.meta.items()},
        unlabeled=tuple(image_id for table in tables for image_id in table.unlabeled),
        empty_files={file: name for table in tables for file, name in table.empty_files.items()},
        files=tuple(file for table in tables for file in table.files),
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
    )
