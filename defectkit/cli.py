"""The command line: one command per pipeline, derived from its ``run``, and the shipped configs.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once. The exit
statuses are those of ``errors.py``.
"""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.markup import escape

from defectkit import __version__
from defectkit.command_line import STATUS_TABLE, Command, build_command, command_help
from defectkit.control_characters import has_controls
from defectkit.errors import BY_SIGNAL, FAULT, INTERRUPTED, UNREADABLE, ConfigError
from defectkit.files import output_error
from defectkit.launcher import launched
from defectkit.pipelines import (
    compare,
    convert,
    evaluate,
    export,
    inspect,
    merge,
    plan,
    prepare,
    suspects,
    synth,
    train,
)
from defectkit.signals import orderly_end
from defectkit.streams import open_streams, output_failure
from defectkit.terminal import SafeConsole

app = typer.Typer(
    name="defectkit",
    help="Find texture and surface defects: from label files to verdicts and overlays.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
configs_app = typer.Typer(
    help="List, show and copy the shipped configurations.", no_args_is_help=True
)
app.add_typer(configs_app, name="configs", rich_help_panel="More")
labels_app = typer.Typer(help="Write labels in other formats.", no_args_is_help=True)
app.add_typer(labels_app, name="labels", rich_help_panel="More")

console = SafeConsole()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _check_current_folder() -> None:
    """Check that relative paths lead somewhere; libraries would end the process without it.

    Raises:
        ConfigError: the current folder was removed.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigError(
            "the current folder no longer exists. Change to another one, then try again."
        ) from None


def _add_command(
    group: typer.Typer, pipeline: ModuleType, *, name: str | None = None, panel: str | None = None
) -> None:
    def call(*arguments: Any, **options: Any) -> None:
        if sys.flags.optimize > 1:
            raise ConfigError(
                "python -OO removes docstrings, which libraries need. Run python -O, or neither."
            )
        _check_current_folder()
        if pipeline is not train and launched()[1] > 1:
            raise ConfigError(
                "torchrun has started several processes, and train alone shares its work among "
                "them. Start this command without torchrun."
            )
        with _failures_told():  # typer has meanings of its own for EOFError and broken pipes
            result = pipeline.run(*arguments, **options, console=console)
        if getattr(result, "unreadable", 0):
            raise typer.Exit(UNREADABLE)

    name = name or pipeline.__name__.rpartition(".")[2]
    command = build_command(pipeline.run, call)
    group.command(name, cls=Command, help=command_help(pipeline.run), rich_help_panel=panel)(
        command
    )


for _pipeline in (prepare, train, evaluate, inspect, compare, export):
    _add_command(app, _pipeline, panel="Main job")
for _pipeline in (merge, plan, suspects, synth):
    _add_command(app, _pipeline, panel="More")
_add_command(labels_app, convert)


@configs_app.command("ls", epilog=STATUS_TABLE)
def configs_ls() -> None:
    """List the shipped configurations."""
    from defectkit.configs import summaries

    for name, summary in summaries().items():
        typer.echo(f"{name:20} {summary}")


@configs_app.command("show", cls=Command, epilog=STATUS_TABLE)
def configs_show(name: Annotated[str, typer.Argument(help="As listed by `configs ls`.")]) -> None:
    """Print a shipped configuration."""
    from defectkit.configs import text_of

    typer.echo(text_of(name), nl=False)


@configs_app.command("reference", epilog=STATUS_TABLE)
def configs_reference() -> None:
    """Print every setting with its default and meaning, as Markdown."""
    from defectkit.config import reference

    typer.echo(reference(), nl=False)


@configs_app.command("copy", cls=Command, epilog=STATUS_TABLE)
def configs_copy(
    name: Annotated[str, typer.Argument(help="As listed by `configs ls`.")],
    file: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Copy a shipped configuration to a file of your own, to change it."""
    from defectkit.configs import text_of
    from defectkit.errors import OutputError
    from defectkit.files import write_text

    if os.path.lexists(file):
        raise OutputError(f"{file} exists already. Choose another name.")
    write_text(file, text_of(name))
    console.print(f"Written to {file}. Next: defectkit train --config {file}", markup=False)


def main() -> None:
    """Run the command line; whatever ends it has a message and an exit status (``errors.py``)."""
    from defectkit.process_settings import let_idle_threads_sleep

    open_streams()
    let_idle_threads_sleep()
    warnings.showwarning = _show_warning
    status: object = 0
    with orderly_end(), _failures_told():
        try:
            if any(map(has_controls, sys.argv)):
                _guard_usage_errors()
            app(prog_name="defectkit")
        except SystemExit as ended:
            status = ended.code
        except KeyboardInterrupt:  # typer takes it only after its start.
            status = INTERRUPTED
        _check_output()
    if status in BY_SIGNAL and launched()[0] == 0:
        console.print("interrupted; what was finished is on disk.")
    sys.exit(status)  # type: ignore[arg-type]


@contextmanager
def _failures_told() -> Iterator[None]:
    """End the process with the message and the exit status of what fails."""
    try:
        yield
    except Exception as error:
        from defectkit.failures import known_failure, write_report

        if known := known_failure(error):
            if known.told_by_another:
                sys.exit(known.exit_code)
            console.print(f"[bold red]error:[/] {escape(str(known))}", highlight=False)
            sys.exit(known.exit_code)
        path = write_report(error)
        told = f"{type(error).__name__}: {error}. " + (
            f"Please send in {path}, which says what happened and has nothing of an image."
            if path
            else "No folder can be written for a report of it."
        )
        console.print(f"[bold red]a fault of defectkit:[/] {escape(told)}", highlight=False)
        sys.exit(FAULT)


def _check_output() -> None:
    """Check that what was printed to the standard output has arrived, if anybody reads it.

    Raises:
        OutputError: it has not.
    """
    failure = output_failure()
    if failure and failure.errno != errno.EPIPE:
        raise output_error("the standard output", failure)


def _guard_usage_errors() -> None:
    # typer prints them on a console of its own, and they repeat the arguments.
    from typer import rich_utils  # slow: only where it is needed

    rich_utils.Console = SafeConsole  # type: ignore[attr-defined]


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from defectkit.errors import DefectkitWarning

    # Warnings of libraries are for their developers.
    if issubclass(category, DefectkitWarning):
        console.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False)


if __name__ == "__main__":
    main()
