"""The split that folders of data sets give: train, valid and test."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from defectkit.config.yaml_file import YAML_ERRORS
from defectkit.errors import LabelError
from defectkit.labels.formats.untrusted_files import read_limited_bytes
from defectkit.labels.outlines import RleMask
from defectkit.labels.table import LabelRow, LabelTable
from defectkit.object_stores import FilePath
from defectkit.preparation.file_tree import split_of
from defectkit.vocabulary import SPLIT_WORDS, SPLITS, Split

YAML_NAMES = ("data.yaml", "dataset.yaml")
MAX_YAML_BYTES = 2**24
MAX_LIST_BYTES = 2**28


def read_split_folders(file: Path | None, root: FilePath) -> dict[str, Split]:
    """Return the split of each folder or image that a YAML of YOLO names, by its path in ``root``.

    It may name text files with the paths of images too. What is in two splits is left out.
    Roboflow writes ``../train/images`` for ``train/images``.

    Raises:
        LabelError: the file cannot be read.
    """
    if file is None:
        return {}
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    try:
        content = yaml.load(read_limited_bytes(file, max_bytes=MAX_YAML_BYTES))
    except (*YAML_ERRORS, RecursionError) as error:
        raise LabelError(f"{file} is not readable YAML.") from error
    folders: dict[str, set[Split]] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        split = SPLIT_WORDS.get(str(key).casefold())
        for text in _texts(value) if split else ():
            for path in _paths(file.parent, text):
                if path.is_relative_to(str(root)):
                    name = path.relative_to(str(root)).as_posix()
                    folders.setdefault(name, set()).add(split)  # type: ignore[arg-type]
    return {folder: splits.pop() for folder, splits in folders.items() if len(splits) == 1}


def give_splits(
    table: LabelTable, images: Iterable[str], folders: Mapping[str, Split]
) -> LabelTable:
    """Add the split of each image to ``table.meta`` where folders of two splits have images.

    Not where one has no defects, as in MVTec AD, or no good images although others do: nothing
    could be learned or measured.

    Args:
        table: the labels; the ids of images are paths.
        images: the paths of further images.
        folders: the split of folders and of images, by their path.
    """
    listed = (*(row.image_id for row in table.rows), *table.unlabeled, *table.empty_files.values())
    ids = {*listed, *images}
    splits: dict[str, str] = {}
    known = {**folders, **{name.rpartition(".")[0]: split for name, split in folders.items()}}
    for image_id in ids:
        split = table.meta.get(image_id, {}).get("split") or _split(image_id, known)
        if split:
            splits[image_id] = split
    found = [split for split in SPLITS if split in splits.values()]
    if len(found) < 2:
        return table
    defective = {row.image_id for row in table.rows if is_defect(row)}
    for split in found:
        of_split = {image_id for image_id, given in splits.items() if given == split}
        lacks = "defects" if not of_split & defective else ""
        if not lacks and of_split <= defective and not ids <= defective:
            lacks = "good images"
        if lacks:
            note = f"the split of the folders is not taken: {split} has no {lacks}"
            return replace(table, notes=(*table.notes, note))
    meta = {**table.meta}
    for image_id, split in splits.items():
        meta[image_id] = {**meta.get(image_id, {}), "split": split}
    note = f"the split is that of the folders: {', '.join(found)}"
    return replace(table, meta=meta, notes=(*table.notes, note))


def _split(image_id: str, folders: Mapping[str, Split]) -> str:
    path = PurePosixPath(image_id)
    for folder in (path, *path.parents):
        if split := folders.get(folder.as_posix()):
            return split
    return split_of(path.parts[:-1]) or ""


def is_defect(row: LabelRow) -> bool:
    """Return whether a row says that there is a defect."""
    if row.ignored:
        return False
    return bool(row.rle or row.outline) and (
        not isinstance(row.outline, RleMask) or bool(row.outline.rle)
    )


def _texts(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if type(item) is str]


def _paths(folder: Path, text: str) -> list[Path]:
    """Return the path that a YAML in ``folder`` names, or of a list of images, each of them."""
    path = folder.joinpath(*_plain(text))
    if path.suffix.casefold() != ".txt" or not path.is_file():
        return [path]
    lines = read_limited_bytes(path, max_bytes=MAX_LIST_BYTES).decode("utf-8-sig", "replace")
    return [folder.joinpath(*_plain(line)) for line in lines.splitlines() if line.strip()]


def _plain(path: str) -> list[str]:
    parts = path.strip().replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]
