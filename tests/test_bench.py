"""The table of ``make bench``: a benchmark that is run again replaces its own section alone."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("bench")


def test_sections_are_read_back_as_they_were_written(bench, tmp_path):
    titles = [title for title, _ in bench.COMMANDS.values()]
    sections = {title: f"`command`\n\n| {title} |\n| --- |\n\n- a line\n" for title in titles[::-2]}
    path = tmp_path / "results.md"
    path.write_text(bench.format_table(sections))
    assert {key: text.strip() for key, text in bench.read_sections(path).items()} == {
        key: text.strip() for key, text in sections.items()
    }
    again = bench.format_table(bench.read_sections(path))
    assert again == path.read_text()
    assert bench.read_sections(tmp_path / "none.md") == {}


def test_every_command_names_a_script_that_takes_its_options(bench):
    for _, command in bench.COMMANDS.values():
        script, *options = command.split()
        text = (BENCHMARKS.parent / script).read_text()
        assert all(f'"{one}"' in text for one in options if one.startswith("--")), command


def test_the_kept_table_has_sections_that_bench_writes(bench):
    titles = {title for title, _ in bench.COMMANDS.values()}
    assert titles >= bench.read_sections(BENCHMARKS / "results.md").keys() > set()


def test_the_message_of_a_benchmark_that_fails_is_shown(bench):
    with pytest.raises(SystemExit, match=r"(?s)rle.py --nothing failed:.*unrecognized arguments"):
        bench.run("benchmarks/rle.py --nothing")
    assert str(BENCHMARKS) in sys.path
