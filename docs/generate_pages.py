"""Write what the pages have from the code: ``python docs/generate_pages.py``.

The commands with their options, the settings, the included configurations, the metrics, the end of
the demo, and the badges of the README. Whole pages and marked blocks are replaced; all else on a
page is written by hand.
"""

import inspect
import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from demo_output import demo_output
from typer.models import ArgumentInfo

import defectkit
from defectkit.cli import app
from defectkit.config import reference
from defectkit.configs import summaries
from defectkit.reporting.glossary import GLOSSARY, SECTION_TITLES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BADGE_HEIGHT = 20
NARROW = "fijlrt.-1 "
"""Letters that are narrow in a font without serifs."""


def main() -> None:
    """Write all that has changed."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def generated() -> dict[Path, str]:
    """Return the text of each file that is generated, or has a generated block."""
    pages = {
        DOCS / "reference" / "cli.md": {"commands": commands()},
        DOCS / "reference" / "settings.md": {
            "configs reference": reference(),
            "configs ls": configurations(),
        },
        DOCS / "reference" / "metrics.md": {"metrics": metrics()},
        DOCS / "tutorials" / "sample-data.md": {"demo output": demo_output()},
    }
    written = {path: with_blocks(path, blocks) for path, blocks in pages.items()}
    for name, (label, value, color) in badges().items():
        written[DOCS / "badges" / f"{name}.svg"] = draw_badge(label, value, color)
    return written


def with_blocks(path: Path, blocks: dict[str, str]) -> str:
    """Return a page with its generated blocks as they are now.

    Raises:
        ValueError: the page lacks a block.
    """
    text = path.read_text(encoding="utf-8")
    for name, content in blocks.items():
        block = f"<!-- {name} -->\n\n{content.strip()}\n\n<!-- end -->"
        text, count = re.subn(
            rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, new=block: new, text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{path} has {count} blocks '{name}' instead of one")
    return text


def command_tree(app: Any, name: str = "defectkit") -> Iterator[tuple[str, Any]]:
    """Yield the declaration of each command with its full name, in the order of the help."""
    for command in app.registered_commands:
        yield f"{name} {command.name or command.callback.__name__}", command
    for group in app.registered_groups:
        yield from command_tree(group.typer_instance, f"{name} {group.name}")


def commands() -> str:
    """Return a section for each command: what it does, examples, arguments and options."""
    return "\n\n".join(_command(name, one) for name, one in command_tree(app))


def _command(name: str, command: Any) -> str:
    told = command.help or inspect.getdoc(command.callback) or ""
    head, _, examples = told.partition("| Exit status |")[0].partition("**Examples**")
    parts = [f"## {name}", head.strip()]
    if examples:
        lines = "\n".join(line.removeprefix("    ") for line in examples.strip("\n").splitlines())
        parts.append(f"```bash\n{lines.strip()}\n```")
    parameters = list(inspect.signature(command.callback).parameters.values())
    infos = [(one, get_args(one.annotation)) for one in parameters]
    arguments = [
        f"| `{one.name.upper()}`{' …' if get_origin(kind) is list else ''} | {_cell(info.help)} |"
        for one, (kind, info) in infos
        if isinstance(info, ArgumentInfo)
    ]
    options = [
        _option(one, kind, info)
        for one, (kind, info) in infos
        if not isinstance(info, ArgumentInfo)
    ]
    if arguments:
        parts.append("\n".join(["| argument | |", "| --- | --- |", *arguments]))
    if options:
        head = ["| option | value | default | |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([*head, *options]))
    return "\n\n".join(part for part in parts if part)


def _option(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        shown = "required"
    else:
        shown = "" if default is None or default is False else f"`{default}`"
    # typer takes the first name for a default until it builds the command.
    told = (info.default, *(info.param_decls or ()))
    names = ", ".join(f"`{one}`" for one in told if str(one).startswith("-"))
    return f"| {names} | {_value(kind, info.metavar)} | {shown} | {_cell(info.help)} |"


def _value(kind: Any, metavar: str | None) -> str:
    """Return what the value of an option may be, in words.

    >>> _value(list[str] | None, "KEY=VALUE"), _value(Literal["a", "b"], None), _value(bool, None)
    ('KEY=VALUE, several times', '`a`, `b`', '')
    """
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not types.NoneType)
    if get_origin(kind) is list:
        return f"{_value(get_args(kind)[0], metavar)}, several times"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return metavar or {bool: "", int: "number", float: "number", Path: "path"}.get(kind, "text")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def configurations() -> str:
    """Return a table of the included configurations."""
    rows = [f"| `{name}` | {_cell(text)} |" for name, text in summaries().items()]
    return "\n".join(["| `--config` | |", "| --- | --- |", *rows])


def metrics() -> str:
    """Return a table for each section of ``metrics.json``, from the glossary of the pages."""
    parts = []
    for section, entries in GLOSSARY.items():
        rows = [
            f"| `{section}.{key}` | {_cell(name.format('…'))} | {_cell(text)} |"
            for key, (name, text) in entries.items()
        ]
        table = ["| key | name on pages | meaning |", "| --- | --- | --- |", *rows]
        parts += [f"### {SECTION_TITLES[section]}", "\n".join(table)]
    return "\n\n".join(parts)


def badges() -> dict[str, tuple[str, str, str]]:
    """Return label, value and color of each badge of the README, as ``pyproject.toml`` has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    version = project["requires-python"].removeprefix(">=")
    checked = "strict" if settings["tool"]["mypy"]["strict"] else "not strict"
    return {
        "version": ("version", defectkit.__version__, "#0072b2"),
        "python": ("python", f"{version} or newer", "#0072b2"),
        "license": ("license", project["license"], "#00664b"),
        "types": ("mypy", checked, "#00664b"),
    }


def draw_badge(label: str, value: str, color: str) -> str:
    """Return a badge as SVG, in two fields."""
    left, right = (sum(4.6 if one in NARROW else 7.3 for one in text) for text in (label, value))
    left, right = round(left) + 14, round(right) + 14
    text = (
        '<text x="{x:g}" y="14" fill="#fff" text-anchor="middle" '
        'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{text}</text>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" '
            f'height="{BADGE_HEIGHT}" role="img" aria-label="{label}: {value}">',
            f'<rect width="{left + right}" height="{BADGE_HEIGHT}" rx="3" fill="#3b4650"/>',
            f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right - 3}z" '
            f'fill="{color}"/>',
            text.format(x=left / 2, text=label),
            text.format(x=left + right / 2, text=value),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    main()
