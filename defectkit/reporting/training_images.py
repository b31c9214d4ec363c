"""Which of the images to inspect a model knows, where its run and its dataset are still there."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from defectkit.data.dataset import Dataset
from defectkit.data.image_search import ImageFile
from defectkit.errors import DatasetError
from defectkit.files import iterate_csv, sha256_file
from defectkit.seals import read_sealed

MAX_FOUND = 1000
"""After so many images no further ones are looked at: each is read once more for it."""

WAYS = {"train": "are training", "val": "are validation"}


def tell_training_images(console: Console, model: str | Path, files: Sequence[ImageFile]) -> None:
    """Print a note if the model was trained or validated on some of the images to inspect.

    Images are the same where names, without their folders, and SHA-256 are.

    Args:
        console: where to print.
        model: a run, or a folder in it such as ``model/``; of others nothing is known.
        files: the images to inspect.
    """
    found: Counter[str] = Counter()
    # It is a note: where run or dataset are gone or damaged, there is none.
    with suppress(DatasetError, OSError, ValueError, KeyError):
        run = Path(model) if (Path(model) / "run.json").is_file() else Path(model).parent
        recorded = read_sealed(run / "run.json")
        folder = Path(recorded["dataset_folder"])
        for split in _splits(files, _known(files, folder)):
            found[split] += 1
            if found.total() == MAX_FOUND:
                break
        # Last, since of many images it takes long: whether it was prepared again since.
        if not found or Dataset.load(folder).fingerprint != recorded["dataset"]:
            return
        least = "at least " if found.total() == MAX_FOUND else ""
        parts = [f"{found[split]:,} {way}" for split, way in WAYS.items() if found[split]]
        console.print(
            f"[yellow]note:[/] of {len(files):,} image files {least}{' and '.join(parts)} images "
            "of the model: there it does better than on new images",
            highlight=False,
        )


def _known(files: Sequence[ImageFile], dataset: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the splits of images that have the name of a file, by name and SHA-256."""
    names = {file.path.name for file in files if isinstance(file.path, Path)}
    known: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in iterate_csv(dataset / "images.csv"):
        name = Path(row["path"]).name
        if name in names and row["split"] in WAYS:
            known[name][row["sha256"]] = row["split"]
    return known


def _splits(files: Sequence[ImageFile], known: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the split of each file that is known."""
    for file in files:
        if isinstance(file.path, Path) and not file.problem and file.path.name in known:
            with suppress(OSError, ValueError):  # The inspection says so.
                if split := known[file.path.name].get(sha256_file(file.path)):
                    yield split
