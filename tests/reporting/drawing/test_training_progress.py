import numpy as np
import pytest
from PIL import Image

from defectkit.data.images import write_png
from defectkit.errors import OutputError
from defectkit.reporting.drawing import training_progress
from defectkit.reporting.drawing.training_progress import (
    MAX_FRAMES,
    write_gif_after_failure,
    write_progress_gif,
)


def write_frames(run, count: int) -> None:
    for epoch in range(1, count + 1):
        frame = np.full((8, 8, 3), 90 * epoch % 256, np.uint8)
        write_png(run / "progress" / f"epoch-{epoch:04d}.png", frame)


def frames(run) -> int:
    with Image.open(run / "progress.gif") as gif:
        return gif.n_frames


def test_a_long_training_shows_every_second_epoch(tmp_path):
    write_frames(tmp_path, MAX_FRAMES + 1)
    write_progress_gif(tmp_path)
    assert frames(tmp_path) == MAX_FRAMES // 2 + 1


def test_an_interrupted_training_keeps_its_pictures(tmp_path):
    write_frames(tmp_path, 3)
    with pytest.raises(KeyboardInterrupt), write_gif_after_failure(tmp_path):
        raise KeyboardInterrupt
    assert frames(tmp_path) == 3


def test_the_error_that_ended_the_training_is_told_and_not_that_of_the_gif(tmp_path, monkeypatch):
    def fail(*_):
        raise OutputError("disk full")

    write_frames(tmp_path, 1)
    monkeypatch.setattr(training_progress, "write_gif", fail)
    with pytest.raises(ZeroDivisionError), write_gif_after_failure(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(OutputError):
        write_progress_gif(tmp_path)


def test_before_the_first_epoch_there_is_no_gif(tmp_path):
    write_progress_gif(tmp_path)
    assert not (tmp_path / "progress.gif").exists()
