"""Images with squares as their defects, and the label table of them."""

from pathlib import Path

import numpy as np

from defectkit.data.images import write_png
from defectkit.labels import rle

SIDE = 96


def draw_image(index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A gray image of noise; every other one has a bright square, of class 1 or 2 in turn."""
    rng = np.random.default_rng([7, index])
    image = rng.integers(90, 130, (SIDE, SIDE), dtype=np.uint8)
    if index % 2:
        return image, {}
    top, left = (int(place) for place in rng.integers(4, SIDE - 28, 2))
    mask = np.zeros(image.shape, bool)
    mask[top : top + 22, left : left + 18] = True
    image[mask] = rng.integers(200, 240, int(mask.sum()), dtype=np.uint8)
    return image, {str(index // 2 % 2 + 1): mask}


def make_source(
    folder: Path, count: int = 20, name: str = "part-{:02d}.png", *, first: int = 0
) -> Path:
    """Write ``Train/*.png`` and ``train.csv`` in Severstal form, and return the CSV."""
    lines = ["ImageId,ClassId,EncodedPixels"]
    for index in range(first, first + count):
        image, masks = draw_image(index)
        image_id = name.format(index)
        write_png(folder / "Train" / image_id, image)
        rows = [f"{image_id},{c},{rle.encode(mask)}" for c, mask in masks.items()]
        lines += rows or [f"{image_id},,"]
    (folder / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.csv"
