"""Six surface textures, with and without defects, modeled on DAGM 2007.

Wieler and Hahn made the DAGM 2007 set ("Weakly supervised learning for industrial optical
inspection") as textures with a faint local defect and a loose ellipse around it. The textures here
are drawn in that manner; no image of the set is used.

Only ``Generator.random`` is drawn from, all arithmetic is float64, and every step is continuous in
its input (no rounding of coordinates, no hard threshold). So the last-bit differences between
machines and library versions stay last-bit differences, and vanish when pixels are quantized.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from defectkit.arrays import Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One texture in three states; every plane is (size, size) float64, gray values near [0, 1].

    ``plain`` has no defect, ``altered`` is the surface within an area-like defect, ``cut`` in the
    middle of a line-like one. ``axis`` is the direction in radians (x right, y down) of a line-like
    defect at each pixel, ``cut_width`` the standard deviation of its profile in pixels.
    """

    plain: Float64Array
    altered: Float64Array
    cut: Float64Array
    axis: Float64Array
    cut_width: float


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw from the uniform distribution on [low, high)."""
    return low + (high - low) * rng.random()


def rings(size: int, rng: np.random.Generator) -> Surface:
    """Interference rings so fine that the pixel grid makes them moire; a defect erases them."""
    x, y = pixel_grid(size)
    wave = np.zeros((size, size))
    for _ in range(4):
        center_x, center_y = uniform(rng, -0.1, 1.1) * size, uniform(rng, -0.1, 1.1) * size
        radius = np.hypot(x - center_x, y - center_y)
        pitch, chirp = uniform(rng, 0.40, 0.64), uniform(rng, -2.5e-4, 2.5e-4)
        wave += np.cos(math.tau * (pitch + chirp * radius) * radius)
    # The square makes the beats between the waves visible: they are the rings in the image.
    patches = np.exp(0.25 * cloudy_noise(rng, size, scale=60))
    ground = 0.17 + 0.08 * patches
    plain = ground + patches * (0.055 * wave + 0.025 * (wave**2 - 2))
    return Surface(
        plain=plain,
        altered=ground + 0.05,
        cut=ground - 0.18,
        axis=np.full_like(plain, uniform(rng, 0, math.pi)),
        cut_width=3.0,
    )


def strokes(size: int, rng: np.random.Generator) -> Surface:
    """Brushed strokes, nearly upright; in a defect oblique and coarse, or a crack crosses."""
    angle = uniform(rng, 1.3, 1.85)
    askew = angle + math.copysign(uniform(rng, 0.9, 1.5), rng.random() - 0.5)

    def brushed(angle: float, coarseness: float) -> Float64Array:
        along, across = _frequencies(size, angle)
        length, width = 36 * coarseness, 2.2 * coarseness
        field = _filtered_noise(rng, size, np.exp(-((along * length) ** 2) - (across * width) ** 2))
        return 0.36 + 0.22 * np.tanh(field * 0.8 - 0.2)

    plain = brushed(angle, 1.0)
    return Surface(
        plain=plain,
        altered=brushed(askew, 1.7),
        cut=np.full_like(plain, 0.05),
        axis=np.full_like(plain, angle + math.pi / 2 + uniform(rng, -0.4, 0.4)),
        cut_width=1.8,
    )


def weave(size: int, rng: np.random.Generator) -> Surface:
    """Plain weave out of focus; in a defect the pitch changes, or one thread is missing."""
    angle, pitch = uniform(rng, -0.4, 0.4), uniform(rng, 9.0, 13.0)
    phase_u, phase_v = uniform(rng, 0, math.tau), uniform(rng, 0, math.tau)
    x, y = pixel_grid(size)
    sway = 0.25 * pitch * cloudy_noise(rng, size, scale=40)
    u = x * math.cos(angle) + y * math.sin(angle) + sway
    v = y * math.cos(angle) - x * math.sin(angle) + sway

    def woven(pitch: float) -> Float64Array:
        a, b = u * (math.pi / pitch) + phase_u, v * (math.pi / pitch) + phase_v
        over = 0.5 + 0.5 * np.tanh(2.5 * np.sin(a) * np.sin(b))
        height = over * np.sin(a) ** 2 + (1 - over) * np.sin(b) ** 2
        return np.asarray(0.42 + 0.26 * height)

    plain = woven(pitch)
    return Surface(
        plain=plain,
        altered=woven(pitch * uniform(rng, 1.6, 1.9)),
        cut=plain - 0.22,
        axis=np.full_like(plain, angle + (math.pi / 2 if rng.random() < 0.5 else 0.0)),
        cut_width=0.22 * pitch,
    )


def scratches(size: int, rng: np.random.Generator) -> Surface:
    """Scratches around a hub, in raking light; a defect is a smudge or a cross scratch."""
    hub_x, hub_y = uniform(rng, 0.42, 0.58) * size, uniform(rng, 0.42, 0.58) * size
    x, y = pixel_grid(size)
    distance = np.hypot(x - hub_x, y - hub_y)
    height = _grooves(rng, size, hub_x, hub_y) + 0.3 * cloudy_noise(rng, size, scale=2.5)
    light = uniform(rng, 0, math.tau)
    slope_y, slope_x = np.gradient(height)
    relief = slope_x * math.cos(light) + slope_y * math.sin(light)
    hub = np.exp(-((distance / 10) ** 4))
    plain = (0.66 + 0.25 * np.tanh(1.2 * relief)) * (1 - hub) + 0.4 * hub
    return Surface(
        plain=plain,
        altered=ndimage.gaussian_filter(plain, 2.0) - 0.13,
        cut=plain - 0.27,
        axis=np.arctan2(y - hub_y, x - hub_x) + math.pi / 2,
        cut_width=1.8,
    )


def clouds(size: int, rng: np.random.Generator) -> Surface:
    """Cloudy noise; in a defect it is much finer, or a thin crack runs through it."""
    plain = 0.5 + 0.1 * cloudy_noise(rng, size, scale=uniform(rng, 12, 20))
    finer = 0.5 + 0.1 * cloudy_noise(rng, size, scale=2.5)
    return Surface(
        plain=plain,
        altered=finer,
        cut=plain - 0.3,
        axis=np.full_like(plain, uniform(rng, 0, math.pi)),
        cut_width=1.4,
    )


def blobs(size: int, rng: np.random.Generator) -> Surface:
    """Bright pebbles on a dark ground; in a defect they are merged, or missing along a channel."""
    scale, fill = uniform(rng, 3.2, 4.6), uniform(rng, -0.3, 0.3)

    def pebbles(scale: float, fill: float) -> Float64Array:
        radius = np.hypot(*_frequencies(size, 0.0)) * scale * 5
        field = _filtered_noise(rng, size, radius**2 * np.exp(-(radius**2)))
        return 0.42 + 0.14 * np.tanh(3 * (field + fill))

    plain = pebbles(scale, fill)
    return Surface(
        plain=plain,
        altered=pebbles(scale * 2.2, fill + 0.5),
        cut=np.full_like(plain, 0.17),
        axis=np.full_like(plain, uniform(rng, 0, math.pi)),
        cut_width=4.5,
    )


FAMILIES: tuple[Callable[[int, np.random.Generator], Surface], ...] = (
    rings,
    strokes,
    weave,
    scratches,
    clouds,
    blobs,
)


def pixel_grid(size: int) -> tuple[Float64Array, Float64Array]:
    """Return x, (1, size), and y, (size, 1), of the pixels."""
    line = np.arange(size, dtype=np.float64)
    return line[None, :], line[:, None]


def _frequencies(size: int, angle: float) -> tuple[Float64Array, Float64Array]:
    """Return the frequencies along and across ``angle``, cycles per pixel, ordered as by rfft2."""
    fx, fy = fft.rfftfreq(size)[None, :], fft.fftfreq(size)[:, None]
    along = fx * math.cos(angle) + fy * math.sin(angle)
    return along, fy * math.cos(angle) - fx * math.sin(angle)


def _filtered_noise(rng: np.random.Generator, size: int, spectrum: Float64Array) -> Float64Array:
    """Return noise with the amplitudes ``spectrum``, zero mean and unit standard deviation."""
    field = fft.irfft2(fft.rfft2(rng.random((size, size)) - 0.5) * spectrum, s=(size, size))
    field -= field.mean()
    return np.asarray(field / field.std())


def cloudy_noise(rng: np.random.Generator, size: int, *, scale: float) -> Float64Array:
    """Return cloudy noise, most of whose features are larger than ``scale`` pixels."""
    radius = np.hypot(*_frequencies(size, 0.0))
    return _filtered_noise(rng, size, 1 / (1 + (radius * scale * 4) ** 2) ** 1.25)


def _grooves(rng: np.random.Generator, size: int, hub_x: float, hub_y: float) -> Float64Array:
    """Return the height of 260 bent grooves from the hub, each of its own length."""
    count, steps = 260, int(size * 0.75)
    r = np.linspace(6.0, 0.75 * size, steps)[None, :]
    angle, bend, reach, depth, side = rng.random((5, count, 1))
    theta = math.tau * angle + 0.6 * (bend - 0.5) * r / size
    fade = np.clip((0.2 + 0.55 * reach - r / size) * 6, 0, 1)
    ridge = (0.5 + 2.5 * depth) * np.where(side < 0.3, -1.0, 1.0) * fade
    return _splat(size, hub_x + r * np.cos(theta), hub_y + r * np.sin(theta), ridge, sigma=1.4)


def _splat(
    size: int, x: Float64Array, y: Float64Array, weight: Float64Array, *, sigma: float
) -> Float64Array:
    """Add ``weight`` at subpixel points, divided among the four pixels around, and blur."""
    total = np.zeros((size + 2) ** 2)
    x, y = np.clip(x, -1, size) + 1, np.clip(y, -1, size) + 1
    left, top = np.minimum(np.floor(x), size), np.minimum(np.floor(y), size)
    for dx in (0, 1):
        for dy in (0, 1):
            share = weight * np.abs(1 - dx - (x - left)) * np.abs(1 - dy - (y - top))
            cell = ((top + dy) * (size + 2) + left + dx).astype(np.intp)
            total += np.bincount(cell.ravel(), share.ravel(), minlength=total.size)
    image = total.reshape(size + 2, size + 2)[1:-1, 1:-1]
    return np.asarray(ndimage.gaussian_filter(image, sigma))
