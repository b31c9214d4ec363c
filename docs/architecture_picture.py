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
ACROSS, DOWN = 30, 30
"""Distances of boxes."""
COLUMNS = 2
LONG = 150
"""Number of letters from which a text takes a box over the whole width."""


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
    rows: defaultdict[int, list[str]] = defaultdict(list)
    for name, level in levels.items():
        rows[level].append(name)
    total = COLUMNS * WIDTH + (COLUMNS - 1) * ACROSS
    place: dict[str, tuple[float, float]] = {}
    for level, row in rows.items():
        left = (total - len(row) * WIDTH - (len(row) - 1) * ACROSS) / 2
        for index, name in enumerate(row):
            place[name] = (left + index * (WIDTH + ACROSS), level * (HEIGHT + DOWN))
    lines = [_arrow(place[one], place[other]) for one, other in edges]
    boxes = [_box(place[name], title, text, total) for name, title, text in nodes]
    height = (max(levels.values()) + 1) * (HEIGHT + DOWN) + HEIGHT
    return "\n".join(
        [
            f'<svg class="architecture" viewBox="-2 -2 {total + 4} {height}" role="img" '
            'aria-label="The packages, and which imports which" xmlns="http://www.w3.org/2000/svg">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def _arrow(one: tuple[float, float], other: tuple[float, float]) -> str:
    x, y = one[0] + WIDTH / 2, one[1] + HEIGHT
    to_x, to_y = other[0] + WIDTH / 2, other[1] - 2
    bend = min(40.0, (to_y - y) / 2)
    down = ""
    if to_y - y > HEIGHT:  # a line that passes other boxes runs beside them
        side = x + WIDTH * (0.56 if x >= to_x else -0.56)
        down = f"{side:g} {y:g} {side:g} {y + bend:g}V{to_y - bend:g}C{side:g} {to_y:g}"
    middle = down or f"{to_x:g} {to_y - bend:g}"
    return (
        f'<path class="arrow" d="M{x:g} {y:g}C{x:g} {y + bend:g} {middle} '
        f'{to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"/>'
    ) if down else (
        f'<path class="arrow" d="M{x:g} {y:g}C{x:g} {y + bend:g} {middle} {to_x:g} {to_y:g}"/>'
    )


def _box(at: tuple[float, float], title: str, text: str, total: float) -> str:
    (x, y), width, height = at, WIDTH, HEIGHT
    if len(text) > LONG:
        x, width, height = 0.0, round(total), 2 * HEIGHT
    return (
        f'<g transform="translate({x:g} {y:g})"><rect width="{width}" height="{height}" rx="6"/>'
        f'<foreignObject width="{width}" height="{height}"><div><b>{title}</b> {text}</div>'
        "</foreignObject></g>"
    )
