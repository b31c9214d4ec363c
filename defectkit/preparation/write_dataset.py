"""Write a dataset: its CSV files and its ``dataset.json``, and check where they may go."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from defectkit import __version__
from defectkit.data.dataset import SCOPE_TABLE, TABLES
from defectkit.data.image_kinds import is_data
from defectkit.errors import OutputError
from defectkit.files import check_place, sha256_bytes, sha256_file, write_csv, write_json
from defectkit.labels.ledger import LedgerRow
from defectkit.labels.rle_convention import RleConvention
from defectkit.object_stores import FilePath, StoredObject
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.kept_facts import FACTS
from defectkit.preparation.leaks.pairs import Leak
from defectkit.preparation.matching import Matching
from defectkit.preparation.prepared_image import PreparedImage
from defectkit.results_folder import Results, write_results
from defectkit.results_marker import UNFINISHED, check_out
from defectkit.seals import FORMAT_VERSION, add_seal, hash_tables
from defectkit.shards import SHARDS

KIND = "dataset"
INFO_FILE = "dataset.json"
DATASET_FILES = {INFO_FILE, "preview", UNFINISHED, FACTS, SHARDS, *TABLES}


def check_output_folder(out: str | Path) -> Path:
    """Return ``out`` as a path if a dataset may be written there; change nothing.

    Raises:
        OutputError: it has other files than a dataset's, results of another kind, or cannot be
            written.
    """
    folder = check_out(out, KIND)
    check_place(folder)
    names = (
        {path.name for path in folder.iterdir() if is_data(path.name)} if folder.is_dir() else set()
    )
    if INFO_FILE not in names and names - DATASET_FILES:
        raise OutputError(
            f"{out} has other files than a dataset's, such as {min(names - DATASET_FILES)}. "
            "Choose a new or empty folder with --out."
        )
    return folder


def write_dataset_folder(
    out: Path, sources: Iterable[Path], *, keep: bool
) -> AbstractContextManager[Results]:
    """Lock ``out``, and replace what was prepared there by what is written until the end.

    ``keep``: whether what a command that did not end left is not removed.

    Raises:
        OutputError: a file of the user is in the way, or one of ``sources`` would be replaced.
    """
    names = [*TABLES, FACTS]
    return write_results(out, kind=KIND, head=INFO_FILE, names=names, sources=sources, keep=keep)


def sort_classes(class_ids: Iterable[str]) -> list[str]:
    """Sort class ids: numbers by value, then the others alphabetically."""
    return sorted(
        set(class_ids), key=lambda text: (0, int(text), text) if text.isdecimal() else (1, 0, text)
    )


def write_ledger(folder: Path, ledger: Iterable[LedgerRow]) -> None:
    """Write ``ledger.csv``."""
    write_csv(
        folder / "ledger.csv",
        ["line", "image_id", "class_id", "outcome", "reason"],
        ([row.line, row.image_id, row.class_id, row.outcome, row.reason] for row in ledger),
    )


def write_tables(
    folder: Path,
    images: Sequence[PreparedImage],
    classes: Sequence[str],
    leaks: Sequence[Leak],
    *,
    out: Path,
) -> None:
    """Write ``images.csv``, ``masks.csv``, ``defects.csv``, ``leaks.csv`` and ``scope.csv``.

    ``folder`` is where to write them, ``out`` where they will lie: paths start there.
    """
    # Many images are in few folders, and it takes long to resolve one.
    folders = {parent: _relative_folder(parent, out) for parent in {*map(_parent, images)}}
    write_csv(
        folder / "images.csv",
        [
            "image_id",
            "path",
            "height",
            "width",
            "channels",
            "sha256",
            "group",
            "split",
            "defective",
        ],
        (
            [
                facts.image_id,
                f"{folders[_parent(image)]}/{facts.path.name}",
                facts.height,
                facts.width,
                facts.channels,
                facts.sha256,
                image.group,
                image.split,
                int(bool(facts.rles)),
            ]
            for image in images
            for facts in [image.facts]
        ),
    )
    write_csv(
        folder / "masks.csv",
        ["image_id", "class_id", "rle"],
        (
            [image.facts.image_id, class_id, image.facts.rles[class_id]]
            for image in images
            for class_id in classes
            if class_id in image.facts.rles
        ),
    )
    write_csv(
        folder / "defects.csv",
        ["image_id", "class_id", "defect_id", "x", "y", "width", "height", "area"],
        (
            [image.facts.image_id, region.class_id, number, *region.box_xywh, region.area]
            for image in images
            for number, region in enumerate(image.facts.regions, start=1)
        ),
    )
    _write_scopes(folder, [image.facts for image in images])
    write_leaks(folder, leaks)


def _write_scopes(folder: Path, images: Sequence[Facts]) -> None:
    """Write which pixels do not count; no file where all do. A region of all images is one row."""
    rois = {image.roi for image in images}
    rows = [["", "roi", roi] for roi in rois if roi and len(rois) == 1] or [
        [image.image_id, "roi", image.roi] for image in images if image.roi
    ]
    rows += [[image.image_id, "ignored", image.ignored] for image in images if image.ignored]
    if rows:
        write_csv(folder / SCOPE_TABLE, ["image_id", "kind", "shape"], rows)


def write_leaks(folder: Path, leaks: Sequence[Leak]) -> None:
    """Write ``leaks.csv``; also for a dataset that is refused because of them."""
    write_csv(
        folder / "leaks.csv",
        ["image_id_a", "image_id_b", "kind", "similarity", "joined"],
        (
            [
                leak.image_id_a,
                leak.image_id_b,
                leak.kind,
                f"{leak.similarity:.4f}",
                int(leak.joined),
            ]
            for leak in leaks
        ),
    )


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write ``dataset.json``, last: it makes the folder a dataset, and seals the tables."""
    head = {"format_version": FORMAT_VERSION, "defectkit": __version__}
    content = {**head, **info, "tables": hash_tables(folder, TABLES)}
    write_json(folder / INFO_FILE, add_seal(content))


def relative_path(path: FilePath, folder: Path) -> str:
    """Return ``path`` as seen from ``folder``, with forward slashes; absolute where it must be.

    The address of an object of a store stays as it is.
    """
    if isinstance(path, StoredObject):
        return str(path)
    parent, name = os.path.split(path)
    return f"{_relative_folder(parent, folder)}/{name}"


def describe_sources(
    matching: Matching, convention: RleConvention, meta: Path | None, out: Path
) -> dict[str, Any]:
    """Return what ``dataset.json`` says of the labels, ``--meta`` and the images."""
    table = matching.table
    has_rles = any(row.rle for row in table.rows)
    return {
        "source": describe_source(table.path, out, table.files),
        "format": matching.source_format,
        "form": table.form,
        "truth": table.kind,
        "meta": describe_source(meta, out) if meta else None,
        "images": relative_path(matching.folder.root, out),
        "rle": asdict(convention) if has_rles else None,
    }


def describe_source(path: Path, out: Path, files: Sequence[Path] | None = None) -> dict[str, str]:
    """Return the path of a source as seen from ``out``, and its SHA-256.

    The hash of a folder is that of the list of the hashes and paths of its ``files``.
    """
    if files is None or [path] == list(files):
        digest = sha256_file(path)
    else:
        lines = (f"{sha256_file(file)} {relative_path(file, path)}\n" for file in files)
        digest = sha256_bytes("".join(lines).encode())
    return {"path": relative_path(path.resolve(), out), "sha256": digest}


def _parent(image: PreparedImage) -> str:
    return os.path.split(str(image.facts.path))[0]


def _relative_folder(path: str, folder: Path) -> str:
    if StoredObject.named(path):
        return path
    try:
        # Both ends resolved: ".." leads out of a link's target, not out of the link.
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    except ValueError:  # On Windows, another drive.
        relative = path
    return Path(relative).as_posix()
