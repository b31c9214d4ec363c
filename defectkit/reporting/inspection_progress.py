"""How far an inspection has come: a row for each image that is done, to go on after a kill.

``progress.csv`` gets a row when all other files have what is to be said of an image. It has the
sizes of the tables then: what is beyond them belongs to an image that was not finished, and is cut
off when the inspection goes on. A merge of shards takes the rows of each image by these sizes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectkit.continued_results import bring_back, check_state, write_state
from defectkit.data.image_search import ImageFile
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ConfigError, refusal
from defectkit.growing_csv import read_whole_rows
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.results_folder import Results
from defectkit.results_marker import size_of
from defectkit.seals import seal_of
from defectkit.versions import describe_software
from defectkit.vocabulary import Overlays

PROGRESS = "progress.csv"
STATE = "progress.json"
TABLES = ("findings.csv", "regions.csv", "errors.csv")
COLUMNS = ("file", "page", "last", "image_id", "verdict", "findings", "regions", "errors", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An image that is done.

    Attributes:
        file: the number of its file among all files of the inspection.
        page: its number among the images of the file, from 1 on.
        is_last: whether it is the last one of its file.
        image_id: its id.
        verdict: its verdict, "" if it was not inspected.
        sizes: numbers of bytes of the ``TABLES`` with its rows.
        notes: what is to be said of how it was read.
        end: number of bytes of ``progress.csv`` with its row.
    """

    file: int
    page: int
    is_last: bool
    image_id: str
    verdict: str
    sizes: tuple[int, ...]
    notes: tuple[str, ...] = ()
    end: int = 0

    def row(self) -> tuple[object, ...]:
        """Return its row of ``progress.csv``."""
        notes = json.dumps(self.notes) if self.notes else None
        head = (self.file, self.page, int(self.is_last), self.image_id, self.verdict)
        return (*head, *self.sizes, notes)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far an inspection has come; without arguments, one that begins.

    Attributes:
        files: number of files that are done.
        pages: number of images that are done of the next file.
        ids: the ids of the images of the files that are done.
        verdicts: number of images with each verdict.
        n_errors: number of images that were not inspected.
        notes: what is to be said of how images were read, with their ids.
        sizes: the sizes of ``progress.csv`` and of the tables; empty if there is no row.
    """

    files: int = 0
    pages: int = 0
    ids: set[str] = field(default_factory=set)
    verdicts: Counter[str] = field(default_factory=Counter)
    n_errors: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Count an image."""
        self.pages += 1
        if step.is_last:
            self.files, self.pages = self.files + 1, 0
        if step.verdict:
            self.verdicts[step.verdict] += 1
        else:
            self.n_errors += 1
        for note in step.notes:
            self.notes.setdefault(note, []).append(step.image_id)
        self.sizes = {PROGRESS: step.end, **dict(zip(TABLES, step.sizes, strict=True))}


def read_steps(path: Path) -> Iterator[Step]:
    """Yield the images that are done, as ``progress.csv`` has them; not a row that was cut off.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    for cells, end in read_whole_rows(path, COLUMNS):
        file, page, last, image_id, verdict, *sizes, notes = cells
        yield Step(
            file=int(file),
            page=int(page),
            is_last=last == "1",
            image_id=image_id,
            verdict=verdict,
            sizes=tuple(map(int, sizes)),
            notes=tuple(json.loads(notes)) if notes else (),
            end=end,
        )


def describe_model(model: LoadedModel) -> dict[str, str]:
    """Return what an inspection has in common with others by a model and by where it computes."""
    return {
        **describe_software(),
        "the model": seal_of(model.info),
        "the device": model.device_name,
    }


def describe_inspection(
    model: Mapping[str, str],
    files: Sequence[ImageFile],
    *,
    roi: str | Path | None,
    first_page: bool,
    all_regions: bool,
    drawn: Overlays,
) -> dict[str, str]:
    """Return what an inspection must have in common with its shards and with its continuation.

    ``model`` is what ``describe_model`` says.
    """
    images = hashlib.sha256()
    for file in files:
        images.update(json.dumps([file.image_id, file.problem]).encode())
    return {
        **model,
        "images": f"{len(files)} files, {images.hexdigest()[:16]}",
        "--roi": str(roi or ""),
        "--first-page": str(first_page),
        "--all-regions": str(all_regions),
        "--overlays": drawn,
    }


def begin_progress(
    results: Results,
    same: Mapping[str, str],
    files: Sequence[ImageFile],
    names: Sequence[str],
    *,
    resume: bool,
) -> Progress:
    """Return how far an inspection has come: with ``resume`` as far as an interrupted one did.

    What that has written lies in ``results.folder`` then; where there is nothing to go on with,
    the folder is empty but for ``progress.json``.

    Args:
        results: where it writes.
        same: of ``describe_inspection``.
        files: the files to inspect, in order.
        names: all files of the results, as ``write_results`` got them.
        resume: whether to go on.

    Raises:
        ConfigError: the interrupted inspection was another one, or is damaged.
        OutputError: the folder cannot be written.
    """
    if resume and bring_back(results, PROGRESS):
        progress = _read_progress(results.folder, same, files)
        if progress.sizes:
            return progress
    if resume:
        results.make_folder(names)
    write_state(results.folder / STATE, same)
    return Progress()


def end_progress(folder: Path) -> None:
    """Remove what only an inspection that did not end needs."""
    for name in (PROGRESS, STATE):
        (folder / name).unlink()


def has_overlay(verdict: str, drawn: Overlays) -> bool:
    """Return whether an image with a verdict gets an overlay; "" is one that was not inspected."""
    return bool(verdict) and (drawn == "all" or (drawn == "flagged" and verdict != "good"))


def _read_progress(folder: Path, same: Mapping[str, str], files: Sequence[ImageFile]) -> Progress:
    """Return how far the inspection in a folder has come, if it is the same one.

    Raises:
        ConfigError: it is another one, or damaged.
    """
    way_out = "Inspect from the start, without --resume."
    check_state(folder / STATE, same, what="inspection", way_out=way_out)
    try:
        progress = Progress()
        written = [size_of(folder / name) or 0 for name in TABLES]
        pages: list[str] = []
        for step in read_steps(folder / PROGRESS):
            if any(size > there for size, there in zip(step.sizes, written, strict=True)):
                break  # The machine stopped before the rows were on its disk.
            if step.file != files[progress.files].number or step.page != progress.pages + 1:
                raise ValueError(f"{PROGRESS} has the image {step.image_id} at another place")
            if has_overlay(step.verdict, same["--overlays"]):  # type: ignore[arg-type]
                overlay = folder / "overlays" / overlay_name(step.image_id)
                if not overlay.is_file():
                    raise ValueError(f"{overlay.name} is missing in its overlays")
            progress.add(step)
            pages.append(step.image_id)
            if step.is_last:
                progress.ids.update(pages)
                pages.clear()
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(
            refusal(error) or f"the inspection in {folder} cannot go on: {error}. {way_out}"
        ) from error
    return progress
