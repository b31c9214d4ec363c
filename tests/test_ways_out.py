"""What messages propose exists: options of commands, settings with their values, and commands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from defectkit.cli import app
from defectkit.config import Config, load_config
from defectkit.errors import ConfigError

pytestmark = pytest.mark.check(60)

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("defectkit", "pipelines")
    for path in (ROOT / folder).rglob("*.py")
    if not {"pipelines", "configs"} & set(path.relative_to(ROOT).parts[1:-1])
)
GENERATED = "{}"
"""Stands for what a message fills in."""
FOR_EVERY_COMMAND = ("files.py", "results_folder.py", "results_marker.py", "control_characters.py")
"""Modules of every command: what they propose must be an option of each."""
FILE_ENDS = r"json|yaml|safetensors|xml|bin|onnx|csv|png|txt"
"""What may follow a point that is that of a file's name."""
OF_TYPER = {"--help", "--version"}


def options_by_command() -> dict[str, set[str]]:
    """The options of each command, by its last word."""

    def walk(command, name) -> Iterator[tuple[str, set[str]]]:
        for word, one in getattr(command, "commands", {}).items():
            yield from walk(one, word)
        if not hasattr(command, "commands"):
            yield name, {option for param in command.params for option in param.opts}

    return dict(walk(get_command(app), "defectkit"))


COMMANDS = options_by_command()
SECTIONS = "|".join(Config.model_fields)


def messages(path: Path) -> Iterator[str]:
    """Yield each text of a module that is no docstring; what f-strings fill in is ``GENERATED``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            hidden.add(node.value)
        if isinstance(node, ast.JoinedStr):
            hidden.update(node.values)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else GENERATED
                for part in node.values
            )
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in hidden:
            yield node.value


def mistakes(name: str, text: str) -> Iterator[str]:
    """Say what a message of the module ``name`` proposes that does not exist."""
    everywhere = OF_TYPER.union(*COMMANDS.values())
    known = everywhere
    if name.startswith("pipelines"):
        known = COMMANDS.get(Path(name).stem, everywhere)
    if Path(name).name in FOR_EVERY_COMMAND:
        known = set.intersection(*COMMANDS.values())
    for found in re.finditer(r"(?:\b([a-z]+) (?:with )?)?(?<![\w-])(--[a-z][a-z0-9-]*)", text):
        command, option = found.groups()
        if option not in COMMANDS.get(command, known):
            yield f"{name}: {option} in {text!r}"
    for command in re.findall(r"['`]defectkit ([a-z]+)\b", text):
        if command not in {*COMMANDS, "configs", "labels"}:
            yield f"{name}: the command {command} in {text!r}"
    for section, key, value in re.findall(rf"\b({SECTIONS})\.([a-z_0-9]+)(=[^\s,;:)'`]*)?", text):
        fields = getattr(Config.model_fields[section].annotation, "model_fields", {})
        if key not in fields and not re.fullmatch(
            r"json|yaml|safetensors|xml|bin|onnx|csv|png|txt", key
        ):
            yield f"{name}: the setting {section}.{key} in {text!r}"
        elif value and not re.fullmatch(r"=(\{\}.*|[A-Z]+(\.safetensors)?)\.?", value):
            load_config(None, [f"{section}.{key}{value.rstrip('.')}"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_messages_propose_exists(path):
    name = path.relative_to(ROOT).as_posix()
    assert [one for text in messages(path) for one in mistakes(name, text)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("defectkit/x.py", "Use --no-such-option."),
        ("defectkit/files.py", "Choose another --out."),
        ("pipelines/synth.py", "Choose another --out."),
        ("defectkit/x.py", "Give prepare --device cpu."),
        ("defectkit/x.py", "Run 'defectkit retrain'."),
        ("defectkit/x.py", "Set train.batchsize=4."),
    ],
)
def test_a_proposal_of_what_does_not_exist_is_seen(name, text):
    assert len(list(mistakes(name, text))) == 1


def test_a_proposed_value_that_is_not_allowed_is_seen():
    with pytest.raises(ConfigError, match=r"train\.lr: None: input should be a valid number"):
        list(mistakes("defectkit/x.py", "Use --set train.lr=..."))
