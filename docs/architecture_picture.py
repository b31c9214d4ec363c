"""The picture of the architecture for the site, as SVG, from the Mermaid in ``architecture.md``.

The site has no program that draws Mermaid: it would be loaded from the network.
"""

import re
from collections import defaultdict

FENCE = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
NODE = re.compile(r'^  (\w+)\["<b>(.*?)</b><br/>(.*)"\]$', re.MULTILINE)
EDGE = re.compile(r"^  (\w+) --> (\w+)$", re.MULTILINE)

WIDTH, HEIGHT = 300, 62
"""Sides of a box in pixels."""
ACROSS, DOWN = 30, 34
"""Distances of boxes; a line that passes boxes runs so far beside them."""
COLUMNS = 2
TOTAL = COLUMNS * WIDTH + (COLUMNS - 1) * ACROSS
LONG = 150
"""Number of letters from which a text takes a box over the whole width."""

Place = tuple[float, float]
"""The middle of a box's upper side."""


def draw_picture(markdown: str) -> str:
    """Return a page with its Mermaid drawn."""
    return FENCE.sub(lambda match: draw_svg(match[1]), markdown)


def levels_of(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Return how far down each box is: below all that import it.

    >>> levels_of(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    {'a': 0, 'b': 1, 'c': 2}
    """
    levels = dict.fromkeys(names, 0)
    for _ in names:
        for one, other in edges:
            levels[other] = max(levels[other], levels[one] + 1)
    return levels


def draw_svg(mermaid: str) -> str:
    """Return the SVG of a flow chart, for a page of Markdown."""
    nodes, edges = NODE.findall(mermaid), EDGE.findall(mermaid)
    levels = levels_of([name for name, _, _ in nodes], edges)
    places = _places(levels)
    wide = {name for name, _, text in nodes if len(text) > LONG}
    height = (max(levels.values()) + 2) * (HEIGHT + DOWN)
    left, width = -ACROSS - 2, TOTAL + 2 * ACROSS + 4
    # In a block of its own, so that Markdown takes no name of a module for emphasis.
    return "\n".join(
        [
            '<div class="architecture">',
            f'<svg viewBox="{left} -2 {width} {height}" xmlns="http://www.w3.org/2000/svg" '
            'role="img" aria-label="The packages, and which imports which">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
            *(_arrow(places[one], places[other], other in wide) for one, other in edges),
            *(_box(places[name], title, text, name in wide) for name, title, text in nodes),
            "</svg>",
            "</div>",
        ]
    )


def _places(levels: dict[str, int]) -> dict[str, Place]:
    rows: defaultdict[int, list[str]] = defaultdict(list)
    for name, level in levels.items():
        rows[level].append(name)
    return {
        name: (
            TOTAL / 2 + (index - (len(row) - 1) / 2) * (WIDTH + ACROSS),
            float(level * (HEIGHT + DOWN)),
        )
        for level, row in rows.items()
        for index, name in enumerate(row)
    }


def _arrow(one: Place, other: Place, to_wide: bool) -> str:
    (x, y), (to_x, to_y) = one, other
    y += HEIGHT
    if to_y - y <= DOWN:
        to_x = x if to_wide else to_x
        way = f"V{to_y:g}" if x == to_x else f"V{y + 8:g}L{to_x:g} {to_y - 12:g}V{to_y:g}"
    else:  # it passes other boxes
        side = TOTAL + ACROSS / 2 if x > TOTAL / 2 else -ACROSS / 2
        to_x = min(max(side, WIDTH / 4), TOTAL - WIDTH / 4) if to_wide else to_x
        way = f"V{y + 8:g}H{side:g}V{to_y - 16:g}H{to_x:g}V{to_y:g}"
    return f'<path class="arrow" d="M{x:g} {y:g}{way}"/>'


def _box(place: Place, title: str, text: str, is_wide: bool) -> str:
    width, height = (TOTAL, 2 * HEIGHT) if is_wide else (WIDTH, HEIGHT)
    return (
        f'<g transform="translate({place[0] - width / 2:g} {place[1]:g})">'
        f'<rect width="{width}" height="{height}" rx="6"/>'
        f'<foreignObject width="{width}" height="{height}"><div><b>{title}</b> {text}</div>'
        "</foreignObject></g>"
    )
