"""Draw synthetic inspection images with labels: ``train.csv`` and ``Train/*.png``.

The defaults are the settings of the committed ``sample_data``: ``defectkit synth sample_data``
writes the same labels and the same pixels again.
"""

# The command line reads ``run`` for its help, which must not wait: what is slow to import (torch,
# numpy and whatever uses them) is imported inside the functions that need it.

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defectkit.errors import OutputError, check_range
from defectkit.files import read_limited, write_text
from defectkit.results_folder import write_results
from defectkit.results_marker import check_out
from defectkit.terminal import SafeConsole
from defectkit.vocabulary import SynthSurface

if TYPE_CHECKING:
    from defectkit.synthesis.generator import SynthImage

KIND = "images"
TABLE = "train.csv"
MAX_IMAGES = 100_000
COLUMNS = ("ImageId", "ClassId", "EncodedPixels")


def run(
    out: str | Path,
    *,
    images: int = 88,
    size: int = 512,
    surface: SynthSurface = "textures",
    textures: int = 6,
    seed: int = 0,
    difficulty: float = 0.1,
    levels: int = 16,
    force: bool = False,
    console: Console | None = None,
) -> Path:
    """Make images of textured surfaces with faint defects, and their label file.

    Writes train.csv (Severstal form) and Train/0000.png onward. About half of the images are
    defective, the texture families take turns, and an image is the same however many are asked for.

    Examples:
        defectkit synth practice --images 200 --difficulty 0.5

    Args:
        out: The folder to write. Images in its Train folder under other names stay.
        images: Number of images, at least 1.
        size: Side of the images in pixels, 128 to 16384.
        surface: Textures of all families in turn; or pieces of one weave, or parts of one kind
            under a fixed camera, whose images look alike but are not copies.
        textures: Number of texture families, 1 to 6.
        seed: Other seeds give other images.
        difficulty: From 0 (clearly visible) to 1 (barely visible).
        levels: Number of gray values, 2 to 256; 16 keep images of 512 x 512 pixels near 70 kB.
        force: Overwrite OUT/train.csv and images that differ from those to write.
        console: Where to report; by default the standard error stream.

    Returns:
        The path of ``train.csv``; it is written last, so that where it is, the images are complete.

    Raises:
        ConfigError: A setting is out of its range.
        OutputError: ``out`` cannot be written or has other labels or images of the same names.
    """
    from defectkit.data.images import write_png
    from defectkit.reporting.progress import track
    from defectkit.synthesis.generator import check_settings, synthesize

    check_range("--images", images, 1, MAX_IMAGES)
    check_settings(size=size, textures=textures, seed=seed, difficulty=difficulty, levels=levels)
    out = check_out(out, KIND)
    table = out / TABLE

    def draw_image(index: int) -> "SynthImage":
        return synthesize(
            index,
            size=size,
            surface=surface,
            textures=textures,
            seed=seed,
            difficulty=difficulty,
            levels=levels,
        )

    console = console or SafeConsole()
    if table.exists() and not force:
        task = track(range(images), f"Comparing with {table}", console=console)
        if (
            read_limited(table)
            != _csv_text([_label_rows(index, draw_image(index)) for index in task]).encode()
        ):
            raise OutputError(
                f"{table} exists and has other labels. Choose another folder or add --force."
            )
    names = [f"Train/{_file_name(index)}" for index in range(images)]
    rows = []
    with write_results(
        out,
        kind=KIND,
        head=TABLE,
        # Where the labels are the same, so may be images that no marker lists.
        names=[] if table.exists() else names,
        adopt=[TABLE, *(names if force else [])],
        otherwise="choose another folder, or add --force",
    ) as results:
        for index in track(range(images), "Drawing images", console=console):
            drawn = draw_image(index)
            rows.append(_label_rows(index, drawn))
            write_png(results.folder / "Train" / _file_name(index), drawn.image)
        write_text(results.folder / TABLE, _csv_text(rows))
    console.print(
        f"Written to {out}. Next: defectkit prepare {table}", markup=False, soft_wrap=True
    )
    return table


def _file_name(index: int) -> str:
    return f"{index:04d}.png"


def _label_rows(index: int, drawn: "SynthImage") -> str:
    from defectkit.labels import rle

    rows = [
        (_file_name(index), str(class_id), rle.encode(mask))
        for class_id, mask in drawn.masks.items()
    ]
    return "".join(",".join(row) + "\n" for row in rows or [(_file_name(index), "", "")])


def _csv_text(rows: list[str]) -> str:
    return ",".join(COLUMNS) + "\n" + "".join(rows)
