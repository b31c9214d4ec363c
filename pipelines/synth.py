"""Draw synthetic inspection images with labels: ``train.csv`` and ``Train/*.png``.

The defaults are the settings of the committed ``sample_data``: ``defectkit synth sample_data``
writes the same labels and the same pixels again.
"""

from pathlib import Path

from rich.console import Console
from rich.progress import track

from defectkit.data.images import write_png
from defectkit.errors import ConfigError, OutputError
from defectkit.files import ensure_writable, write_text
from defectkit.labels import rle
from defectkit.synthesis.generator import SynthImage, check_settings, synthesize

COLUMNS = ("ImageId", "ClassId", "EncodedPixels")


def run(
    out: Path | str,
    *,
    images: int = 88,
    size: int = 512,
    textures: int = 6,
    seed: int = 0,
    difficulty: float = 0.1,
    levels: int = 16,
    force: bool = False,
) -> Path:
    """Write ``OUT/train.csv`` (Severstal form) and ``OUT/Train/0000.png`` onward.

    About half of the images are defective, the texture families take turns, and image i is the
    same however many are asked for. Good images have one row with empty cells. Images that lie in
    ``OUT/Train`` under other names stay as they are.

    Args:
        out: the folder to write; it is made if absent.
        images: how many images to draw, at least 1.
        size: width and height in pixels.
        textures: how many of the six texture families take turns.
        seed: names the series of images.
        difficulty: 0 (flaws plain to see) to 1 (barely there).
        levels: gray values used; 16 keep 512x512 images near 70 kB.
        force: replace a ``train.csv`` that says something else.

    Returns:
        The path of ``train.csv``; it is written last, so that it stands for a whole dataset.

    Raises:
        ConfigError: a setting is out of its range.
        OutputError: ``out`` cannot be written or holds the labels of something else.
    """
    if images < 1:
        raise ConfigError(f"images is {images}. Choose at least 1.")
    check_settings(size=size, textures=textures, seed=seed, difficulty=difficulty, levels=levels)
    out = ensure_writable(out)
    table = out / "train.csv"

    def draw(index: int) -> SynthImage:
        return synthesize(
            index, size=size, textures=textures, seed=seed, difficulty=difficulty, levels=levels
        )

    console = Console(stderr=True)
    if table.exists() and not force:
        task = track(range(images), f"Comparing with {table}", console=console)
        if table.read_bytes() != _csv([_rows(index, draw(index)) for index in task]).encode():
            raise OutputError(
                f"{table} exists and holds other labels. Choose another folder or add --force."
            )
    rows = []
    for index in track(range(images), "Drawing images", console=console):
        drawn = draw(index)
        rows.append(_rows(index, drawn))
        write_png(out / "Train" / _name(index), drawn.image)
    write_text(table, _csv(rows))
    return table


def _name(index: int) -> str:
    return f"{index:04d}.png"


def _rows(index: int, drawn: SynthImage) -> str:
    rows = [
        (_name(index), str(class_id), rle.encode(mask)) for class_id, mask in drawn.masks.items()
    ]
    return "".join(",".join(row) + "\n" for row in rows or [(_name(index), "", "")])


def _csv(rows: list[str]) -> str:
    return ",".join(COLUMNS) + "\n" + "".join(rows)
