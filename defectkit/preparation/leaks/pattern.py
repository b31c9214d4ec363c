"""What is regular in two aligned images, such as the period of a weave, taken out.

All pieces of one weave agree in it, so that it says nothing about whether two images show the same
piece. In the spectrum it is the few lines that stand out from what surrounds them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from defectkit.arrays import Float32Array

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
    window = np.outer(*(np.hanning(side) for side in one.shape)).astype(np.float32)
    first, second = (
        fft.rfft2((values - values.mean()) * window, workers=1) for values in (one, other)
    )
    gains = np.minimum(_gains(first), _gains(second)) ** 2
    energies, others = (np.abs(spectrum) ** 2 for spectrum in (first, second))
    kept = np.sqrt((gains * energies).sum() * (gains * others).sum())
    share = kept / max(np.sqrt(energies.sum() * others.sum()), 1e-12)
    similarity = (gains * (first * second.conj()).real).sum() / max(kept, 1e-12)
    return Remainder(float(share), float(similarity))


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
