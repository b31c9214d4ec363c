"""Draw the picture in ``architecture.md`` from the imports: ``python docs/draw_architecture.py``.

The floors are those of the contract in ``pyproject.toml``. An arrow means "imports"; those that
follow from others are left out, and so is the ground, which every floor may use.
"""

import ast
import re
import tomllib
from itertools import permutations
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = re.compile(r"```mermaid\n.*?```", re.DOTALL)

Edges = set[tuple[str, str]]


def read_floors() -> list[list[str]]:
    """Return the rooms of each floor, from the top down; the last is the ground."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in re.split("[:|]", layer)] for layer in layers]


def find_imports(rooms: set[str]) -> Edges:
    """Return the pairs of rooms of which the first imports the second."""
    graph = grimp.build_graph("defectkit", cache_dir=None)
    pairs = {
        (one.split(".")[1], other.split(".")[1])
        for one in graph.modules - {"defectkit"}
        for other in graph.find_modules_directly_imported_by(one) - {"defectkit"}
    }
    return {(one, other) for one, other in pairs if one != other and {one, other} <= rooms}


def leave_out_implied(edges: Edges) -> Edges:
    """Return ``edges``, which have no circle, without those that others lead to as well."""
    reach = set(edges)
    for _ in range(len({room for edge in edges for room in edge})):
        reach |= {(a, d) for a, b in reach for c, d in edges if b == c}
    between = {room for edge in edges for room in edge}
    return {
        (one, other)
        for one, other in edges
        if not any((one, room) in reach and (room, other) in reach for room in between)
    }


def describe(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    package = ROOT / "defectkit" / room / "__init__.py"
    file = package if package.exists() else ROOT / "defectkit" / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace('"', "'").replace("``", "")


def draw() -> str:
    """Return the picture as Mermaid."""
    *floors, ground = read_floors()
    order = [room for floor in floors for room in floor]
    edges = leave_out_implied(find_imports(set(order)))
    lines = ["flowchart TD"]
    lines += [f'  {room}["<b>{room}</b><br/>{describe(room)}"]' for room in order]
    lines += [f'  ground["<b>the ground</b><br/>{", ".join(sorted(ground))}"]']
    lines += [
        f"  {one} --> {other}" for one, other in permutations(order, 2) if (one, other) in edges
    ]
    lowest = [room for room in order if room not in {one for one, _ in edges}]
    lines += [f"  {room} --> ground" for room in lowest]
    return "\n".join(lines)


def main() -> None:
    """Put the picture into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PICTURE.sub(lambda _: f"```mermaid\n{draw()}\n```", text), encoding="utf-8")


if __name__ == "__main__":
    main()
