"""Synthetic inspection images with faint defects and loose masks, modeled on DAGM 2007.

Image ``index`` follows from (seed, index) and the settings alone: asking for more images, or in
another order, changes none of them. See ``textures`` for why every machine draws the same pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectkit.arrays import Float64Array, Image, Mask
from defectkit.errors import MAX_SEED, check_range
from defectkit.synthesis.repeated import fixed_part, weave_piece
from defectkit.synthesis.textures import FAMILIES, Surface, uniform
from defectkit.vocabulary import SynthSurface

AREA, LINE = 1, 2
"""The class ids: an area in which the texture is changed, and a thin crack or scratch."""

MIN_SIZE, MAX_SIZE = 128, 2**14
"""Sides of images; larger ones would not be read back."""
GRAIN = 0.03
"""Half the range of the camera's noise, as a fraction of full scale."""
MIN_STRENGTH = 0.15
"""Strength of a defect at difficulty 1, as a fraction of that at difficulty 0."""
SECOND_DEFECT_RATE = 0.2
"""The fraction of defective images with two defects."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynthImage:
    """One image and its labels.

    ``image`` is (size, size) uint8. ``masks`` maps each class id that occurs to its (size, size)
    bool mask, in ascending order, and is empty for a good image. ``texture`` names the family.
    """

    image: Image
    masks: dict[int, Mask]
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
    surface: SynthSurface = "textures",
    textures: int = len(FAMILIES),
    seed: int = 0,
    difficulty: float = 0.1,
    levels: int = 256,
    defects: Sequence[int] | None = None,
) -> SynthImage:
    """Draw image ``index`` of the endless series of ``seed``.

    Args:
        index: 0 or more; it decides texture and defects, see ``texture_and_defects``.
        size: width and height in pixels, at least 128.
        surface: the texture families in turn, or pieces of one weave, or parts of one kind.
        textures: how many of the six families take turns.
        seed: 0 or more.
        difficulty: 0 (plain to see) to 1 (barely there); it fades the defects and nothing else.
        levels: gray values used, 2 to 256, spread over 0..255; few levels make small PNG files.
        defects: class ids to draw in place of those of ``index``. ``()`` gives the same image
            without defects. A defect for which there is no room beside the others is left out.

    Raises:
        ConfigError: a setting is out of its range.
    """
    check_settings(size=size, textures=textures, seed=seed, difficulty=difficulty, levels=levels)
    rng = np.random.default_rng([seed, index])
    family, planned = texture_and_defects(index, textures=_number_of_textures(surface, textures))
    # Drawn for good images too, so that the rest of the stream does not depend on the defects.
    second, second_class = rng.random() < SECOND_DEFECT_RATE, AREA if rng.random() < 0.5 else LINE
    if planned and second:
        planned = (*planned, second_class)
    drawn, texture = _draw_surface(surface, family, size, seed, rng)
    gain, offset = _exposure(rng, size)
    strength = 1 - (1 - MIN_STRENGTH) * difficulty
    picture = drawn.plain
    masks: dict[int, Mask] = {}
    for class_id, ellipse in _place_defects(rng, drawn, planned if defects is None else defects):
        along, across = _ellipse_coordinates(ellipse, size)
        if class_id == AREA:
            weight, changed = _patch_weight(rng, along, across), drawn.altered
        else:
            sharpness = ellipse.short / drawn.cut_width
            weight, changed = _crack_weight(rng, along, across, sharpness=sharpness), drawn.cut
        picture = picture + strength * weight * (changed - picture)
        mask = np.hypot(along, across) <= 1
        masks[class_id] = masks[class_id] | mask if class_id in masks else mask
    steps = levels - 1
    gray = np.rint(np.clip(picture * gain + offset, 0, 1) * steps)
    return SynthImage(
        image=np.rint(gray * (255 / steps)).astype(np.uint8),
        masks=dict(sorted(masks.items())),
        texture=texture,
    )


def _number_of_textures(surface: SynthSurface, textures: int) -> int:
    return textures if surface == "textures" else 1


def _draw_surface(
    surface: SynthSurface, family: int, size: int, seed: int, rng: np.random.Generator
) -> tuple[Surface, str]:
    """Return the surface of an image and its name."""
    if surface == "textures":
        return FAMILIES[family](size, rng), FAMILIES[family].__name__
    common = np.random.default_rng([seed, 0, 1])  # No image has this key: theirs are two numbers.
    return (weave_piece if surface == "weave" else fixed_part)(size, rng, common), surface


def texture_and_defects(index: int, *, textures: int) -> tuple[int, tuple[int, ...]]:
    """Return the texture family (0-based) of an image and the classes of its defects.

    Any ``4 * textures`` images in a row show each family twice good and once with each class.
    11 is prime to all such periods, so that its multiples visit every slot in a scattered order.
    """
    slot = 11 * index % (4 * textures)
    return slot % textures, ((), (AREA,), (), (LINE,))[slot // textures]


def check_settings(*, size: int, textures: int, seed: int, difficulty: float, levels: int) -> None:
    """Refuse settings that ``synthesize`` does not allow.

    Raises:
        ConfigError: a setting is out of its range.
    """
    for name, value, low, high in (
        ("size", size, MIN_SIZE, MAX_SIZE),
        ("textures", textures, 1, len(FAMILIES)),
        ("seed", seed, 0, MAX_SEED),
        ("difficulty", difficulty, 0, 1),
        ("levels", levels, 2, 256),
    ):
        check_range(f"--{name}", value, low, high)


def _place_defects(
    rng: np.random.Generator, surface: Surface, defects: Sequence[int]
) -> list[tuple[int, _Ellipse]]:
    """Draw one ellipse for each defect so that none touch; leave out those without room."""
    placed: list[tuple[int, _Ellipse]] = []
    for class_id in defects:
        for _ in range(20):
            new = _draw_ellipse(rng, surface, class_id)
            gaps = [math.hypot(new.x - old.x, new.y - old.y) - old.long for _, old in placed]
            if min(gaps, default=math.inf) > new.long + 4:
                placed.append((class_id, new))
                break
    return placed


def _draw_ellipse(rng: np.random.Generator, surface: Surface, class_id: int) -> _Ellipse:
    """Draw an ellipse, all or nearly all inside the image; half axes are for 512 pixels."""
    size = len(surface.plain)
    unit = min(max(size / 512, 0.5), 1.0)
    if class_id == AREA:
        long = uniform(rng, 36, 65) * unit
        short = long * uniform(rng, 0.65, 1.0)
    else:
        long = uniform(rng, 46, 70) * unit
        short = long * uniform(rng, 0.3, 0.45)
    margin = 0.8 * long
    x, y = (uniform(rng, margin, size - 1 - margin) for _ in range(2))
    angle = uniform(rng, 0, math.pi)
    if class_id == LINE:
        angle = float(surface.axis[round(y), round(x)]) + 0.16 * (angle - math.pi / 2)
    return _Ellipse(x=x, y=y, long=long, short=short, angle=angle)


def _ellipse_coordinates(ellipse: _Ellipse, size: int) -> tuple[Float64Array, Float64Array]:
    """Return each pixel's coordinates along and across, in half axes: the rim is at radius 1."""
    line = np.arange(size, dtype=np.float64)
    x, y = line[None, :] - ellipse.x, line[:, None] - ellipse.y
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    return (x * cos + y * sin) / ellipse.long, (y * cos - x * sin) / ellipse.short


def _patch_weight(
    rng: np.random.Generator, along: Float64Array, across: Float64Array
) -> Float64Array:
    """Return the weight, 0 to 1, of a soft lobed area that ends inside the ellipse."""
    theta = np.arctan2(across, along)
    edge = np.full_like(theta, 0.72)
    for lobes in (2, 3):
        edge += uniform(rng, -0.07, 0.07) * np.cos(lobes * theta + uniform(rng, 0, math.tau))
    return _smoothstep((edge - np.hypot(along, across)) / 0.25 + 0.5)


def _crack_weight(
    rng: np.random.Generator, along: Float64Array, across: Float64Array, *, sharpness: float
) -> Float64Array:
    """Return the weight, 0 to 1, of a bent line; ``sharpness`` is half axis by line width."""
    bend = uniform(rng, -0.45, 0.45) * (1 - 2 * along**2)
    waver = 0.04 * np.sin(uniform(rng, 6, 10) * along + uniform(rng, 0, math.tau))
    profile = np.exp(-0.5 * ((across - bend - waver) * sharpness) ** 2)
    ends = _smoothstep((0.88 - np.abs(along)) / 0.15)
    return np.asarray(profile * ends * _smoothstep((1 - np.hypot(along, across)) / 0.1))


def _smoothstep(ramp: Float64Array) -> Float64Array:
    """Return a smooth step from 0 to 1 along ``ramp``."""
    t = np.clip(ramp, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _exposure(rng: np.random.Generator, size: int) -> tuple[Float64Array, Float64Array]:
    """Draw the lighting: a gain that rises to one side, and an offset with the camera's noise."""
    line = np.linspace(-0.5, 0.5, size)
    toward = uniform(rng, 0, math.tau)
    slope = line[None, :] * math.cos(toward) + line[:, None] * math.sin(toward)
    gain = uniform(rng, 0.92, 1.08) * (1 + uniform(rng, 0, 0.16) * slope)
    offset = uniform(rng, -0.02, 0.02) + GRAIN * (2 * rng.random((size, size)) - 1)
    return gain, offset
