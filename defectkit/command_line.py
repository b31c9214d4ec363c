"""Builds a command from the ``run`` of its pipeline, where its parameters and help are declared.

Positional parameters become arguments, keyword-only ones options, and the docstring the help: its
summary, ``Examples:``, ``Exit status:`` and ``Args:``.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from docstring_parser import Docstring
from docstring_parser.google import DEFAULT_SECTIONS, GoogleParser, Section, SectionType
from typer.core import TyperCommand

from defectkit.errors import FAULT, HUNG_UP, INTERRUPTED, TERMINATED

OPTION_NAMES = {"label_format": "--format", "open_page": "--open", "settings": "--set"}
"""Options with other names than their parameters."""
METAVARS = {"map_class": "NEW=CLASS", "settings": "KEY=VALUE"}
TYPES = {"config": Path | None, "map_class": list[str] | None, "settings": list[str] | None}
"""What the command line takes where ``run`` takes more."""

STATUSES = {
    0: "finished.",
    2: "something to fix: options, labels, images, a folder that cannot be written.",
    5: "out of memory, on the machine or on its GPU.",
    6: "the disk is full.",
    FAULT: "a fault of defectkit; it names a file `defectkit-error-….txt` to send in.",
    HUNG_UP: "the terminal was closed (SIGHUP).",
    INTERRUPTED: "Ctrl+C (SIGINT).",
    TERMINATED: "SIGTERM.",
}
"""The exit statuses that all commands have; ``Exit status:`` of a ``run`` has its own."""

Run = Callable[..., Any]


class Command(TyperCommand):
    """A command that refuses empty texts, since an empty path would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line.

        Raises:
            BadParameter: an argument or option is empty.
        """
        for before, word in zip(["", *args], args, strict=False):
            if not word or re.fullmatch("--[a-z0-9-]+=", word):
                option = word or (before if before.startswith("-") else "an argument")
                raise typer.BadParameter(
                    f"{option.removesuffix('=')} is empty. Give a value, or leave it out.", ctx
                )
        return super().parse_args(ctx, args)


def build_command(run: Run, call: Callable[..., None]) -> Callable[..., None]:
    """Return a function with the parameters of ``run`` for typer, which passes them to ``call``.

    ``call`` gets positional and keyword arguments as ``run`` takes them, without ``console``.
    """
    declared = [p for p in inspect.signature(run).parameters.values() if p.name != "console"]
    # With python -OO there are no docstrings: the help lacks texts, and the command is refused.
    helps = {param.arg_name: param.description or "" for param in _parse(run).params}

    def command(**values: Any) -> None:
        arguments: list[Any] = []
        for given in values.values():
            for one in given if isinstance(given, list) else [given]:
                if isinstance(one, Path):
                    _check_path(one)
        for parameter in declared:
            if parameter.kind is parameter.VAR_POSITIONAL:
                arguments += values.pop(parameter.name)
            elif parameter.kind is not parameter.KEYWORD_ONLY:
                arguments.append(values.pop(parameter.name))
        call(*arguments, **{name: value for name, value in values.items() if value is not None})

    parameters = [_parameter(parameter, helps.get(parameter.name, "")) for parameter in declared]
    # typer reads both, in place of those of **values.
    command.__dict__["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def command_help(run: Run) -> str:
    """Return the help of a command as Markdown, from the docstring of ``run``."""
    docstring = _parse(run)
    texts = [docstring.short_description, docstring.long_description]
    statuses = dict(STATUSES)
    for section in docstring.meta:
        text = section.description or ""
        match section.args:
            case ["examples"]:
                lines = "\n".join(f"    {line}" for line in text.splitlines())
                texts.append(f"**Examples**\n\n{lines}")
            case ["status", status]:
                statuses[int(status)] = " ".join(text.split())
    texts.append(_status_table(statuses))
    return "\n\n".join(text for text in texts if text)


def _status_table(statuses: Mapping[int, str]) -> str:
    rows = [f"| {status} | {text} |" for status, text in sorted(statuses.items())]
    return "\n".join(["| Exit status | |", "| ---: | --- |", *rows])


def _check_path(path: Path) -> None:
    """Look at a path before any work: what is missing each command says itself.

    Raises:
        OSError: the system refuses it: too long, in a circle of links, or locked away.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def _parse(run: Run) -> Docstring:
    sections = [
        *DEFAULT_SECTIONS,
        Section("Exit status", "status", SectionType.MULTIPLE),
        Section("Note", "note", SectionType.SINGULAR),  # for Python alone: the help leaves it out
    ]
    return GoogleParser(sections).parse(run.__doc__ or "")


def _parameter(declared: inspect.Parameter, help_text: str) -> inspect.Parameter:
    """Return the parameter as typer needs it, an option or an argument."""
    name, annotation = declared.name, TYPES.get(declared.name) or _single_type(declared.annotation)
    info: Any
    if declared.kind is declared.KEYWORD_ONLY:
        flag = OPTION_NAMES.get(name, f"--{name.replace('_', '-')}")  # a flag has no --no-...
        info = typer.Option(flag, help=help_text, metavar=METAVARS.get(name))
    else:
        info = typer.Argument(help=help_text)
    default = declared.default
    if declared.kind is declared.VAR_POSITIONAL:
        annotation = list[annotation]  # type: ignore[valid-type]
    elif annotation is Path and default is not declared.empty:
        default = Path(default)
    elif default == ():
        default = None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, info],
    )


def _single_type(annotation: Any) -> Any:
    """Return the one type that the command line takes of several: paths first, then text.

    >>> _single_type(str | float | None)
    str | None
    """
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    kinds = set(get_args(annotation))
    chosen = next(kind for kind in (Path, str, *get_args(annotation)) if kind in kinds)
    return chosen | None if types.NoneType in kinds else chosen


STATUS_TABLE = _status_table(STATUSES)
"""The exit statuses of a command without its own, for its help."""
