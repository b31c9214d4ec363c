"""``progress.gif``: the same few validation images after each epoch."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from defectkit.arrays import Color, Image, Mask
from defectkit.files import write_bytes
from defectkit.reporting.drawing.lettering import draw_texts, line_height, shorten, text_width
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, FAINT, INK
from defectkit.reporting.drawing.sheets import fit, fit_mask
from defectkit.reporting.drawing.strokes import as_rgb, outline

CELL = (200, 150)
"""Width and height in pixels of the room of one picture."""

GUTTER = 8
FONT_SIZE = 13
ROWS = ("image", "truth", "finding")
SCALE_WIDTH = 64
GRAYS = 80
"""How many of a GIF's 256 colors are gray."""

MAX_BYTES = 5_000_000
"""A longer GIF loses every second frame until it is smaller, so that it can be sent by mail."""


def progress_frame(
    images: Sequence[Image],
    truths: Sequence[Mask],
    maps: Sequence[npt.NDArray[np.float32]],
    *,
    epoch: int,
    caption: str = "",
) -> Image:
    """Return one frame: a column for each image, with the image, its truth and its score map.

    Args:
        images: (H, W), (H, W, 1) or (H, W, 3) uint8 each; about six are a good number.
        truths: (H, W) bool each.
        maps: (H, W) float32 in [0, 1] each, as ``Finding.defect_map``.
        epoch: shown in the header, from 1.
        caption: shown beside it, for example the validation score.

    Returns:
        (H', W', 3) RGB uint8, of one size for the same images.
    """
    top = line_height(FONT_SIZE) + GUTTER
    left = max(text_width(row, FONT_SIZE) for row in ROWS) + 2 * GUTTER
    columns = [
        _column(image, truth, scores)
        for image, truth, scores in zip(images, truths, maps, strict=True)
    ]
    width = max(left + sum(column[0].shape[1] + GUTTER for column in columns), 420)
    row_heights = max((column[0].shape[0] for column in columns), default=0)
    frame = np.full((top + 3 * (row_heights + GUTTER), width, 3), BACKGROUND, np.uint8)
    x = left
    for column in columns:
        for row, picture in enumerate(column):
            y = top + row * (row_heights + GUTTER)
            frame[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        x += column[0].shape[1] + GUTTER
    said = f"epoch {epoch}"
    after = left + text_width(said, FONT_SIZE) + 2 * GUTTER
    caption = shorten(caption, width - after - SCALE_WIDTH - 5 * GUTTER, FONT_SIZE)
    texts = [(said, left, 4, FONT_SIZE, INK), (caption, after, 4, FONT_SIZE, FAINT)]
    for row, name in enumerate(ROWS if columns else ()):
        texts.append((name, GUTTER, top + row * (row_heights + GUTTER), FONT_SIZE, FAINT))
    texts += _draw_scale(frame[:top])
    draw_texts(frame, texts)
    return frame


def heat(image: Image, scores: npt.NDArray[np.float32]) -> Image:
    """Return the scores as perceptually uniform colors over the darkened ``image``.

    ``image`` is (H, W, 3) RGB uint8, ``scores`` (H, W) float32 in [0, 1]; the colors are
    matplotlib's *inferno*. Where the score is high, the color hides the image.
    """
    colors = 255 * matplotlib.colormaps["inferno"](scores)[..., :3]
    share = 0.55 + 0.35 * scores[..., None]
    mixed: Image = np.rint(share * colors + (1 - share) * image).astype(np.uint8)
    return mixed


def write_gif(path: Path | str, frames: Sequence[Image], seconds_per_frame: float = 0.5) -> None:
    """Write RGB uint8 ``frames`` of one size as an endless GIF, atomically.

    All frames share one palette and are not dithered, so that what does not change does not
    flicker. The last frame is held four times as long.
    """
    assert frames, "a GIF needs a frame"
    content = _encode(frames, seconds_per_frame)
    while len(content) > MAX_BYTES and len(frames) > 2:
        frames = frames[::-2][::-1]  # The last one stays.
        content = _encode(frames, seconds_per_frame)
    write_bytes(path, content)


def _column(
    image: Image, truth: Mask, scores: npt.NDArray[np.float32]
) -> tuple[Image, Image, Image]:
    bare = fit(as_rgb(image), CELL)
    size = bare.shape[1], bare.shape[0]
    small = np.clip(cv2.resize(scores, size, interpolation=cv2.INTER_AREA), 0, 1)
    outlined, heated = bare.copy(), heat(bare, small)
    for picture in (outlined, heated):
        outline(picture, fit_mask(truth, bare.shape), COLORS["truth"], 1)
    return bare, outlined, heated


def _draw_scale(strip: Image) -> list[tuple[str, int, int, int, Color]]:
    """Draw the colors from score 0 to score 1 at the right of ``strip``; return their labels."""
    height, width = strip.shape[:2]
    left = width - SCALE_WIDTH - 3 * GUTTER
    ramp = np.tile(np.linspace(0, 1, SCALE_WIDTH, dtype=np.float32), (8, 1))
    window = strip[height // 2 - 5 : height // 2 + 3, left : left + SCALE_WIDTH]
    window[...] = heat(np.full_like(window, 96), ramp)
    return [
        ("0", left - 12, 4, FONT_SIZE - 2, FAINT),
        ("1", left + SCALE_WIDTH + 4, 4, FONT_SIZE - 2, FAINT),
    ]


def _encode(frames: Sequence[Image], seconds_per_frame: float) -> bytes:
    palette = _shared_palette(frames)
    first, *others = (
        Pillow.fromarray(frame).quantize(palette=palette, dither=Pillow.Dither.NONE)
        for frame in frames
    )
    wait = round(1000 * seconds_per_frame)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[wait] * len(others) + [4 * wait],
        loop=0,
    )
    return buffer.getvalue()


def _shared_palette(frames: Sequence[Image]) -> Pillow.Image:
    """Return a palette of even grays and of what colors the frames hold.

    The colors are chosen apart, since the many gray pixels would leave them no room.
    """
    picks = np.linspace(0, len(frames) - 1, min(len(frames), 6)).round().astype(int)
    pixels = np.concatenate([frames[pick].reshape(-1, 3) for pick in picks])
    colored = pixels[np.ptp(pixels, axis=1) > 8]
    grays = np.linspace(0, 255, GRAYS).round().astype(np.uint8).repeat(3).tolist()
    colors: list[int] = []
    if len(colored):
        # Maximum coverage spreads the colors evenly: a small hot spot keeps its own.
        way = Pillow.Quantize.MAXCOVERAGE
        colors = Pillow.fromarray(colored[None]).quantize(256 - GRAYS, way).getpalette() or []
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(grays + colors)
    return palette
