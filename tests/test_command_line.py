from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from defectkit.command_line import (
    OPTION_NAMES,
    STATUSES,
    TYPES,
    Command,
    build_command,
    command_help,
)
from defectkit.pipelines import (
    compare,
    convert,
    evaluate,
    export,
    inspect,
    plan,
    prepare,
    suspects,
    synth,
    train,
)

PIPELINES = (prepare, train, evaluate, inspect, compare, export, plan, suspects, synth, convert)


def run(
    source: str | Path,
    *images: str | Path,
    out: str | Path = "here",
    kind: Literal["a", "b"] = "a",
    max_time: str | float | None = None,
    ratio: float | None = None,
    seed: int = 3,
    dry_run: bool = False,
    settings: Sequence[str] = (),
    console: object = None,
) -> None:
    """Do it.

    Slowly.

    Examples:
        it a b
        it a b --dry-run

    Exit status:
        0: done.
        7: not
            done.

    Note:
        Only in Python.

    Args:
        source: From where, and how:
            like this.
        images: Which ones.
        out: To where.
        kind: Of which kind.
        max_time: How long.
        ratio: How much.
        seed: From what.
        dry_run: Nothing is done.
        settings: One setting.
        console: Where to report.

    Raises:
        ValueError: always.
    """


@pytest.fixture
def given():
    """Run the command; give what the pipeline would get, or the message."""

    def call(*words):
        calls = []
        app = typer.Typer()
        app.command(cls=Command)(build_command(run, lambda *a, **k: calls.append((a, k))))
        ended = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        return calls[0] if calls else ended.output

    return call


def test_positional_parameters_are_arguments_and_the_others_options(given):
    arguments, options = given("a.csv", "b", "c", "--kind", "b", "--max-time", "2m", "--dry-run")
    assert arguments == (Path("a.csv"), Path("b"), Path("c"))
    assert options == {
        "out": Path("here"), "kind": "b", "max_time": "2m", "seed": 3, "dry_run": True,
    }  # fmt: skip


def test_settings_may_be_repeated(given):
    assert given("a", "b", "--set", "x=1", "--set", "y=2")[1]["settings"] == ["x=1", "y=2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "Missing argument"),
        (["a", "b", "--kind", "c"], "'c' is not one of 'a', 'b'"),
        (["a", "b", "--ratio", "much"], "--ratio"),
        (["a", "b", "--seed", "9" * 5000], "--seed"),
        (["", "b"], "an argument is empty"),
        (["a", ""], "an argument is empty"),
        (["a", "b", "--no-dry-run"], "No such option"),
        (["a", "b", "--console", "x"], "No such option"),
        (["a", "b", "--settings", "x"], "No such option"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_option(given, words, message):
    assert message in given(*words)


def test_the_help_is_the_docstring_without_what_is_for_python():
    text = command_help(run)
    assert text.startswith(
        "Do it.\n\nSlowly.\n\n**Examples**\n\n    it a b\n    it a b --dry-run\n"
    )
    table = text.split("| Exit status | |\n| ---: | --- |\n")[1].splitlines()
    assert table[:2] == ["| 0 | done. |", f"| 2 | {STATUSES[2]} |"]
    assert "| 7 | not done. |" in table
    assert len(table) == len(STATUSES) + 1
    assert not any(word in text for word in ("Python", "console", "always", "From where"))


def test_options_are_explained_in_the_help(given):
    words = given("--help").replace("│", " ").split()
    text = " ".join(words)
    for part in ("From where, and how: like this.", "Nothing is done.", "--set KEY=VALUE", "<a|b>"):
        assert part in text, part


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.__name__)
def test_every_parameter_of_every_pipeline_is_explained(pipeline):
    command = build_command(pipeline.run, print)
    for name, parameter in signature(command).parameters.items():
        (info,) = parameter.annotation.__metadata__
        assert (info.help or "")[-1:] == ".", name


def test_the_exceptions_name_parameters_that_exist():
    names = {name for pipeline in PIPELINES for name in signature(pipeline.run).parameters}
    assert {*OPTION_NAMES, *TYPES} <= names


@pytest.mark.check(58)
@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.__name__)
def test_no_argument_or_option_of_any_command_may_be_empty(pipeline):
    app = typer.Typer()
    app.command(cls=Command)(build_command(pipeline.run, lambda *_, **__: pytest.fail("it ran")))
    command = typer.main.get_command(app)
    options = [one.opts[0] for one in command.params if one.opts[0].startswith("--")]
    assert len(options) > 1
    for words in (
        [""],
        ["x", ""],
        *([one, ""] for one in options),
        *([f"{one}="] for one in options),
    ):
        ended = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        assert ended.exit_code == 2, words
        named = words[0].removesuffix("=") if words[0].startswith("--") else "an argument"
        assert f"{named} is empty. Give a value, or leave it out." in ended.output, words
