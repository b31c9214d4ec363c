"""``progress.gif``: the same few validation images after each validation."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image as Pillow

from defectkit.arrays import Image, Mask, ScoreMap
from defectkit.files import write_bytes
from defectkit.reporting.drawing.lettering import (
    PlacedText,
    draw_texts,
    line_height,
    shorten,
    text_width,
)
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, FAINT, INK
from defectkit.reporting.drawing.sheets import fit_image, fit_mask
from defectkit.reporting.drawing.strokes import as_rgb, draw_outline

CELL_SIZE = (200, 150)
"""Width and height in pixels of the space for one picture."""

GUTTER = 8
FONT_SIZE = 13
ROWS = ("image", "truth", "finding")
COLOR_BAR_WIDTH = 64
GRAYS = 80
"""Number of grays among the 256 colors of a GIF."""

MAX_BYTES = 5_000_000
"""A larger GIF loses every second frame until it is smaller, so that it can be sent by mail."""


def progress_frame(
    images: Sequence[Image],
    truths: Sequence[Mask],
    score_maps: Sequence[ScoreMap],
    *,
    epoch: int,
    caption: str = "",
) -> Image:
    """Return one frame: a column for each image, with the image, its truth and its score map.

    Args:
        images: (H, W), (H, W, 1) or (H, W, 3) uint8 each; about six fit well.
        truths: (H, W) bool each.
        score_maps: (H, W) float32 in [0, 1] each, as ``Finding.defect_map``.
        epoch: its number, from 1, shown in the header.
        caption: shown beside it, for example the validation score.

    Returns:
        (H', W', 3) RGB uint8; the size depends on the images alone.
    """
    top = line_height(FONT_SIZE) + GUTTER
    left = max(text_width(row, FONT_SIZE) for row in ROWS) + 2 * GUTTER
    columns = [
        _draw_column(image, truth, scores)
        for image, truth, scores in zip(images, truths, score_maps, strict=True)
    ]
    width = max(left + sum(column[0].shape[1] + GUTTER for column in columns), 420)
    row_height = max((column[0].shape[0] for column in columns), default=0)
    frame = np.full((top + 3 * (row_height + GUTTER), width, 3), BACKGROUND, np.uint8)
    x = left
    for column in columns:
        for row, picture in enumerate(column):
            y = top + row * (row_height + GUTTER)
            frame[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        x += column[0].shape[1] + GUTTER
    title = f"epoch {epoch}"
    caption_left = left + text_width(title, FONT_SIZE) + 2 * GUTTER
    caption = shorten(caption, width - caption_left - COLOR_BAR_WIDTH - 5 * GUTTER, FONT_SIZE)
    texts = [
        PlacedText(title, left, 4, FONT_SIZE, INK),
        PlacedText(caption, caption_left, 4, FONT_SIZE, FAINT),
    ]
    for row, name in enumerate(ROWS if columns else ()):
        y = top + row * (row_height + GUTTER)
        texts.append(PlacedText(name, GUTTER, y, FONT_SIZE, FAINT))
    texts += _draw_color_bar(frame[:top])
    draw_texts(frame, texts)
    return frame


def heatmap(image: Image, scores: ScoreMap) -> Image:
    """Return the scores as perceptually uniform colors, blended with ``image``.

    ``image`` is (H, W, 3) RGB uint8, ``scores`` (H, W) float32 in [0, 1]; the colors are
    matplotlib's *inferno*. The higher the score, the less of the image shows through.
    """
    colors = 255 * matplotlib.colormaps["inferno"](scores)[..., :3]
    opacity = 0.55 + 0.35 * scores[..., None]
    blended: Image = np.rint(opacity * colors + (1 - opacity) * image).astype(np.uint8)
    return blended


def write_gif(path: Path | str, frames: Sequence[Image], seconds_per_frame: float = 0.5) -> None:
    """Write RGB uint8 ``frames`` of one size as an endless GIF, atomically.

    All frames share one palette and are not dithered, so that nothing flickers that does not
    change. The last frame is shown four times as long.
    """
    assert frames, "a GIF needs a frame"
    content = _encode(frames, seconds_per_frame)
    while len(content) > MAX_BYTES and len(frames) > 2:
        frames = frames[::-2][::-1]  # The last one stays.
        content = _encode(frames, seconds_per_frame)
    write_bytes(path, content)


def _draw_column(image: Image, truth: Mask, scores: ScoreMap) -> tuple[Image, Image, Image]:
    bare = fit_image(as_rgb(image), CELL_SIZE)
    size = bare.shape[1], bare.shape[0]
    small = np.clip(cv2.resize(scores, size, interpolation=cv2.INTER_AREA), 0, 1)
    with_truth, with_scores = bare.copy(), heatmap(bare, small)
    for picture in (with_truth, with_scores):
        draw_outline(picture, fit_mask(truth, bare.shape), COLORS["truth"], 1)
    return bare, with_truth, with_scores


def _draw_color_bar(strip: Image) -> list[PlacedText]:
    """Draw the colors of the scores 0 to 1 at the right of ``strip``; return their labels."""
    height, width = strip.shape[:2]
    left = width - COLOR_BAR_WIDTH - 3 * GUTTER
    ramp = np.tile(np.linspace(0, 1, COLOR_BAR_WIDTH, dtype=np.float32), (8, 1))
    window = strip[height // 2 - 5 : height // 2 + 3, left : left + COLOR_BAR_WIDTH]
    window[...] = heatmap(np.full_like(window, 96), ramp)
    return [
        PlacedText("0", left - 12, 4, FONT_SIZE - 2, FAINT),
        PlacedText("1", left + COLOR_BAR_WIDTH + 4, 4, FONT_SIZE - 2, FAINT),
    ]


def _encode(frames: Sequence[Image], seconds_per_frame: float) -> bytes:
    palette = _shared_palette(frames)
    first, *others = (
        Pillow.fromarray(frame).quantize(palette=palette, dither=Pillow.Dither.NONE)
        for frame in frames
    )
    duration = round(1000 * seconds_per_frame)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[duration] * len(others) + [4 * duration],
        loop=0,
    )
    return buffer.getvalue()


def _shared_palette(frames: Sequence[Image]) -> Pillow.Image:
    """Return a palette of evenly spaced grays and of the colors in the frames.

    The colors are chosen separately, since the many gray pixels would leave no room for them.
    """
    picks = np.linspace(0, len(frames) - 1, min(len(frames), 6)).round().astype(int)
    pixels = np.concatenate([frames[pick].reshape(-1, 3) for pick in picks])
    colored = pixels[np.ptp(pixels, axis=1) > 8]
    grays = np.linspace(0, 255, GRAYS).round().astype(np.uint8).repeat(3).tolist()
    colors: list[int] = []
    if len(colored):
        # Maximum coverage spreads the colors evenly, so that a small spot keeps its own color.
        method = Pillow.Quantize.MAXCOVERAGE
        colors = Pillow.fromarray(colored[None]).quantize(256 - GRAYS, method).getpalette() or []
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(grays + colors)
    return palette
