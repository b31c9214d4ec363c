"""How far an evaluation, or a shard of one, has come: what is kept of each image, to go on.

``records.csv`` gets a row for each image that is judged and drawn. ``pixels.safetensors`` has the
counts of the pixels of all of them; it is written every few seconds, and at an end that is no
kill. Images behind it are judged again. It comes with the hash of the rows that belong to it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from rich.console import Console
from safetensors.numpy import load, save

from defectkit.continued_results import bring_back, check_state, write_state
from defectkit.data.dataset import ImageRecord
from defectkit.deployment.data_to_evaluate import DataToEvaluate
from defectkit.deployment.evaluate_images import Judged, JudgedImage, judge_images
from defectkit.deployment.loaded_model import LoadedModel
from defectkit.errors import ConfigError, OutputError, refusal
from defectkit.evaluation.pixel_metrics import PixelMetrics
from defectkit.evaluation.prediction import Prediction, predict_by
from defectkit.evaluation.region_matching import RegionMatch
from defectkit.files import read_limited, write_bytes
from defectkit.growing_csv import GrowingCsv, read_whole_rows
from defectkit.reporting.evaluation_pictures import EvaluationPictures, picture_files
from defectkit.reporting.evaluation_records import read_record, write_record
from defectkit.reporting.progress import track
from defectkit.results_folder import Results
from defectkit.seals import seal_of
from defectkit.versions import describe_software
from defectkit.vocabulary import Overlays

RECORDS = "records.csv"
PIXELS = "pixels.safetensors"
STATE = "progress.json"
COLUMNS = ("place", "record")
ONLY_WHERE_JUDGED = ("the device", "threads (OMP_NUM_THREADS)")
"""What all processes that judge images have in common, but not with the one that merges them."""
SECONDS = 10.0
"""Seconds after which the counts of the pixels are written again."""
WAY_OUT = "Evaluate from the start, without --resume."
WAY_ON = "'defectkit evaluate' with the same options and --resume continues there."

Arrays = dict[str, npt.NDArray[Any]]


def describe_evaluation(
    model: LoadedModel, data: DataToEvaluate, *, all_regions: bool, overlays: Overlays
) -> dict[str, str]:
    """Return what an evaluation must have in common with its shards and its continuation."""
    images = hashlib.sha256()
    for record in data.records:
        images.update(json.dumps([record.image_id, record.sha256]).encode())
    return {
        **describe_software(),
        "the model": seal_of(model.info),
        "what is evaluated": json.dumps(data.describe(model.info), sort_keys=True),
        "images": f"{len(data.records)} images, {images.hexdigest()[:16]}",
        "--all-regions": str(all_regions),
        "--overlays": overlays,
        **dict(zip(ONLY_WHERE_JUDGED, (model.device_name, str(model.threads)), strict=True)),
    }


def files_in_progress(records: Iterable[ImageRecord]) -> list[str]:
    """Return the names of all files that are written while images are judged."""
    return [RECORDS, PIXELS, STATE, *picture_files(records)]


class EvaluationProgress:
    """The images of an evaluation so far: judged, drawn, and kept on disk.

    Attributes:
        judged: what the evaluation is made from.
        pictures: writes their pictures.
        rows: number of images that are done.
        kept: of those that were done already when it began, the row of ``images.csv`` and the
            regions.
    """

    def __init__(
        self,
        results: Results,
        model: LoadedModel,
        data: DataToEvaluate,
        places: Sequence[int],
        *,
        overlays: Overlays,
    ) -> None:
        """Begin nothing yet.

        Args:
            results: where it writes.
            model: the run's model.
            data: what is evaluated, all of it.
            places: those of the images in the data that are judged here.
            overlays: which images are drawn.
        """
        self.judged = Judged.by(model)
        self.pictures = EvaluationPictures(results.folder, overlays)
        self.rows = 0
        self.kept: list[tuple[Mapping[str, Any], Sequence[RegionMatch]]] = []
        self._results, self._data, self._places = results, data, places
        self._hash, self._size = hashlib.sha256(), 0

    @property
    def left(self) -> list[ImageRecord]:
        """The images that are not judged yet, in order."""
        return [self._data.records[place] for place in self._places[self.rows :]]

    def begin(self, same: Mapping[str, str], *, resume: bool, console: Console) -> None:
        """Begin, or with ``resume`` go on where an evaluation that did not end had come to.

        Args:
            same: of ``describe_evaluation``.
            resume: whether to go on.
            console: where to report.

        Raises:
            ConfigError: that was another evaluation, or is damaged.
            OutputError: the folder cannot be written.
        """
        found = resume and bring_back(self._results, PIXELS)
        if resume and not found:
            names = files_in_progress(self._data.records[place] for place in self._places)
            self._results.make_folder(names)
        state = self._results.folder / STATE
        if found:
            check_state(state, same, what="evaluation", way_out=WAY_OUT)
            try:
                self._restore()
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                raise self._damaged(error) from error
            console.print(f"[yellow]note:[/] continues behind {self.rows} images that are done")
            return
        write_state(state, same)
        if resume:
            told = "nothing is there to be continued: evaluates from the start"
            console.print(f"[yellow]note:[/] {told}")

    def __enter__(self) -> Self:
        path = self._results.folder / RECORDS
        self._table = GrowingCsv(path, COLUMNS, keep=self._size)
        self._saved = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what is known of the images so far, whatever has ended the work."""
        with self._table:
            if kind is None:
                self._save()
                return
            with suppress(OSError, OutputError):  # The error that ended the work matters more.
                # Else it has ended between the counts of an image and its row.
                if self.rows and self.judged.pixels.images == self.rows:
                    self._save()

    def add(self, judged: JudgedImage) -> None:
        """Draw and keep an image that was judged as the last one of ``judged``.

        Raises:
            OutputError: its files cannot be written.
        """
        self.pictures.add(judged)
        page = self.pictures.page_images[judged.prediction.record.image_id]
        row = (str(self._places[self.rows]), json.dumps(write_record(judged, page)))
        self._table.append([row])
        self._count_row(row)
        if time.monotonic() - self._saved >= SECONDS:
            self._save()

    def check_pictures(self) -> None:
        """Check that the pictures of images that were done before are still there.

        Only now: an image that is not among those may have driven the overlay of one out.

        Raises:
            ConfigError: one is missing.
        """
        for path in self.pictures.paths() if self.kept else ():
            if not path.is_file():
                raise self._damaged(f"{path} is missing")

    def end(self) -> None:
        """Remove what only an evaluation that did not end needs."""
        for name in (PIXELS, RECORDS, STATE):  # The first one is what others go on by.
            (self._results.folder / name).unlink()

    def _save(self) -> None:
        arrays: Arrays = dict(self.judged.pixels.arrays())
        self._table.sync()  # No count is on disk without its row.
        arrays["check"] = self._check(arrays)
        write_bytes(self._results.folder / PIXELS, save(arrays))
        self._saved = time.monotonic()

    def _check(self, arrays: Arrays) -> npt.NDArray[np.uint8]:
        """Return what shows that rows and counts belong together, and are as they were written."""
        check = self._hash.copy()
        for name in sorted(arrays):
            check.update(name.encode() + arrays[name].tobytes())
        return np.frombuffer(check.digest(), np.uint8)

    def _restore(self) -> None:
        """Read what was kept.

        Raises:
            OSError, ValueError, KeyError, TypeError, IndexError: it is damaged.
        """
        folder, judged = self._results.folder, self.judged
        arrays = load(read_limited(folder / PIXELS))
        check = arrays.pop("check")
        judged.pixels = PixelMetrics.from_arrays(
            arrays, classes=judged.pixels.classes, threshold=judged.pixels.threshold
        )
        for row, end in read_whole_rows(folder / RECORDS, COLUMNS):
            if self.rows == judged.pixels.images:
                break
            self._count_row(row)
            image, self._size = read_record(json.loads(row[1])), end
            judged.add(image.row, image.matches, image.boxes, image.seconds, image.is_first)
            self.kept.append((image.row, image.matches))
            self.pictures.keep(image.row["image_id"], image.row["outcome"], image.page)
        if not np.array_equal(check, self._check(arrays)):
            raise ValueError(f"{PIXELS} or {RECORDS} was changed since it was written")

    def _count_row(self, row: Sequence[str]) -> None:
        self.rows += 1
        self._hash.update(repr(list(row)).encode())

    def _damaged(self, reason: object) -> ConfigError:
        folder = self._results.folder
        return ConfigError(
            refusal(reason) or f"the evaluation in {folder} cannot go on: {reason}. {WAY_OUT}"
        )


def judge_with_progress(
    progress: EvaluationProgress,
    model: LoadedModel,
    *,
    all_regions: bool,
    on_image: Callable[[JudgedImage], None],
    title: str,
    console: Console,
) -> None:
    """Judge the images that are left; ``on_image`` is called with each.

    Raises:
        DefectkitError: an image cannot be read or was changed, or ``on_image`` fails.
    """
    predictions = predict_with_progress(model, progress.left, title=title, console=console)
    judge_images(progress.judged, model, predictions, all_regions=all_regions, on_image=on_image)


def predict_with_progress(
    model: LoadedModel, records: Sequence[ImageRecord], *, title: str, console: Console
) -> Iterator[Prediction]:
    """Yield the model's prediction of each record, and show the progress.

    One image at a time, so that the speed is the time that one image waits.
    """
    yield from track(
        predict_by(model, records),
        title,
        total=len(records),
        console=console,
    )
