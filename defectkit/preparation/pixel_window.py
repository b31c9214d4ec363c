"""The window of images of more than 8 bits: measured over the training images, or given.

By default it reaches from 0 to the largest value of the camera's number of bits, the smallest of
``DEPTHS`` that holds all images: 12-bit images that are stored in 16 bits become what they are when
they are saved in 8. Copies are searched for before there are training images; until then the window
of all images serves (``Levels``), and ``settle_window`` replaces it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from defectkit.arrays import Int64Array
from defectkit.data.image_kinds import MAX_CHANNELS
from defectkit.data.image_pages import decode_stored
from defectkit.data.images import read_image_bytes
from defectkit.data.pixel_format import MAX_16_BIT, PixelFormat
from defectkit.errors import DatasetError
from defectkit.object_stores import FilePath
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.prepared_image import PreparedImage
from defectkit.preparation.worker_pool import WorkerPool
from defectkit.vocabulary import PagesOption

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras."""
USUAL = (0.1, 99.9)
"""The percentiles that nearly all pixels lie between."""
SMALL_PART = 0.25
"""Images whose values take a smaller part of the window lose detail in 8 bits."""
MUCH_CLIPPED = 0.01
"""Clipped shares above this are told to the user."""
MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class PixelOptions:
    """What the user asked for: a window or percentiles or neither, pages, and what is shown."""

    window: tuple[float, float] | None
    percentile: tuple[float, float] | None
    pages: PagesOption
    shown: tuple[int, int, int] | None

    @property
    def format(self) -> PixelFormat:
        """How images are read as far as it is known before they are measured."""
        return PixelFormat(window=self.window, pages=self.pages, shown=self.shown)


@dataclass(slots=True)
class Levels:
    """Number of pixels by value, over all images of more than 8 bits."""

    counts: Int64Array = field(default_factory=lambda: np.zeros(MAX_16_BIT + 1, np.int64))
    images: int = 0

    def take(self, results: Iterable[tuple[int, ImageFacts]]) -> Iterator[tuple[int, ImageFacts]]:
        """Yield the results without their levels, which are added here, one image at a time."""
        for number, facts in results:
            if facts.levels is None:
                yield number, facts
                continue
            self.add(facts.levels)
            yield number, replace(facts, levels=None, deep=True)

    def add(self, levels: Int64Array) -> None:
        """Add the number of pixels by value of one image."""
        self.counts[: len(levels)] += levels
        self.images += 1

    def window(self, percentile: tuple[float, float] | None) -> tuple[float, float]:
        """Return the window: that of the percentiles, or of the camera's number of bits.

        Raises:
            DatasetError: the percentiles are one value.
        """
        if percentile is None:
            return _camera_window(int(np.flatnonzero(self.counts)[-1]))
        low, high = self.between(percentile)
        if low == high:
            raise DatasetError(
                f"--percentile {percentile[0]:g},{percentile[1]:g}: both are the gray value {low}. "
                "Take them further apart, or give --window LOW,HIGH."
            )
        return low, high

    def between(self, percentile: tuple[float, float]) -> tuple[int, int]:
        """Return the gray values of two percentiles."""
        cumulated = np.cumsum(self.counts)
        low, high = (
            int(np.searchsorted(cumulated, max(1, np.ceil(cumulated[-1] * percent / 100))))
            for percent in percentile
        )
        return low, high


def settle_window(
    images: Sequence[PreparedImage], pixels: PixelFormat, options: PixelOptions, pool: WorkerPool
) -> PixelFormat:
    """Return ``pixels`` with the window of the training images alone, unless one was given.

    Raises:
        DatasetError: their percentiles are one value.
        ImageError: an image can no longer be read.
    """
    deep = [one.facts for one in images if one.split == "train" and one.facts.deep]
    if options.window or not deep:
        return pixels
    if options.percentile is None:
        return replace(pixels, window=_camera_window(max(image.highest for image in deep)))
    levels = Levels()
    count = partial(_count_levels, pages=options.pages)
    for counts in pool.map(count, [image.path for image in deep]):
        levels.add(counts)
    return replace(pixels, window=levels.window(options.percentile))


def _camera_window(highest: int) -> tuple[int, int]:
    return 0, 2 ** next(depth for depth in DEPTHS if highest < 2**depth) - 1


def _count_levels(path: FilePath, *, pages: PagesOption) -> Int64Array:
    stored = decode_stored(read_image_bytes(path), name=path.name, pages=pages)
    return np.bincount(stored.values.ravel())


def parse_pixel_options(
    *, window: str | None, percentile: str | None, pages: PagesOption, show_channels: str | None
) -> PixelOptions:
    """Parse what the user asked for.

    Raises:
        DatasetError: it cannot be understood, or both a window and percentiles are given.
    """
    if window is not None and percentile is not None:
        raise DatasetError("--window and --percentile exclude each other. Give one of them.")
    shown = None
    if show_channels is not None:
        parts = [part.strip() for part in show_channels.split(",")]
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise DatasetError(
                f"--show-channels {show_channels} are not three channels, counted from 0, "
                "such as 0,1,2."
            )
        shown = (int(parts[0]), int(parts[1]), int(parts[2]))
    return PixelOptions(
        window=_parse_pair("--window", window, float("-inf"), float("inf"), "0,4095"),
        percentile=_parse_pair("--percentile", percentile, 0, 100, "0.1,99.9"),
        pages=pages,
        shown=shown,
    )


def _parse_pair(
    option: str, text: str | None, least: float, most: float, example: str
) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, -1.0
    else:
        if low >= high:
            raise DatasetError(f"{option} {text}: LOW must be below HIGH, such as {example}.")
    if not (least <= low < high <= most and np.isfinite((low, high)).all()):
        raise DatasetError(f"{option} {text} is not LOW,HIGH, such as {example}.")
    whole = low.is_integer() and high.is_integer()
    return (int(low), int(high)) if whole else (low, high)


def check_pixels(facts: Sequence[Facts], options: PixelOptions) -> None:
    """Check that all images have the same channels, and that what was asked fits them.

    Raises:
        DatasetError: they have not, or it does not.
    """
    usable = [image for image in facts if not image.problem]
    by_count = {image.channels: image for image in reversed(usable)}
    if len(by_count) > 1 and not by_count.keys() <= {1, 3}:
        one, other = (by_count[count] for count in sorted(by_count)[-2:])
        raise DatasetError(
            f"all images must have the same number of channels, but {one.image_id} has "
            f"{one.channels} and {other.image_id} has {other.channels}."
        )
    if (
        options.shown
        and by_count
        and (max(by_count) in (1, 3) or max(options.shown) >= max(by_count))
    ):
        chosen = ",".join(map(str, options.shown))
        count = max(by_count)
        have = "1 channel" if count == 1 else f"{count} channels, numbered 0 to {count - 1}"
        raise DatasetError(
            f"--show-channels {chosen}: the images have {have}. It is for images of 2 and of 4 to "
            f"{MAX_CHANNELS} channels."
        )
    for option, value in (("--window", options.window), ("--percentile", options.percentile)):
        if value and usable and not any(image.deep for image in facts):
            raise DatasetError(
                f"{option} is for images of more than 8 bits, but all of these have 8. Leave it "
                "out."
            )


def pixel_warnings(
    facts: Sequence[Facts], pixels: PixelFormat, options: PixelOptions, levels: Levels
) -> list[str]:
    """Return what the user should know of how the images were read, each without its period."""
    usable = [image for image in facts if not image.problem]
    warnings = _note_warnings(usable)
    deep = [image for image in usable if image.deep]
    if not deep or pixels.window is None:
        return warnings
    low, high = pixels.window
    how = (
        "as given"
        if options.window
        else f"the percentiles {options.percentile[0]:g} and {options.percentile[1]:g} of the "
        "training images"
        if options.percentile
        else "measured over the training images; --window or --percentile choose others"
    )
    warnings.append(
        f"{len(deep)} images have more than 8 bits: the values {low:g} to {high:g} become black to "
        f"white ({how})"
    )
    if flat := [image.image_id for image in usable if not image.deep]:
        some = (
            "1 image has 8 bits and is"
            if len(flat) == 1
            else f"{len(flat)} images have 8 bits and are"
        )
        others = "it matches" if len(flat) == 1 else "they match"
        warnings.append(f"{some} not scaled; check that {others} the others ({_names(flat)})")
    brighter = [image.image_id for image in deep if image.highest > high]
    if brighter and not (options.window or options.percentile):
        warnings.append(
            f"{len(brighter)} images have values above those of the training images; they become "
            f"white, as when such images are inspected ({_names(brighter)})"
        )
    if clipped := [image.image_id for image in deep if image.clipped > MUCH_CLIPPED]:
        share = sum(image.clipped for image in deep) / len(deep)
        warnings.append(
            f"{share:.1%} of all pixel values lie outside of {low:g} to {high:g} and become black "
            f"or white; in {len(clipped)} images more than {MUCH_CLIPPED:.0%} ({_names(clipped)})"
        )
    if levels.images and not options.percentile:
        least, most = levels.between(USUAL)
        if most - least < SMALL_PART * (high - low):
            warnings.append(
                f"nearly all pixels have values of {least} to {most}, a small part of {low:g} to "
                f"{high:g}: of 256 gray levels {round(256 * (most - least) / (high - low))} are "
                f"used. --percentile {USUAL[0]},{USUAL[1]} uses all"
            )
    return warnings


def _note_warnings(usable: Sequence[Facts]) -> list[str]:
    warnings = []
    if several := [image.image_id for image in usable if "several pages" in image.notes]:
        warnings.append(
            f"{len(several)} images have several pages or frames ({_names(several)}): the first is "
            "taken. If the pages of a TIFF are channels of one image, give --pages channels"
        )
    if planes := [image.image_id for image in usable if "planes first" in image.notes]:
        warnings.append(
            f"{len(planes)} arrays are read as (channels, height, width) ({_names(planes)})"
        )
    return warnings


def _names(names: Sequence[str]) -> str:
    return ", ".join([*names[:MAX_NAMES], *(["…"] if len(names) > MAX_NAMES else [])])
