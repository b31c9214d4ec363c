"""How fast RLE text becomes a mask, beside a loop over runs and pycocotools.

    python benchmarks/rle.py

Every way of decoding is checked to give the same masks, then all take turns on the same texts. A
ratio is the median over the turns, so that a busy machine affects all alike; in parentheses stand
the 5th and the 95th percentile. pycocotools is measured twice: on its own compressed bytes, which
need no parsing, and from the same text as the others, by way of its uncompressed counts.

The gain over the loop grows with the number of runs: with few, most time goes into filling the mask
with zeros, as in all ways. With tens of thousands, parsing the text is most of the work, and
pycocotools, which reads its own bytes, is faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from defectkit.labels.rle import decode, encode

Mask = npt.NDArray[np.uint8]
Shape = tuple[int, int]


def decode_by_loop(rle: str, shape: Shape) -> Mask:
    """Decode as most public Kaggle kernels do."""
    parts = rle.split()
    starts, lengths = (np.asarray(part, dtype=int) for part in (parts[0::2], parts[1::2]))
    starts -= 1
    flat = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for low, high in zip(starts, starts + lengths, strict=True):
        flat[low:high] = 1
    return flat.reshape(shape[::-1]).T


def decode_by_coco_text(rle: str, shape: Shape) -> Mask:
    """Decode with pycocotools from text: COCO's counts are the lengths of 0s and 1s in turn."""
    numbers = np.array(rle.split(), dtype=np.int64)
    starts, ends = numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=shape[0] * shape[1]).tolist()
    return coco.decode(coco.frPyObjects({"size": list(shape), "counts": counts}, *shape))


def ellipse(rng: np.random.Generator, shape: Shape, sizes: tuple[int, int]) -> Mask:
    """One filled ellipse inside the image; ``sizes`` bound its half axes in pixels."""
    mask = np.zeros(shape, np.uint8)
    axes = rng.integers(*sizes, size=2).tolist()
    center = [int(rng.integers(max(axes), side - max(axes))) for side in shape[::-1]]
    return cv2.ellipse(mask, center, axes, int(rng.integers(180)), 0, 360, 1, cv2.FILLED)


def specks(rng: np.random.Generator, shape: Shape, count: int) -> Mask:
    """``count`` small disks."""
    mask = np.zeros(shape, np.uint8)
    for row, column, radius in rng.integers((0, 0, 1), (*shape, 4), size=(count, 3)).tolist():
        cv2.circle(mask, (column, row), radius, 1, cv2.FILLED)
    return mask


def cases(rng: np.random.Generator) -> Iterator[tuple[str, list[Mask]]]:
    """Yield named lists of masks."""
    yield "512x512 ellipses", [ellipse(rng, (512, 512), (50, 150)) for _ in range(40)]
    yield "512x512 ellipses, half as large", [ellipse(rng, (512, 512), (25, 75)) for _ in range(40)]
    yield "512x512 ellipses, a fifth", [ellipse(rng, (512, 512), (10, 30)) for _ in range(40)]
    yield "256x1600 ellipses", [ellipse(rng, (256, 1600), (40, 120)) for _ in range(40)]
    yield "256x1600 specks", [specks(rng, (256, 1600), 3000) for _ in range(3)]
    yield "512x512 noise", [rng.integers(0, 2, (512, 512), np.uint8)]


def measure(masks: list[Mask], turns: int) -> dict[str, list[float]]:
    """Return, for each way of decoding, microseconds per mask in each turn."""
    shape: Shape = masks[0].shape
    texts = [encode(mask) for mask in masks]
    packed = [coco.encode(np.asfortranarray(mask)) for mask in masks]
    ways: dict[str, tuple[Callable[..., Mask], list]] = {
        "defectkit": (lambda text: decode(text, shape), texts),
        "loop": (lambda text: decode_by_loop(text, shape), texts),
        "coco bytes": (coco.decode, packed),
        "coco text": (lambda text: decode_by_coco_text(text, shape), texts),
    }
    for way, inputs in ways.values():
        for given, mask in zip(inputs, masks, strict=True):
            np.testing.assert_array_equal(way(given), mask)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, (way, inputs) in ways.items():
            way(inputs[0])  # Not timed: brings code and memory into the caches.
            began = time.perf_counter()
            for given in inputs:
                way(given)
            times[name].append((time.perf_counter() - began) / len(inputs) * 1e6)
    return times


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=100)
    turns = parser.parse_args().turns
    others = ("loop", "coco bytes", "coco text")
    print(f"| masks | runs | us a mask | times as long: {' | '.join(others)} |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, masks in cases(np.random.default_rng(0)):
        times = measure(masks, turns)
        runs = statistics.median(len(encode(mask).split()) // 2 for mask in masks)
        told = [
            "{1:.1f} ({0:.1f} to {2:.1f})".format(
                *np.percentile(np.divide(times[other], times["defectkit"]), (5, 50, 95))
            )
            for other in others
        ]
        own = statistics.median(times["defectkit"])
        print(f"| {name} | {runs:.0f} | {own:.1f} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
