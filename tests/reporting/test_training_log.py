import io

from rich.console import Console

from defectkit.reporting.training_log import print_end, print_epoch, progress_bar

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


def test_without_a_terminal_there_is_no_bar():
    def work(console: Console) -> None:
        with progress_bar(console) as on_progress:
            on_progress(0.5, "epoch 1")

    assert printed(work).strip() == ""
