"""Plots must be written for every history and every set of scores, and say the truth."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.reporting.drawing.figures import BLUE, GREEN, ORANGE
from defectkit.reporting.drawing.plots import (
    plot_history,
    plot_scores,
)

ROWS = [
    {
        "epoch": epoch,
        "train_loss": 2 / epoch,
        "train_bce": 1.2 / epoch,
        "train_dice": 0.8 / epoch,
        "val_image_ap": None if epoch == 2 else 1 - 0.5 / epoch,
        "val_pixel_ap": 1 - 0.7 / epoch,
        "val_dice": 0.9 - 0.6 / epoch,
        "learning_rate": 1e-3 / epoch,
        "seconds": 35.5,
        "train_seconds": 30.5,
        "val_seconds": 5.0,
    }
    for epoch in range(1, 9)
]


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines}


def colors_of(path):
    return {tuple(color) for color in np.unique(read_image(path).reshape(-1, 3), axis=0).tolist()}


def rgb(code):
    return tuple(bytes.fromhex(code.removeprefix("#")))


def test_the_history_shows_every_column(tmp_path, drawn):
    plot_history(tmp_path / "curves.png", ROWS, kept_epoch=7)
    loss, validation, rate = drawn[0].axes
    assert {"total", "bce", "dice"} <= lines_of(loss).keys()
    assert len(lines_of(loss)) == 4, "three losses and the kept epoch: times are no loss"
    assert {"image average precision", "pixel average precision", "pixel Dice"} <= lines_of(
        validation
    ).keys()
    ap = lines_of(validation)["image average precision"]
    assert ap.get_xdata().tolist() == [1, 3, 4, 5, 6, 7, 8], "what is unknown has no point"
    assert ap.get_ydata()[6] == 1 - 0.5 / 8
    assert lines_of(rate)["learning_rate"].get_ydata()[0] == 1e-3
    assert lines_of(validation)["kept epoch: 7"].get_xdata() == [7, 7]
    assert "kept epoch: 7" in [text.get_text() for text in validation.get_legend().get_texts()]
    assert {rgb(BLUE), rgb(ORANGE), rgb(GREEN)} <= colors_of(tmp_path / "curves.png")


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        [{"epoch": 1, "train_loss": None, "val_dice": None, "learning_rate": None}],
        [{"epoch": 3, "train_loss": 0.5}, {"epoch": 4, "train_loss": 0.4, "val_dice": 0.2}],
        [{"epoch": 1, "train_loss": float("nan"), "learning_rate": 0.1}],
    ],
)
@pytest.mark.filterwarnings("error")
def test_short_and_patchy_histories_are_drawn(tmp_path, rows):
    plot_history(tmp_path / "curves.png", rows)
    assert read_image(tmp_path / "curves.png").shape == (396, 1430, 3)


def test_a_loss_of_one_term_is_drawn_once(tmp_path, drawn):
    plot_history(tmp_path / "curves.png", [{"epoch": 1, "train_loss": 1.0, "train_dice": 1.0}])
    assert list(lines_of(drawn[0].axes[0])) == ["loss"]


def test_the_chosen_point_and_the_counts_are_shown(tmp_path, drawn):
    scores = [0.05, 0.1, 0.3, 0.6, 0.2, 0.25, 0.8, 0.9]  # two of them are just a threshold
    defective = [False] * 4 + [True] * 4
    plot_scores(tmp_path / "scores.png", scores, defective, threshold_low=0.25, threshold_high=0.6)
    histogram, trade = drawn[0].axes
    names = [text.get_text() for text in histogram.get_legend().get_texts()]
    assert names == ["good (4)", "defective (4)", "review: 0.250 to 0.600"]
    chosen = "chosen: escapes 1 of 4, overkills 1 of 4,\nreviews 2 of 8"
    point = lines_of(trade)[chosen]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.25, 0.25)


def test_one_threshold_has_no_review_band(tmp_path, drawn):
    plot_scores(
        tmp_path / "s.png", [0.1, 0.9], [False, True], threshold_low=0.5, threshold_high=0.5
    )
    histogram, trade = drawn[0].axes
    assert "threshold 0.500" in lines_of(histogram)
    assert "chosen: escapes 0 of 1, overkills 0 of 1" in lines_of(trade)


@pytest.mark.parametrize("defective", [[True] * 3, [False] * 3])
@pytest.mark.filterwarnings("error")
def test_scores_of_one_kind_only_are_drawn(tmp_path, drawn, defective):
    plot_scores(
        tmp_path / "s.png", [0.1, 0.5, 1.0], defective, threshold_low=0.0, threshold_high=1.0
    )
    assert [text.get_text() for text in drawn[0].axes[1].texts] == [
        "only with good and with defective images"
    ]


def test_scores_and_truth_of_different_length_are_our_mistake(tmp_path):
    with pytest.raises(AssertionError):
        plot_scores(tmp_path / "s.png", [0.1], [True, False], threshold_low=0, threshold_high=1)


def test_plots_may_be_drawn_in_threads(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda path: plot_history(path, ROWS), paths))
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 1


def test_pyplot_with_its_global_state_is_never_imported(tmp_path):
    code = (
        "import sys; from defectkit.reporting.drawing.plots import plot_history;"
        f"plot_history({str(tmp_path / 'c.png')!r}, [dict(epoch=1, train_loss=1.0)]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
