import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from small_sources import draw_image
from tiny_training import TINY

from defectkit.control_characters import has_controls
from defectkit.data.images import write_png
from defectkit.files import read_csv
from defectkit.labels import rle
from defectkit.terminal import SafeConsole, one_line

HOSTILE = "\x1b]0;owned\x07\x1b[5m\x9b2J\u202e[red]:cat:$x$\n\x1b[2J"
"""Sets a title, blinks, clears the screen, reverses the text; markup, an emoji, a formula."""
SHOWN = r"\x1b]0;owned\x07\x1b[5m\x9b2J\u202e[red]:cat:$x$"
"""How it appears, up to its line break."""
ACCEPTED = "\x9b2J\u202e[red]:cat:$x$"
"""What ids and classes of labels may have; other controls are refused there."""

RICHS_OWN = re.compile(r"\x1b\[(?:(?!5m)[\d;]*m|2K|\d*A|\?25[lh])")
"""Colors, a line to draw again, the cursor shown and hidden."""

pytestmark = [pytest.mark.check(59), pytest.mark.slow]


def printed(*texts: object, width: int = 200, **options: object) -> str:
    file = io.StringIO()
    SafeConsole(file=file, width=width, **options).print(*texts)
    return file.getvalue()


def test_a_name_with_line_breaks_and_brackets_is_shown_on_one_line():
    assert printed(one_line("a\n[red]b"), "c") == "a\\n[red]b c\n"


@pytest.mark.parametrize("output", [escape(HOSTILE), Text(HOSTILE)])
@pytest.mark.parametrize("color", [True, False])
def test_a_text_is_shown_and_not_obeyed(output, color):
    text = printed(output, force_terminal=color)
    plain = RICHS_OWN.sub("", text)
    assert SHOWN.replace(r"\x07", "") in plain.replace(r"\x07", "")  # rich drops it from a Text
    assert not has_controls(plain.replace("\n", ""))
    assert color or plain == text


def test_a_table_shows_whole_cells():
    table = Table(HOSTILE.replace("[red]", ""))
    table.add_row(escape(HOSTILE))
    lines = printed(table)
    assert SHOWN in lines
    assert r"\x1b[2J" in lines


def test_cells_are_broken_where_they_are_shown_to_be():
    table = Table.grid()
    table.add_row("\x1b" * 100)
    assert max(map(len, printed(table, width=40).splitlines())) == 40


def test_a_path_stays_on_one_line_in_a_log():
    told = f"[bold]error:[/] cannot read {'folder/' * 30}a b.png: it is [italic]gone[/]"
    assert printed(told, width=80) == f"error: cannot read {'folder/' * 30}a b.png: it is gone\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A source in which everything that a user can name has a hostile name, and its commands."""
    if os.name == "nt":
        pytest.skip("no file on Windows has such a name")
    place = tmp_path_factory.mktemp("place") / f"in{HOSTILE}"
    rows, meta = [["ImageId", "ClassId", "EncodedPixels"]], [["ImageId", "group"]]
    for index in range(12):
        image, masks = draw_image(index)
        name = f"{index}{ACCEPTED}.png"
        write_png(place / "Train" / name, image)
        own = [[name, f"{c}{ACCEPTED}", rle.encode(mask)] for c, mask in masks.items()]
        rows += own or [[name, "", ""]]
        meta.append([name, f"{index}{HOSTILE}"])
    for name, table in (("train.csv", rows), ("meta.csv", meta)):
        with (place / name).open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows(table)
    write_png(place / "Train" / f"unlisted{HOSTILE}.png", image)
    (place / "Train" / f"broken{HOSTILE}.png").write_bytes(b"no image")
    (place / "bad.csv").write_text(f'"x{HOSTILE}.png",1,1 2 x{HOSTILE}\n', encoding="utf-8")
    (place / "bad.yaml").write_text('"x\\e[2J": "\\e[5m"\ntrain: {"\\e[2J": 1}\n')
    (place / "bad.json").write_text(json.dumps({"images": [{"file_name": HOSTILE}], HOSTILE: 1}))
    return place


def commands(place: Path) -> list[list[str]]:
    """Every command, where it succeeds and where it refuses what it was given."""
    data, run = f"{place}/dataset", f"{place}/run"
    tiny = [word for one in TINY for word in ("--set", one)]
    return [
        ["prepare", f"{place}/train.csv", "--meta", f"{place}/meta.csv", "--out", data,
         "--split", "0.5/0.25/0.25"],
        ["prepare", f"{place}/bad.csv", "--images", f"{place}/Train", "--out", f"{place}/bad"],
        ["prepare", f"{place}/bad.json", "--images", f"{place}/Train", "--out", f"{place}/bad"],
        ["prepare", f"{place}/train.csv", "--group-by", HOSTILE, "--out", f"{place}/bad"],
        ["prepare", f"{place}/train.csv", "--ignore-class", HOSTILE, "--out", f"{place}/bad"],
        ["prepare", f"{place}/missing", "--out", f"{place}/bad"],
        ["train", "--data", data, "--out", run, "--device", "cpu", *tiny, "--epochs", "1"],
        ["train", "--data", data, "--out", f"{place}/bad", "--config", f"{place}/bad.yaml"],
        ["train", "--data", data, "--out", f"{place}/bad", "--set", f"train.{HOSTILE}={HOSTILE}"],
        ["evaluate", run, "--split", "val"],
        ["inspect", run, f"{place}/Train", "--out", f"{place}/inspected", "--device", "cpu"],
        ["inspect", f"{place}/Train", f"{place}/Train"],
        ["compare", run, f"{run}{HOSTILE}", "--split", "val", "--out", f"{place}/comparison"],
        ["suspects", run],
        ["labels", "convert", data, "--to", "csv", "--out", f"{place}/labels.csv"],
        ["labels", "convert", data, "--to", "coco", "--out", f"{place}/labels.json"],
        ["synth", f"{place}/synth", "--images", "1", "--size", "128"],
        ["synth", f"{place}/synth", "--images", "1", "--size", "128"],
        ["configs", "show", HOSTILE],
        ["synth", "x", f"--{HOSTILE}"],
        ["synth", "x", "--surface", HOSTILE],
        [HOSTILE],
    ]  # fmt: skip


RUN_ALL = """
import json, shutil, sys
from defectkit.cli import main
for number, arguments in enumerate(json.loads(sys.argv.pop())):
    sys.argv = ["defectkit", *arguments]
    if arguments[0] == "compare":
        shutil.copytree(arguments[1], arguments[2])
    try:
        main()
    except SystemExit as ended:
        print(f"command {number}: {ended.code or 0}", file=sys.stderr, flush=True)
"""
REFUSED = {1, 2, 3, 4, 5, 7, 8, 11, 14, 18, 19, 20, 21}


@pytest.fixture(scope="module")
def seen(place) -> str:
    """What a terminal gets of all ``commands``."""
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands(place))],
        cwd=place, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        content = b""
        try:
            while chunk := os.read(ours, 65536):
                content += chunk
        except OSError:
            pass  # Linux says so that the other end is closed.
        os.close(ours)
        assert process.wait() == 0, content
    return content.decode()


def test_no_command_writes_a_control_of_another_to_the_terminal(seen, tally):
    ended = re.findall(r"command (\d+): (\d+)", seen)
    statuses = {int(number): int(status) for number, status in ended}
    assert statuses == {
        number: 2 if number in REFUSED else int(number == 10) for number in range(22)
    }
    for number, text in enumerate(re.split(r"command \d+: \d+", seen)):
        with tally.case(number):
            left = RICHS_OWN.sub("", text)
            assert not has_controls(re.sub(r"[\r\n]", "", left)), ascii(left)
    assert seen.count(r"[red]:cat:$x$") > 30


def test_no_table_or_page_has_controls_and_ids_come_back(place, seen):
    kinds = {".csv", ".json", ".html"}
    written = [
        path
        for folder in ("dataset", "run", "inspected", "comparison", "synth", f"run{HOSTILE}")
        for path in (place / folder).rglob("*")
        if path.suffix in kinds
    ]
    assert {path.suffix for path in written} == kinds
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert not has_controls(re.sub(r"[\n\t]", "", text)), path
    assert all(HOSTILE in row["group"] for row in read_csv(place / "dataset" / "images.csv"))
    for table in ("dataset/images.csv", "dataset/masks.csv", "inspected/findings.csv"):
        ids = [row["image_id"] for row in read_csv(place / table)]
        assert ids
        assert all((place / "Train" / image_id).is_file() for image_id in ids)
    coco = json.loads((place / "labels.json").read_text(encoding="utf-8"))
    assert all((place / "Train" / one["file_name"]).is_file() for one in coco["images"])
    shutil.rmtree(place.parent)
