"""A label table and its images, made up row by row, for the tests of ``prepare``."""

import csv
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from defectkit.data.images import write_png
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.pipelines import prepare

HEIGHT, WIDTH = 24, 40


class Source:
    """A label table and its images, made up row by row."""

    def __init__(self, folder: Path, images: str = "Train") -> None:
        self.folder, self.images = folder, folder / images
        self.csv = folder / "train.csv"
        self.rows: list[list[str]] = [["ImageId", "ClassId", "EncodedPixels"]]

    def image(self, name: str, *, seed: int | None = None, color: bool = False) -> Path:
        seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) if seed is None else seed
        shape = (HEIGHT, WIDTH, 3) if color else (HEIGHT, WIDTH)
        path = self.images / name
        write_png(path, np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
        return path

    def add(self, name: str, *cells: str) -> None:
        """Add a row; without cells, that of a good image."""
        self.rows.append([name, *(cells or ("", ""))])

    def good(self, count: int, prefix: str = "good") -> None:
        for index in range(count):
            self.image(f"{prefix}{index}.png")
            self.add(f"{prefix}{index}.png")

    def defective(self, count: int, class_id: str = "1", prefix: str = "bad") -> None:
        for index in range(count):
            self.image(f"{prefix}{index}.png")
            self.add(f"{prefix}{index}.png", class_id, boxes((3 + index % 20, 4, 6, 5)))

    def prepare(self, **options) -> prepare.PrepareSummary:
        self.folder.mkdir(exist_ok=True)
        with self.csv.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows(self.rows)
        options.setdefault("console", Console(file=io.StringIO()))
        options.setdefault("out", self.folder / "dataset")
        summary = prepare.run(self.csv, **{"workers": 0, **options})
        # Of many of the images here it is said that they are too small to be compared.
        others = [one for one in summary.warnings if "too little detail" not in one]
        return replace(summary, warnings=tuple(others))

    def table(self, name: str) -> list[dict[str, str]]:
        return read_csv(self.folder / "dataset" / name)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(row["outcome"], row["reason"]) for row in self.table("ledger.csv")]


def boxes(*places: tuple[int, int, int, int]) -> str:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, width, height in places:
        mask[y : y + height, x : x + width] = 1
    return rle.encode(mask)


def mask_of(text: str) -> np.ndarray:
    return rle.decode(text, (HEIGHT, WIDTH))


def reversed_pairs(text: str) -> list[str]:
    numbers = text.split()
    return [f"{numbers[i]} {numbers[i + 1]}" for i in range(len(numbers) - 2, -1, -2)]
