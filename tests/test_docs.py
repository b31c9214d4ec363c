"""The pages say what the code does: links, commands, options, settings, code, generated parts."""

import doctest
import re
import shlex
import shutil

import generate_pages
import pytest
from doc_pages import PAGES, ROOT, Block, anchors, blocks, commands, dead_links, prose
from small_sources import make_source
from tiny_training import TINY
from typer.main import get_command

import defectkit
from defectkit.cli import app
from defectkit.config import Config, load_config
from defectkit.configs import summaries
from defectkit.errors import ConfigError
from defectkit.reporting.glossary import GLOSSARY

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if commands(block)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
PYCON = [block for block in BLOCKS if block.language == "pycon"]
# What is no longer there is named in the changelog.
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
OF_OTHERS = {
    "--new-splits",
    "--install-completion",
    "--directory",
    *("--array", "--max-restarts", "--nnodes", "--nproc-per-node", "--standalone"),
    *("--build-arg", "--force", "--gpus", "--python", "--shm-size", "--user"),
}
"""Options of a benchmark, of typer, of Python, of torchrun, SLURM, Docker and uv."""
SECTIONS = "|".join(Config.model_fields)
OPTION = re.compile(
    r"(?:`(?:defectkit )?(?:labels |configs )?([a-z]+) (?:[^`\n-]\S* )*)?"
    r"(?<![\w-])(--[a-z][a-z0-9-]+)\b"
)
"""An option, and the command before it in the same code."""
SCRIPT_CALL = re.compile(r"`python\s(\S+\.py)([^`]*)`")
FILE_ENDS = {"csv", "json", "yaml", "png", "gif", "html", "py"}


def name_of(page) -> str:
    return page.relative_to(ROOT).as_posix()


def parse(line: str):
    """Parse a call of ``defectkit`` without running it; return the values of its parameters."""
    command, words, name = get_command(app), shlex.split(line)[1:], "defectkit"
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            assert words in ([], ["--help"], ["--version"]), f"{line}: no such command"
            return {}
        command, name, words = command.commands[words[0]], words[0], words[1:]
    if "--help" in words:
        return {}
    return command.make_context(name, words).params


def mistakes_of(line: str) -> list[str]:
    """Say what a call of ``defectkit`` asks for that does not exist."""
    try:
        values = parse(line.replace("$a", "box"))
        config = values.get("config")
        known = config is None or config.suffix == ".yaml" or str(config) in summaries()
        load_config(None, values.get("settings") or [])
    except (AssertionError, ConfigError) as error:
        return [str(error)]
    except Exception as error:  # typer's own, whose module depends on its version
        return [f"{line}: {type(error).__name__} {getattr(error, 'message', error)}"]
    return [] if known else [f"{line}: no configuration {config}"]


def unknown_words(text: str) -> list[str]:
    """Return the options, commands and settings that a text names and nothing has."""
    tree = get_command(app).commands
    tree = {name: one for name, one in tree.items() if not hasattr(one, "commands")} | {
        word: one for group in tree.values() for word, one in getattr(group, "commands", {}).items()
    }
    options = {name: {o for p in one.params for o in p.opts} for name, one in tree.items()}
    everywhere = {"--help", "--version", *OF_OTHERS}.union(*options.values())
    found = [
        f"{script} {option}"
        for script, words in SCRIPT_CALL.findall(text)
        for option in re.findall(r"--[a-z-]+", words)
        if f'"{option}"' not in (ROOT / script).read_text("utf-8")
    ]
    text = SCRIPT_CALL.sub("", text)
    found += [
        f"{command} {option}".strip()
        for command, option in OPTION.findall(text)
        if option not in options.get(command, everywhere)
    ]
    found += [
        f"defectkit {command}"
        for command in re.findall(r"`defectkit ([a-z]+)", text)
        if command not in {*options, "labels", "configs"}
    ]
    for section, key in re.findall(rf"`(?:[^`\n]* )?({SECTIONS})\.([a-z_0-9]+)", text):
        fields = getattr(Config.model_fields[section].annotation, "model_fields", {})
        if key not in {*fields, *FILE_ENDS, *GLOSSARY.get(section, ())}:
            found.append(f"{section}.{key}")
    return found


def test_there_are_pages_with_code():
    assert len(PAGES) > 30
    assert len(SHELL) > 20
    assert len(PYTHON) >= 3
    assert len(PYCON) >= 2


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_dead(page):
    assert dead_links(page) == []


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_call_in_a_block_can_be_made(block):
    assert [one for line in commands(block) for one in mistakes_of(line)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_what_pages_name_exists(page):
    assert unknown_words(prose(page)) == []


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("defectkit retrain", "no such command"),
        ("defectkit train --maxtime 3m", "No such option: --maxtime"),
        ("defectkit train --approach boxes", "'boxes'"),
        ("defectkit train --set train.lrate=1", "train.lrate"),
        ("defectkit train --config segnets", "no configuration segnets"),
        ("defectkit evaluate", "Missing"),
        ("defectkit labels convert dataset --to voc --out x", "'voc'"),
    ],
)
def test_a_call_that_cannot_be_made_is_seen(line, mistake):
    (found,) = mistakes_of(line)
    assert mistake in found


@pytest.mark.parametrize(
    "text",
    [
        "with `--max-escapes`",
        "`train --max-escape-rate 0.1`",
        "`defectkit train --first x`",
        "`defectkit retrain`",
        "the setting `train.lrate`",
        "`--set loss.dices=1`",
        "`python benchmarks/scale.py prepare --smallest`",
    ],
)
def test_a_word_that_nothing_has_is_seen(text):
    assert len(unknown_words(text)) == 1


def test_dead_links_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n[1](#a-b-c) [2](#a) [3](gone.md) [4](page.md#x) ![5](x.png)\n")
    assert anchors(page) == {"a-b-c"}
    assert dead_links(page) == ["#a", "gone.md", "page.md#x", "x.png"]


def test_calls_in_shell_are_seen(tmp_path):
    text = "for a in b; do defectkit train --approach $a; done\n.venv/bin/defectkit plan x  # why\n"
    found = commands(Block(tmp_path, "bash", text, 1))
    assert found == ["defectkit train --approach $a", "defectkit plan x"]


@pytest.mark.parametrize("path", generate_pages.generated(), ids=name_of)
def test_what_is_generated_is_current(path):
    assert generate_pages.generated()[path] == path.read_text(encoding="utf-8"), (
        "run python docs/generate_pages.py"
    )


@pytest.mark.parametrize("block", PYCON, ids=str)
def test_examples_print_what_they_say(block):
    test = doctest.DocTestParser().get_doctest(block.text, {}, str(block), None, block.line)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    """The current folder, with all that the pages name: labels, images of several kinds."""
    source = make_source(tmp_path)
    images = source.parent / "Train"
    for name in ("photos", "new_photos", "sample_data/Train"):
        shutil.copytree(images, tmp_path / name)
    for name in ("sample_data/train.csv", "lot_7.csv"):
        shutil.copy(source, tmp_path / name)
    shutil.copy(images / "part-00.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(block, work_folder, monkeypatch):
    train = defectkit.train

    def train_quickly(max_time, **options):
        return train(settings=list(TINY), device="cpu", **options)

    monkeypatch.setattr(defectkit, "train", train_quickly, raising=False)
    code = compile(block.text, str(block), "exec")
    exec(code, {"__name__": "__main__", "image": "photo.png"})
    made = {path.name for path in work_folder.iterdir()}
    assert made & {"dataset", "good.csv"}, "it did something"


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default::defectkit.errors.DefectkitWarning")
@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
def test_the_commands_of_a_tutorial_run_in_their_order(page, work_folder, cli):
    """With small images and short trainings, and no browser."""
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
        for line in commands(block):
            words = shlex.split(re.sub(r" --max-time \S+| --open", "", line))[1:]
            if words[0] == "train":
                tiny = [word for setting in TINY for word in ("--set", setting)]
                words += ["--device", "cpu", *(tiny if "novelty" not in words else tiny[:4])]
            ended = cli(*words)
            assert ended.code == 0, f"{line}: {ended.err}"
    assert list((work_folder / "runs").iterdir())
