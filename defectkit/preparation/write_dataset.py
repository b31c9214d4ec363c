"""Write a dataset: its CSV files and its ``dataset.json``, and check where they may go."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from defectkit import __version__
from defectkit.data.dataset import FORMAT_VERSION, SCOPE_TABLE
from defectkit.errors import OutputError
from defectkit.files import (
    TEMP_MARK,
    ensure_writable,
    sha256_bytes,
    sha256_file,
    write_csv,
    write_json,
)
from defectkit.labels.ledger import LedgerRow
from defectkit.labels.rle_convention import RleConvention
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.pairs import Leak
from defectkit.preparation.matching import Matching
from defectkit.preparation.prepared_image import PreparedImage

TABLES = ("images.csv", "masks.csv", "defects.csv", "ledger.csv", "leaks.csv")
DATASET_FILES = {"dataset.json", "preview", *TABLES, SCOPE_TABLE}


def check_output_folder(out: Path) -> None:
    """Check, before any work, that a dataset may be written to ``out``.

    Raises:
        OutputError: it has other files than a dataset's, or cannot be written.
    """
    names = (
        {path.name for path in out.iterdir() if not path.name.startswith(TEMP_MARK)}
        if out.is_dir()
        else set()
    )
    if "dataset.json" not in names and names - DATASET_FILES:
        raise OutputError(
            f"{out} has other files than a dataset's, such as {min(names - DATASET_FILES)}. "
            "Choose a new or empty folder with --out."
        )
    ensure_writable(out)


def sort_classes(class_ids: Iterable[str]) -> list[str]:
    """Sort class ids: numbers by value, then the others alphabetically."""
    return sorted(
        set(class_ids), key=lambda text: (0, int(text), text) if text.isdecimal() else (1, 0, text)
    )


def write_ledger(out: Path, ledger: Iterable[LedgerRow]) -> None:
    """Write ``ledger.csv``."""
    write_csv(
        out / "ledger.csv",
        ["line", "image_id", "class_id", "outcome", "reason"],
        ([row.line, row.image_id, row.class_id, row.outcome, row.reason] for row in ledger),
    )


def write_tables(
    out: Path, images: Sequence[PreparedImage], classes: Sequence[str], leaks: Sequence[Leak]
) -> None:
    """Write ``images.csv``, ``masks.csv``, ``defects.csv``, ``leaks.csv`` and ``scope.csv``.

    An earlier ``dataset.json`` is removed first: until ``write_info`` writes the new one, tables
    that may not belong together are not a dataset.
    """
    (out / "dataset.json").unlink(missing_ok=True)
    # Many images are in few folders, and it takes long to resolve one.
    folders = {parent: _relative_folder(parent, out) for parent in {*map(_parent, images)}}
    write_csv(
        out / "images.csv",
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
        out / "masks.csv",
        ["image_id", "class_id", "rle"],
        (
            [image.facts.image_id, class_id, image.facts.rles[class_id]]
            for image in images
            for class_id in classes
            if class_id in image.facts.rles
        ),
    )
    write_csv(
        out / "defects.csv",
        ["image_id", "class_id", "defect_id", "x", "y", "width", "height", "area"],
        (
            [image.facts.image_id, region.class_id, number, *region.box_xywh, region.area]
            for image in images
            for number, region in enumerate(image.facts.regions, start=1)
        ),
    )
    _write_scopes(out, [image.facts for image in images])
    write_leaks(out, leaks)


def _write_scopes(out: Path, images: Sequence[ImageFacts]) -> None:
    """Write which pixels do not count; no file where all do. A region of all images is one row."""
    rois = {image.roi for image in images}
    rows = [["", "roi", roi] for roi in rois if roi and len(rois) == 1] or [
        [image.image_id, "roi", image.roi] for image in images if image.roi
    ]
    rows += [[image.image_id, "ignored", image.ignored] for image in images if image.ignored]
    if rows:
        write_csv(out / SCOPE_TABLE, ["image_id", "kind", "shape"], rows)
    else:
        (out / SCOPE_TABLE).unlink(missing_ok=True)


def write_leaks(out: Path, leaks: Sequence[Leak]) -> None:
    """Write ``leaks.csv``; also for a dataset that is refused because of them."""
    write_csv(
        out / "leaks.csv",
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


def write_info(out: Path, info: Mapping[str, Any]) -> None:
    """Write ``dataset.json``, last: it makes the folder a dataset."""
    head = {"format_version": FORMAT_VERSION, "defectkit": __version__}
    write_json(out / "dataset.json", {**head, **info})


def relative_path(path: Path, folder: Path) -> str:
    """Return ``path`` as seen from ``folder``, with forward slashes; absolute where it must be."""
    parent, name = os.path.split(path)
    return f"{_relative_folder(parent, folder)}/{name}"


def describe_sources(
    matching: Matching, convention: RleConvention, meta: Path | None, out: Path
) -> dict[str, Any]:
    """Return what ``dataset.json`` says of the labels, ``--meta`` and the images."""
    table = matching.table
    has_rles = any(row.rle for row in table.rows)
    return {
        "source": _describe_source(table.path, table.files, out),
        "format": matching.source_format,
        "form": table.form,
        "truth": table.kind,
        "meta": _describe_source(meta, [meta], out) if meta else None,
        "images": relative_path(matching.folder.root, out),
        "rle": asdict(convention) if has_rles else None,
    }


def _describe_source(path: Path, files: Sequence[Path], out: Path) -> dict[str, str]:
    """Return the path of a source as seen from ``out``, and its SHA-256.

    The hash of a folder is that of the list of the hashes and paths of its ``files``.
    """
    if [path] == list(files):
        digest = sha256_file(path)
    else:
        lines = (f"{sha256_file(file)} {relative_path(file, path)}\n" for file in files)
        digest = sha256_bytes("".join(lines).encode())
    return {"path": relative_path(path.resolve(), out), "sha256": digest}


def _parent(image: PreparedImage) -> str:
    return os.path.split(image.facts.path)[0]


def _relative_folder(path: str, folder: Path) -> str:
    try:
        # Both ends resolved: ".." leads out of a link's target, not out of the link.
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    except ValueError:  # On Windows, another drive.
        relative = path
    return Path(relative).as_posix()
