"""Synthetic inspection images with faint flaws and loose masks, after the look of DAGM 2007.

Image ``index`` follows from (seed, index) and the settings alone: asking for more images, or in
another order, changes none of them. See ``textures`` for why every machine draws the same pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectkit.arrays import Float64Array
from defectkit.errors import ConfigError
from defectkit.synthesis.textures import FAMILIES, Surface, between

AREA, LINE = 1, 2
"""The class ids: a patch in which the texture is changed, and a thin crack or scratch."""

MIN_SIZE = 128
GRAIN = 0.03
"""Half the range of the camera's noise, as a part of full scale."""
FAINTEST = 0.15
"""How much of an anomaly is left at difficulty 1."""
SECOND_DEFECT = 0.2
"""The share of defective images with two defects."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynthImage:
    """One image and its truth.

    ``image`` is (size, size) uint8. ``masks`` maps each class id that occurs to its (size, size)
    bool mask, in ascending order, and is empty for a good image. ``texture`` names the family.
    """

    image: npt.NDArray[np.uint8]
    masks: dict[int, npt.NDArray[np.bool_]]
    texture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ellipse:
    """Center and half axes in pixels; ``angle`` of the long axis in radians, x right, y down."""

    x: float
    y: float
    long: float
    short: float
    angle: float


def synthesize(
    index: int,
    *,
    size: int = 512,
    textures: int = len(FAMILIES),
    seed: int = 0,
    difficulty: float = 0.1,
    levels: int = 256,
    defects: Sequence[int] | None = None,
) -> SynthImage:
    """Draw image ``index`` of the endless series that ``seed`` names.

    Args:
        index: 0 or more; it decides the texture family and the planned defects, see ``plan``.
        size: width and height in pixels, at least 128.
        textures: how many of the six families take turns.
        seed: 0 or more.
        difficulty: 0 (plain to see) to 1 (barely there); it fades the anomalies and nothing else.
        levels: gray values used, 2 to 256, spread over 0..255; few levels make small PNG files.
        defects: class ids to draw in place of the planned ones. ``()`` gives the same image
            without its flaws. A defect for which there is no room beside the others is left out.

    Raises:
        ConfigError: a setting is out of its range.
    """
    check_settings(size=size, textures=textures, seed=seed, difficulty=difficulty, levels=levels)
    rng = np.random.default_rng([seed, index])
    family, planned = plan(index, textures=textures)
    # Drawn for good images too, so that the rest of the stream does not depend on the defects.
    second, second_class = rng.random() < SECOND_DEFECT, AREA if rng.random() < 0.5 else LINE
    if planned and second:
        planned = (*planned, second_class)
    surface = FAMILIES[family](size, rng)
    gain, offset = _exposure(rng, size)
    strength = 1 - (1 - FAINTEST) * difficulty
    picture = surface.plain
    masks: dict[int, npt.NDArray[np.bool_]] = {}
    for class_id, ellipse in _layout(rng, surface, planned if defects is None else defects):
        along, across = _within(ellipse, size)
        if class_id == AREA:
            weight, flawed = _patch(rng, along, across), surface.altered
        else:
            sharpness = ellipse.short / surface.cut_width
            weight, flawed = _crack(rng, along, across, sharpness=sharpness), surface.cut
        picture = picture + strength * weight * (flawed - picture)
        mask = np.hypot(along, across) <= 1
        masks[class_id] = masks[class_id] | mask if class_id in masks else mask
    steps = levels - 1
    gray = np.rint(np.clip(picture * gain + offset, 0, 1) * steps)
    return SynthImage(
        image=np.rint(gray * (255 / steps)).astype(np.uint8),
        masks=dict(sorted(masks.items())),
        texture=FAMILIES[family].__name__,
    )


def plan(index: int, *, textures: int) -> tuple[int, tuple[int, ...]]:
    """Return the texture family (0-based) of an image and the classes of its planned defects.

    Any ``4 * textures`` images in a row show each family twice good and once with each class.
    11 is prime to all such periods, so that its multiples visit every slot in a scattered order.
    """
    slot = 11 * index % (4 * textures)
    return slot % textures, ((), (AREA,), (), (LINE,))[slot // textures]


def check_settings(*, size: int, textures: int, seed: int, difficulty: float, levels: int) -> None:
    """Refuse settings that ``synthesize`` cannot follow.

    Raises:
        ConfigError: a setting is out of its range.
    """
    for name, value, low, high in (
        ("size", size, MIN_SIZE, None),
        ("textures", textures, 1, len(FAMILIES)),
        ("seed", seed, 0, None),
        ("difficulty", difficulty, 0, 1),
        ("levels", levels, 2, 256),
    ):
        if not (low <= value and (high is None or value <= high)):  # NaN fails this as well.
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise ConfigError(f"{name} is {value}. Choose {allowed}.")


def _layout(
    rng: np.random.Generator, surface: Surface, defects: Sequence[int]
) -> list[tuple[int, _Ellipse]]:
    """Place one ellipse per defect so that none touch; drop those without room."""
    placed: list[tuple[int, _Ellipse]] = []
    for class_id in defects:
        for _ in range(20):
            new = _ellipse(rng, surface, class_id)
            gaps = [math.hypot(new.x - old.x, new.y - old.y) - old.long for _, old in placed]
            if min(gaps, default=math.inf) > new.long + 4:
                placed.append((class_id, new))
                break
    return placed


def _ellipse(rng: np.random.Generator, surface: Surface, class_id: int) -> _Ellipse:
    """Draw a loose ellipse, wholly or almost inside the image; half axes suit 512 pixels."""
    size = len(surface.plain)
    unit = min(max(size / 512, 0.5), 1.0)
    if class_id == AREA:
        long = between(rng, 36, 65) * unit
        short = long * between(rng, 0.65, 1.0)
    else:
        long = between(rng, 46, 70) * unit
        short = long * between(rng, 0.3, 0.45)
    margin = 0.8 * long
    x, y = (between(rng, margin, size - 1 - margin) for _ in range(2))
    angle = between(rng, 0, math.pi)
    if class_id == LINE:
        angle = float(surface.axis[round(y), round(x)]) + 0.16 * (angle - math.pi / 2)
    return _Ellipse(x=x, y=y, long=long, short=short, angle=angle)


def _within(ellipse: _Ellipse, size: int) -> tuple[Float64Array, Float64Array]:
    """Return each pixel's coordinates along and across, in half axes: the rim is at radius 1."""
    line = np.arange(size, dtype=np.float64)
    x, y = line[None, :] - ellipse.x, line[:, None] - ellipse.y
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    return (x * cos + y * sin) / ellipse.long, (y * cos - x * sin) / ellipse.short


def _patch(rng: np.random.Generator, along: Float64Array, across: Float64Array) -> Float64Array:
    """Return the weight, 0 to 1, of a soft lobed patch that ends inside the ellipse."""
    theta = np.arctan2(across, along)
    edge = np.full_like(theta, 0.72)
    for lobes in (2, 3):
        edge += between(rng, -0.07, 0.07) * np.cos(lobes * theta + between(rng, 0, math.tau))
    return _smooth((edge - np.hypot(along, across)) / 0.25 + 0.5)


def _crack(
    rng: np.random.Generator, along: Float64Array, across: Float64Array, *, sharpness: float
) -> Float64Array:
    """Return the weight, 0 to 1, of a bent line; ``sharpness`` is half axis by line width."""
    bend = between(rng, -0.45, 0.45) * (1 - 2 * along**2)
    waver = 0.04 * np.sin(between(rng, 6, 10) * along + between(rng, 0, math.tau))
    profile = np.exp(-0.5 * ((across - bend - waver) * sharpness) ** 2)
    ends = _smooth((0.88 - np.abs(along)) / 0.15)
    return np.asarray(profile * ends * _smooth((1 - np.hypot(along, across)) / 0.1))


def _smooth(ramp: Float64Array) -> Float64Array:
    """Ease a ramp from 0 to 1, without corners."""
    t = np.clip(ramp, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _exposure(rng: np.random.Generator, size: int) -> tuple[Float64Array, Float64Array]:
    """Draw the light: a gain that leans to one side, and an offset with the camera's noise."""
    line = np.linspace(-0.5, 0.5, size)
    toward = between(rng, 0, math.tau)
    slope = line[None, :] * math.cos(toward) + line[:, None] * math.sin(toward)
    gain = between(rng, 0.92, 1.08) * (1 + between(rng, 0, 0.16) * slope)
    offset = between(rng, -0.02, 0.02) + GRAIN * (2 * rng.random((size, size)) - 1)
    return gain, offset
