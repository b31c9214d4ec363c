"""The colors of all pictures: the color-blind-safe palette of Okabe and Ito (2008)."""

from defectkit.arrays import Color

ORANGE: Color = (230, 159, 0)
SKY: Color = (86, 180, 233)
GREEN: Color = (0, 158, 115)
YELLOW: Color = (240, 228, 66)
BLUE: Color = (0, 114, 178)
VERMILLION: Color = (213, 94, 0)
PURPLE: Color = (204, 121, 167)

WHITE: Color = (255, 255, 255)
BACKGROUND: Color = (24, 27, 31)
INK: Color = (238, 240, 242)
"""Text on the background."""
FAINT: Color = (165, 170, 176)
"""Text of less importance."""

COLORS: dict[str, Color] = {
    "hit": SKY,
    "missed": VERMILLION,
    "false": YELLOW,
    "truth": WHITE,
    "finding": PURPLE,
    "scope": INK,
}
"""The marks on an image: hits, missed pixels, false alarms; the outlines of truth and finding; the
border of the region to inspect and the hatching of what is ignored.

As a light tint on gray, no three colors of the palette are easier to tell apart than sky blue,
vermillion and yellow: in normal vision and in simulated protanopia, deuteranopia and tritanopia
(CIEDE2000; Machado, Oliveira and Fernandes 2009).
"""

VERDICT_COLORS: dict[str, Color] = {"good": SKY, "review": YELLOW, "defective": ORANGE}

OUTCOME_COLORS: dict[str, Color] = {"escape": VERMILLION, "overkill": YELLOW}
"""The wrong outcomes; the others have no color."""

CLASS_COLORS: tuple[Color, ...] = (VERMILLION, SKY, YELLOW, PURPLE, WHITE, GREEN, ORANGE)
"""The colors of classes, which are thin lines: the first ones are easiest to tell apart, in normal
and in color-blind vision, and there is one blue alone, as two blues look alike as lines.
"""


def hex_code(color: Color) -> str:
    """Return ``color`` as ``#rrggbb``."""
    return "#" + bytes(color).hex()
