"""The GIF must play every epoch, stay small, and move only where something moves."""

import numpy as np
import pytest
from PIL import Image

from defectkit.reporting.drawing import gif
from defectkit.reporting.drawing.gif import heatmap, progress_frame, write_gif
from defectkit.reporting.drawing.palette import COLORS


def watched(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((400, 103), (90, 200), (64, 64))
    images = [rng.integers(0, 200, shape, np.uint8) for shape in shapes]
    truths = [np.zeros(image.shape, bool) for image in images]
    for truth in truths:
        truth[30:35, 30:35] = True
    return images, truths


def film(count, seed=0):
    images, truths = watched()
    rng = np.random.default_rng(seed)
    return [
        progress_frame(
            images,
            truths,
            [rng.random(image.shape, np.float32) for image in images],
            epoch=epoch,
            caption=f"Dice 0.{epoch}",
        )
        for epoch in range(1, count + 1)
    ]


def frames_of(path):
    with Image.open(path) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append((np.asarray(gif.convert("RGB")).astype(int), gif.info["duration"]))
        return frames, gif.info.get("loop")


def test_frames_have_one_size_whatever_is_said():
    images, truths = watched()
    maps = [np.zeros(image.shape, np.float32) for image in images]
    short = progress_frame(images, truths, maps, epoch=1)
    long = progress_frame([image[..., None] for image in images], truths, maps, epoch=10000,
                          caption="very long " * 50)  # fmt: skip
    assert short.shape == long.shape
    assert short.dtype == np.uint8
    assert (short[:, -4:] == short[0, 0]).all(), "something is cut at the edge"
    assert (long[:, -4:] == long[0, 0]).all(), "something is cut at the edge"
    assert (long[:26, -90:] == short[:26, -90:]).all(), "the caption runs into the scale"
    white = (short == np.array(COLORS["truth"], np.uint8)).all(axis=-1)
    rows = np.flatnonzero(white.any(axis=1))
    assert np.ptp(rows) > 150, "the truth is not outlined in both rows"


def test_no_images_make_a_frame_too():
    assert progress_frame([], [], [], epoch=1).shape[2] == 3


def test_heat_rises_with_the_score():
    image = np.full((4, 101, 3), 100, np.uint8)
    scores = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (4, 1))
    light = heatmap(image, scores).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert light[0, -1] > light[0, 0] + 100
    assert (np.diff(light[0]) > -1.5).all()


def test_a_gif_plays_every_epoch_and_rests_on_the_last(tmp_path):
    frames = film(5)
    write_gif(tmp_path / "progress.gif", frames, 0.4)
    shown, loop = frames_of(tmp_path / "progress.gif")
    assert [duration for _, duration in shown] == [400, 400, 400, 400, 1600]
    assert loop == 0
    for (pixels, _), frame in zip(shown, frames, strict=True):
        assert np.abs(pixels - frame).mean() < 6


def test_what_stays_does_not_flicker(tmp_path):
    frames = film(6)
    write_gif(tmp_path / "progress.gif", frames)
    shown, _ = frames_of(tmp_path / "progress.gif")
    still = (np.ptp(np.stack(frames), axis=0) == 0).all(axis=-1)
    assert still.mean() > 0.5
    seen = np.stack([pixels for pixels, _ in shown])
    assert (np.ptp(seen, axis=0)[still] == 0).all()


def test_a_small_hot_spot_keeps_its_color(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(60, 160, (300, 400, 1), np.uint8).repeat(3, axis=2)
    scores = 0.3 * rng.random((300, 400), np.float32)
    spots = [(slice(50, 53), slice(left, left + 3)) for left in range(50, 350, 50)]
    for spot, score in zip(spots, np.linspace(0.5, 1, 6), strict=True):
        scores[spot] = score
    frame = heatmap(image, scores)
    write_gif(tmp_path / "progress.gif", [frame])
    pixels = frames_of(tmp_path / "progress.gif")[0][0][0]
    for spot in spots:
        assert np.abs(pixels[spot] - frame[spot]).max() < 12


def test_a_gray_film_is_written(tmp_path):
    frames = [np.full((20, 30, 3), level, np.uint8) for level in (0, 255)]
    write_gif(tmp_path / "progress.gif", frames)
    (first, _), (last, _) = frames_of(tmp_path / "progress.gif")[0]
    assert first.max() == 0
    assert last.min() > 250


def test_a_long_gif_loses_frames_and_not_its_end(tmp_path, monkeypatch):
    frames = film(16)
    write_gif(tmp_path / "whole.gif", frames)
    whole = (tmp_path / "whole.gif").stat().st_size
    monkeypatch.setattr(gif, "MAX_BYTES", whole // 3)
    write_gif(tmp_path / "thin.gif", frames)
    assert (tmp_path / "thin.gif").stat().st_size <= whole // 3
    shown, _ = frames_of(tmp_path / "thin.gif")
    assert len(shown) == 4
    assert np.abs(shown[-1][0] - frames[-1]).mean() < 6


def test_a_gif_without_frames_is_our_mistake(tmp_path):
    with pytest.raises(AssertionError, match="needs a frame"):
        write_gif(tmp_path / "progress.gif", [])
