"""Two surfaces whose images have most in common although each shows a piece of its own.

The images of one seed show pieces of one weave, or parts of one kind under a fixed camera. What
they have in common follows from a generator that is the same for all of them, what is particular to
each from its own. As in ``textures``, every step is continuous in its input.
"""

import math

import numpy as np
from scipy import ndimage

from defectkit.arrays import Float64Array
from defectkit.synthesis.textures import Surface, cloudy_noise, pixel_grid, uniform

MAX_JITTER = 2.0
"""Max. distance of a part from its place, in pixels along each axis."""


def weave_piece(size: int, rng: np.random.Generator, common: np.random.Generator) -> Surface:
    """A checked weave of one period; each piece has its own phase, tension, threads and folds."""
    pitch_x, pitch_y, angle = uniform(common, 11, 16), uniform(common, 11, 16), common.random()
    dark, thread = uniform(common, 0.14, 0.2), uniform(common, 2.6, 3.4)
    x, y = pixel_grid(size)
    turn = 0.1 * (angle - 0.5) + uniform(rng, -0.008, 0.008)
    tension = uniform(rng, 0.995, 1.005)
    sway_x, sway_y = (0.6 * cloudy_noise(rng, size, scale=40) for _ in range(2))
    u = (x * math.cos(turn) + y * math.sin(turn)) * tension + sway_x + uniform(rng, 0, 100)
    v = (y * math.cos(turn) - x * math.sin(turn)) * tension + sway_y + uniform(rng, 0, 100)
    # Threads differ in thickness along their length and from one to the next.
    warp, weft = (_irregular_threads(rng, size) for _ in range(2))
    folds = 0.05 * cloudy_noise(rng, size, scale=30)
    fibers = 0.02 * ndimage.gaussian_filter(rng.random((size, size)) - 0.5, 0.8) / 0.1

    def checked(scale: float) -> Float64Array:
        across = np.tanh(4 * np.sin(u * math.tau / (2 * pitch_x * scale)))
        down = np.tanh(4 * np.sin(v * math.tau / (2 * pitch_y * scale)))
        checks = 0.5 + dark * (across + down)
        ribs = np.cos(u * math.tau / thread) * np.cos(v * math.tau / thread)
        return np.asarray(checks + 0.03 * ribs + 0.02 * (warp + weft.T) + folds + fibers)

    plain = checked(1.0)
    return Surface(
        plain=plain,
        altered=checked(uniform(rng, 1.5, 1.8)),
        cut=plain - 0.25,
        axis=np.full_like(plain, turn + (math.pi / 2 if rng.random() < 0.5 else 0.0)),
        cut_width=2.0,
    )


def fixed_part(size: int, rng: np.random.Generator, common: np.random.Generator) -> Surface:
    """A machined part, nearly in the same place in all images; each has a grain of its own."""
    x, y = pixel_grid(size)
    x = (x - uniform(rng, -MAX_JITTER, MAX_JITTER)) / size
    y = (y - uniform(rng, -MAX_JITTER, MAX_JITTER)) / size
    sharpness = 0.8 * size  # A transition over two or three pixels.
    radius = np.hypot(x - 0.5, y - 0.5)
    plate = _step(0.43 - radius, sharpness)
    body = 0.2 + plate * (0.35 + 0.06 * np.cos(radius * math.tau / 0.036))
    for across, down, width, level in common.random((24, 4)):
        hole = 0.01 + 0.035 * width - np.hypot(x - 0.2 - 0.6 * across, y - 0.2 - 0.6 * down)
        body += (0.16 if level > 0.5 else -0.16) * _step(hole, sharpness)
    for across, down, width, height in common.random((16, 4)):
        bar = np.minimum(
            0.006 + 0.06 * width - np.abs(x - 0.2 - 0.6 * across),
            0.006 + 0.02 * height - np.abs(y - 0.2 - 0.6 * down),
        )
        body += 0.12 * _step(bar, sharpness)
    grain = 0.02 * cloudy_noise(rng, size, scale=1.0) + 0.012 * cloudy_noise(rng, size, scale=8)
    coarser = 0.06 * cloudy_noise(rng, size, scale=2.5) - 0.06
    return Surface(
        plain=body + grain,
        altered=body + coarser,
        cut=body - 0.3,
        axis=np.full_like(body, uniform(rng, 0, math.pi)),
        cut_width=1.6,
    )


def _irregular_threads(rng: np.random.Generator, size: int) -> Float64Array:
    """Return what parallel threads add to the gray values: each its own, slowly changing down."""
    noise = rng.random((size, size)) - 0.5
    smooth = ndimage.gaussian_filter(noise, (24, 1.2), mode="wrap")
    return np.asarray(smooth / smooth.std())


def _step(depth: Float64Array, sharpness: float) -> Float64Array:
    """Return 1 where ``depth`` is above 0, else 0, with a soft transition."""
    return 0.5 + 0.5 * np.tanh(sharpness * depth)
