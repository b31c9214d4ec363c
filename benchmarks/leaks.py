"""Whether planted copies are found, look-alikes are left apart, and how long many images take.

    python benchmarks/leaks.py recall sample_data/Train ../shared/data/dagm_mini/Train
    python benchmarks/leaks.py drawn --surface part --images 1000
    python benchmarks/leaks.py scale --images 100000
    python benchmarks/leaks.py groups ../shared/data/magnetic_tile

``recall`` plants a copy of each image in a folder, in each of nine ways, and looks for it among
all of them. The claim is 0.95. ``drawn`` draws textures, pieces of one weave or parts of one kind,
which look alike, and plants a copy of three in ten, each in one of the ways or as an equal file.
The claims are fewer than one false pair in 1,000 images, and a recall of 1 for equal files, 0.95
for copies and 0.9 for halves. ``scale`` makes up the keypoints of many images, from those of
``sample_data`` with some bits turned, and times the search for candidates. ``groups`` prepares a
``train.csv`` without the ``images.csv`` beside it, and prints how many of the pairs of images that
this puts into one group are found.
"""

import argparse
import io
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from PIL import Image as PillowImage
from rich.console import Console

from defectkit import prepare
from defectkit.arrays import Image, UInt64Array
from defectkit.data.image_kinds import IMAGE_SUFFIXES
from defectkit.data.images import decode_image, read_image, write_png
from defectkit.files import sha256_file
from defectkit.labels.formats.csv_table import read_meta
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.alignment import orient
from defectkit.preparation.leaks.candidates import ImageKeypoints, find_candidates
from defectkit.preparation.leaks.find import LeakSearch, find_leaks
from defectkit.preparation.leaks.keypoints import COORDINATE_BITS, DESCRIPTOR_BITS, find_keypoints
from defectkit.preparation.leaks.pairs import Leak
from defectkit.preparation.worker_pool import open_worker_pool
from defectkit.synthesis.generator import synthesize
from defectkit.vocabulary import SynthSurface

BORDER = 8
WAYS = (
    *("turned", "encoded", "brightened", "shifted", "all of these"),
    *("half", "half, turned", "half, encoded", "half, cut out"),
)


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=("recall", "drawn", "scale", "groups"))
    parser.add_argument("folders", type=Path, nargs="*", default=[Path("sample_data/Train")])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--surface", choices=get_args(SynthSurface), default="textures")
    parser.add_argument("--size", type=int, default=512, help="of drawn images, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.part == "recall":
        for folder in options.folders:
            print_recall(folder, options.seed)
    elif options.part == "groups":
        print_groups(options.folders[0])
    elif options.part == "drawn":
        print_drawn(options.surface, options.images, size=options.size, seed=options.seed)
    else:
        print_scale(options.folders[0], options.images, options.seed)


def print_recall(folder: Path, seed: int) -> None:
    """Print, for each way, how many of the planted copies are found, and what else is."""
    images = [
        read_image(path) for path in sorted(folder.iterdir()) if path.suffix in IMAGE_SUFFIXES
    ]
    for way in WAYS:
        found, kinds, others = recall(images, way, seed)
        share = found / len(images)
        print(f"{folder}: {way}: {found} of {len(images)} ({share:.3f}), {kinds} of them of the "
              f"right kind, {others} other pairs")  # fmt: skip


def print_drawn(surface: SynthSurface, count: int, *, size: int, seed: int) -> None:
    """Print what is found of copies of some of ``count`` drawn images, and what else is."""
    rng = np.random.default_rng([seed, count])
    images: list[Image] = []
    planted: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index in range(count):
        image = synthesize(index, size=size, seed=seed, surface=surface).image
        way = ["equal", *WAYS][index // 10 % (1 + len(WAYS))]
        if index % 10 < 3:
            planted[way].append((len(images), len(images) + 1))
            images += plant(image, way, rng)
        else:
            images.append(image)
    start = time.perf_counter()
    pairs, search = find_pairs(images)
    right = {pair for found in planted.values() for pair in found}
    print(f"{surface}: {len(images)} images of {size} pixels, {search.n_compared} pairs compared, "
          f"{time.perf_counter() - start:.0f} s, {search.n_sharing_a_part} share a part, "
          f"{len(pairs.keys() - right)} false pairs")  # fmt: skip
    for way, found in planted.items():
        share = len(pairs.keys() & {*found}) / len(found)
        print(f"  {way}: {share:.3f} of {len(found)}")


def recall(images: Sequence[Image], way: str, seed: int = 0) -> tuple[int, int, int]:
    """Plant a copy of each image; count the pairs found, of the right kind, and other pairs."""
    rng = np.random.default_rng([seed, WAYS.index(way)])
    planted = [picture for image in images for picture in plant(image, way, rng)]
    pairs, _ = find_pairs(planted)
    right = {(2 * index, 2 * index + 1) for index in range(len(images))}
    kind = "overlap" if way.startswith("half") else "near"
    kinds = sum(pairs[pair].kind in (kind, "exact") for pair in right & pairs.keys())
    return len(right & pairs.keys()), kinds, len(pairs.keys() - right)


def find_pairs(images: Sequence[Image]) -> tuple[dict[tuple[int, int], Leak], LeakSearch]:
    """Return the pairs of images that show the same thing, by their numbers, and the search."""
    facts = []
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(images):
            path = Path(folder) / f"{number}.png"
            write_png(path, image)
            height, width = image.shape[:2]
            described = find_keypoints(image)
            facts.append(
                ImageFacts(
                    image_id=str(number),
                    path=path,
                    height=height,
                    width=width,
                    sha256=sha256_file(path),
                    keypoints=described,
                )
            )
        with open_worker_pool(None, n_jobs=len(facts)) as pool:
            search = find_leaks(facts, pool)
    numbers = {(int(leak.image_id_a), int(leak.image_id_b)): leak for leak in search.leaks}
    return {(min(pair), max(pair)): leak for pair, leak in numbers.items()}, search


def plant(image: Image, way: str, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return two images that are equal or show the same, or half of it, in one of the ``WAYS``."""
    if way.startswith("half"):
        return plant_half(image, way, rng)
    if way == "equal":
        return image, image
    one = other = image
    if way in ("shifted", "all of these"):
        reach = 4 if way == "shifted" else BORDER
        y, x = (BORDER + rng.integers(-reach, reach + 1) for _ in range(2))
        height, width = (side - 2 * BORDER for side in image.shape[:2])
        one, other = image[BORDER:-BORDER, BORDER:-BORDER], image[y : y + height, x : x + width]
    if way in ("turned", "all of these"):
        other = orient(other, int(rng.integers(1, 8)))
    if way in ("brightened", "all of these"):
        by = int(rng.choice([-20, 20]))
        other = np.clip(other.astype(np.int16) + by, 0, 255).astype(np.uint8)
    if way in ("encoded", "all of these"):
        other = encoded_again(other, rng)
    return np.ascontiguousarray(one), np.ascontiguousarray(other)


def plant_half(image: Image, way: str, rng: np.random.Generator) -> tuple[Image, Image]:
    """Cut two pieces that have about half in common, or one out of the other."""
    along = image if rng.random() < 0.5 else image.swapaxes(0, 1)
    length = len(along)
    size = 2 * length // 3
    start = size // 2 + int(rng.integers(-4, 5))
    one, other = along[:size], along[start : start + size]
    if way == "half, cut out":
        one, other = along, along[length // 2 :]
    if way == "half, turned":
        other = orient(other, int(rng.integers(1, 8)))
    if way == "half, encoded":
        other = encoded_again(other, rng)
    return np.ascontiguousarray(one), np.ascontiguousarray(other)


def encoded_again(image: Image, rng: np.random.Generator) -> Image:
    """Return what is left of an image after JPEG of quality 50 to 95."""
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image)).save(
        buffer, "JPEG", quality=int(rng.integers(50, 96))
    )
    return decode_image(buffer.getvalue(), name="encoded again")


def print_scale(folder: Path, count: int, seed: int) -> None:
    """Time the search among ``count`` images, 1 in 100 of them a copy of another."""
    rng = np.random.default_rng(seed)
    known = [find_keypoints(read_image(path)) for path in sorted(folder.iterdir())]
    pool = np.frombuffer(b"".join(known), "<u8")
    copies = count // 100
    images = [*make_up(pool, count - copies, rng)]
    images += [
        ImageKeypoints(
            512, 512, turned(rng.permutation(np.frombuffer(one.keypoints, "<u8"))[:24], rng)
        )
        for one in images[:copies]
    ]
    start = time.perf_counter(), time.process_time()
    found = {(one.first, one.second) for one in find_candidates(images)}
    wall, own = time.perf_counter() - start[0], time.process_time() - start[1]
    right = {(index, count - copies + index) for index in range(copies)}
    print(f"{count} images: {wall:.0f} s ({own:.0f} s of one processor), {len(found & right)} of "
          f"{copies} copies found, {len(found - right)} candidates to refuse")  # fmt: skip


def print_groups(folder: Path) -> None:
    """Print how much of the groups that ``images.csv`` names is found without it."""
    group = {image_id: row["group"] for image_id, row in read_meta(folder / "images.csv").items()}
    with tempfile.TemporaryDirectory() as name:
        prepare(folder / "train.csv", unlisted="good", out=name, console=Console(quiet=True))
        images, leaks = (
            pd.read_csv(Path(name) / f"{table}.csv", dtype=str) for table in ("images", "leaks")
        )
    of = images["image_id"].map(group)
    asked = sum(math.comb(count, 2) for count in of.value_counts())
    right = (leaks["image_id_a"].map(group) == leaks["image_id_b"].map(group)).sum()
    splits = images.groupby(of)["split"].nunique()
    print(f"{len(images)} images: {right} of {asked} pairs of one group found, and "
          f"{len(leaks) - right} others; {(splits > 1).sum()} of {len(splits)} groups are in "
          "several splits")  # fmt: skip


def make_up(pool: UInt64Array, count: int, rng: np.random.Generator) -> Iterator[ImageKeypoints]:
    """Draw 48 keypoints of the pool for each image, and turn a fifth of their bits."""
    for _ in range(count):
        drawn = rng.choice(pool, 48)
        place = np.uint64(2 ** (2 * COORDINATE_BITS + 3) - 1)
        drawn = (drawn & ~place) | (rng.choice(pool, 48) & place)
        yield ImageKeypoints(512, 512, turned(drawn, rng, share=0.2))


def turned(keypoints: UInt64Array, rng: np.random.Generator, *, share: float = 0.04) -> bytes:
    """Turn over a ``share`` of the bits of the descriptions."""
    bits = rng.random((len(keypoints), DESCRIPTOR_BITS)) < share
    weights = np.uint64(1) << np.arange(2 * COORDINATE_BITS + 3, 64, dtype=np.uint64)
    return (keypoints ^ (bits @ weights)).astype("<u8").tobytes()


if __name__ == "__main__":
    main()
