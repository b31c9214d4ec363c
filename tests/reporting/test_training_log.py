import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from defectkit.reporting import training_log
from defectkit.reporting.training_log import describe_short_training, print_end, print_epoch

ROW = {
    "epoch": 3, "train_loss": 0.25, "val_image_ap": 0.5, "val_pixel_ap": None, "val_dice": 0.125,
    "validated_images": 20, "seconds": 12.4,
}  # fmt: skip


def printed(call) -> str:
    text = io.StringIO()
    call(Console(file=text, width=200))
    return text.getvalue()


def test_an_epoch_is_a_line_and_what_is_unknown_is_a_dash():
    line = printed(lambda console: print_epoch(console, ROW, kept_epoch=3))
    assert line == (
        "epoch   3  loss 0.2500  validation: image AP 0.500  pixel AP -  Dice 0.125  12 s\n"
    )
    worse = printed(lambda console: print_epoch(console, ROW, kept_epoch=2))
    assert worse.endswith("12 s  (clearly worse: epoch 2 is kept)\n")
    row = {**ROW, "val_image_ap": None, "val_dice": None, "validated_images": 0}
    line = printed(lambda console: print_epoch(console, row, kept_epoch=2))
    assert line == "epoch   3  loss 0.2500  12 s\n"


def test_the_end_warns_and_names_the_next_command(tmp_path):
    model = {"epoch": 7, "warnings": ["few [images]"]}
    text = printed(lambda console: print_end(console, tmp_path, model))
    assert "warning: few [images]" in text
    assert "model of epoch 7 in" in text
    assert f"next: defectkit evaluate {tmp_path}" in text.replace("\n", "")


@pytest.mark.parametrize(
    ("max_time", "steps", "told"),
    [
        (180.0, 30, "it drew 180 of the 6,000 samples that a training without --max-time takes. "
         "To go on: defectkit train --resume --out runs/a --max-time 100m"),
        (180.0, 99, "it drew 594 of the 6,000"),
        (180.0, 100, ""),
        (None, 1, ""),
    ],
)  # fmt: skip
def test_a_training_that_had_little_time_says_how_it_goes_on(monkeypatch, max_time, steps, told):
    history = [{"epoch": 1, "steps": 1}, {"epoch": 2, "steps": steps}]
    monkeypatch.setattr(training_log, "read_history", lambda _: history)
    train = SimpleNamespace(max_time=max_time, batch_size=6)
    approach = SimpleNamespace(config=SimpleNamespace(train=train))
    job = SimpleNamespace(
        approach=approach, network=SimpleNamespace(learns=True), training_images=100
    )
    note = describe_short_training(job, Path("runs/a"))
    assert told in note
    assert bool(told) == bool(note)
