"""The pictures of a training: curves, a frame for each validation, their GIF, augmentations."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from defectkit.approaches.interface import Samples
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.reporting.drawing.gif import progress_frame, write_gif
from defectkit.reporting.drawing.plots import plot_history
from defectkit.reporting.drawing.sheets import (
    CELL_SIZE,
    class_colors,
    contact_sheet,
    draw_labels,
    label_legend,
)
from defectkit.training.history import read_history
from defectkit.training.validation import Validation

MAX_FRAMES = 60
"""Of longer trainings the GIF has every second epoch, or every third ..."""
PREVIEWED_SAMPLES = 24


def draw_epoch(run: Path, validation: Validation | None, *, epoch: int, kept_epoch: int) -> None:
    """Draw ``curves.png`` from the run's history, and what validation saw after ``epoch``."""
    plot_history(run / "curves.png", read_history(run / "history.csv"), kept_epoch=kept_epoch)
    watched = validation.watched if validation else ()
    if not validation or not watched:
        return
    dice = validation.dice
    frame = progress_frame(
        [prediction.record.pixels.show(prediction.image) for prediction in watched],
        [prediction.truth.mask for prediction in watched],
        [prediction.finding.defect_map for prediction in watched],
        epoch=epoch,
        caption="" if dice is None else f"validation Dice {dice:.3f}",
    )
    write_png(run / "progress" / f"epoch-{epoch:04d}.png", frame)


@contextmanager
def write_gif_after_failure(run: Path) -> Iterator[None]:
    """Write ``progress.gif`` where the training is interrupted or fails."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # The error that ended the training matters more than this one.
            write_progress_gif(run)
        raise


def draw_augmentations(path: Path, samples: Samples, dataset: Dataset) -> None:
    """Draw the first training samples with their labels, for the user to check."""
    cells = []
    colors, shown = class_colors(dataset.classes), set[str]()
    for index, (image, masks) in enumerate(samples.preview(PREVIEWED_SAMPLES)):
        labels = {
            c: mask.astype(bool)
            for c, mask in zip(dataset.classes, masks, strict=True)
            if mask.any()
        }
        cell = draw_labels(dataset.pixels.show(image), labels, (), colors, cell_size=CELL_SIZE)
        shown.update(labels)
        cells.append((samples.image_id((1, index)), cell))
    write_png(path, contact_sheet(cells, legend=label_legend(colors, shown, boxes=False)))


def write_progress_gif(run: Path) -> None:
    """Write ``progress.gif`` of the frames of the validations."""
    paths = sorted((run / "progress").glob("epoch-*.png"))
    if paths:
        step = -(-len(paths) // MAX_FRAMES)
        write_gif(run / "progress.gif", [read_image(path) for path in paths[::-step][::-1]])
