"""What is regular in two aligned images, such as the period of a weave, taken out.

All pieces of one weave agree in it, so that it says nothing about whether two images show the same
piece. Where an image is like itself one period further, the difference of the two is compared; what
is left in it of the pattern are the few lines of the spectrum that stand out from what surrounds
them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from defectkit.arrays import Float32Array

DIRECTIONS = 2
MIN_PERIOD = 6
"""In pixels; what is nearer is alike in all images."""
MIN_PERIODICITY = 0.7
"""Min. correlation of a periodic image with itself one period further."""
MIN_DIP = 0.3
"""Min. amount by which this correlation is lower on the way there."""
SURROUNDINGS = 17
"""Side of the square of frequencies whose median a line is compared with, and cut to."""
MIN_PROMINENCE = 3.0
"""Min. amplitude of a line, as a multiple of the median around it; noise is seldom above it."""
STEPS_PER_OCTAVE = 15
"""Resolution of amplitudes, which are rounded to bytes for the median."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """What two aligned images have beside regular patterns.

    ``share`` is the fraction of their energy, in [0, 1]: near 1 where nothing is regular.
    ``similarity`` is the normalized correlation of what remains, in [-1, 1].
    """

    share: float
    similarity: float


def compare_remainders(one: Float32Array, other: Float32Array) -> Remainder:
    """Compare two aligned images, (H, W) and of the same size, without their regular patterns."""
    energy = np.sqrt(one.var() * other.var())
    for _ in range(DIRECTIONS):
        shift = _find_period(one)
        if shift is None:
            break
        one, other = (_difference(values, *shift) / np.float32(2**0.5) for values in (one, other))
    window = _window(one.shape)
    first, second = (fft.rfft2((values - values.mean()) * window) for values in (one, other))
    gains = np.minimum(_gains(first), _gains(second)) ** 2
    energies, others = (np.abs(spectrum) ** 2 for spectrum in (first, second))
    kept = np.sqrt((gains * energies).sum() * (gains * others).sum())
    left = np.sqrt(one.var() * other.var()) / max(energy, 1e-12)
    share = left * kept / max(np.sqrt(energies.sum() * others.sum()), 1e-12)
    similarity = (gains * (first * second.conj()).real).sum() / max(kept, 1e-12)
    return Remainder(float(share), float(similarity))


def _find_period(values: Float32Array) -> tuple[int, int] | None:
    """Return how far down and right an image is most like itself, or None where it is not."""
    height, width = values.shape
    window = _window(values.shape)
    likeness = _autocorrelation((values - values.mean()) * window)
    likeness /= np.maximum(_autocorrelation(window), 1e-3)
    likeness /= max(float(likeness[0, 0]), 1e-12)
    down, right = height // 4, width // 4
    near = np.roll(likeness, right, axis=1)[: down + 1, : 2 * right + 1]
    near[:MIN_PERIOD, max(0, right - MIN_PERIOD + 1) : right + MIN_PERIOD] = 0
    y, x = np.unravel_index(np.argmax(near), near.shape)
    shift = int(y), int(x) - right
    # Along the strokes of a brushed surface an image is like itself too, but all the way.
    steps = np.linspace(0, 1, 33)
    between = likeness[np.rint(steps * shift[0]).astype(int), np.rint(steps * shift[1]).astype(int)]
    peak = near[y, x]
    return shift if peak >= MIN_PERIODICITY and between.min() <= peak - MIN_DIP else None


def _autocorrelation(values: Float32Array) -> Float32Array:
    return np.asarray(fft.irfft2(np.abs(fft.rfft2(values)) ** 2, s=values.shape))


def _window(shape: tuple[int, int]) -> Float32Array:
    return np.outer(*(np.hanning(side) for side in shape)).astype(np.float32)


def _difference(values: Float32Array, down: int, right: int) -> Float32Array:
    """Return an image less itself ``down`` and ``right`` pixels further, where both are."""
    height, width = values.shape
    left = max(0, -right)
    here = values[: height - down, left : width - max(0, right)]
    return here - values[down:, left + right : width - max(0, right) + right]


def _gains(spectrum: npt.NDArray[np.complex64]) -> Float32Array:
    """Return the factors that cut the lines of a spectrum to what is around them."""
    amplitudes = np.log2(np.abs(spectrum) + 1e-12)
    floor = amplitudes.max() - 255 / STEPS_PER_OCTAVE
    steps = np.clip((amplitudes - floor) * STEPS_PER_OCTAVE, 0, 255).astype(np.uint8)
    half = SURROUNDINGS // 2
    around = np.pad(np.roll(steps, len(steps) // 2, axis=0), half, mode="reflect")
    median = cv2.medianBlur(around, SURROUNDINGS)[half:-half, half:-half]
    median = np.roll(median, -(len(steps) // 2), axis=0)
    prominence = (steps.astype(np.float32) - median) / STEPS_PER_OCTAVE
    is_line = prominence > np.log2(MIN_PROMINENCE)
    return np.where(is_line, 2.0**-prominence, 1).astype(np.float32)
