"""Every command, one after the other, in a process of its own that is watched.

Its folders have long names with Chinese and spaces, it has no network where the system allows that,
and after each command the source must be what it was.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_sources import make_source

ROOT = Path(__file__).parents[1]
NAME = "零件 表面 " + "长" * 40
"""Part of every path: some 150 bytes."""

# Runs each command of a list in turn; writes what it gave, what the source then was, and whom it
# tried to reach. Sockets between processes of one machine are no network.
WATCHED = """
import hashlib, json, os, socket, sys
from pathlib import Path

commands, source, report = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
calls = os.open(report + ".calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def watch(event, arguments):
    reaching = event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby",
                                 "socket.send", "urllib.", "http.client.connect"))
    if reaching and getattr(arguments[0], "family", None) != socket.AF_UNIX:
        os.write(calls, f"{event} {arguments!r}\\n".encode(errors="replace"))

sys.addaudithook(watch)

def hashes():
    return {str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest()
            + f" {path.stat().st_mtime_ns}" for path in sorted(source.rglob("*")) if path.is_file()}

from defectkit.cli import main

given = []
before = hashes()
for command in commands:
    sys.argv = ["defectkit", *command]
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    given.append({"command": command[0], "code": code, "changed": hashes() != before})
Path(report).write_text(json.dumps(given), encoding="utf-8")
"""


@dataclass(frozen=True)
class Flow:
    """What each command gave, whom it tried to reach, where it worked, and whether unplugged."""

    given: list[dict]
    calls: list[str]
    folder: Path
    unplugged: bool
    printed: str


def without_network() -> list[str]:
    """The prefix of a command that takes the network away; empty where the system has none."""
    prefix = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare"):
        return []
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []


@pytest.fixture(scope="module")
def flow(tmp_path_factory) -> Flow:
    folder = tmp_path_factory.mktemp("flow") / NAME / f"{NAME} & 'more' [1]"
    source = folder / "源 data"
    make_source(source, count=16, name=f"{NAME}-{{:02d}}.png")
    data, run = folder / "dataset 数据", folder / "run 一"
    fast = [f"train.{one}" for one in ("epochs=1", "samples_per_epoch=4", "batch_size=2")]
    fast = [word for one in [*fast, "data.crop=64"] for word in ("--set", one)]
    train = ["train", "--data", data, "--device", "cpu", *fast]
    small = ["--set", "model.encoder=mobilenetv3_small_050", "--set", "data.workers=0"]
    commands = [
        ["synth", folder / "made 造", "--images", "6", "--size", "128", "--textures", "1"],
        ["configs", "ls"],
        ["configs", "show", "unet"],
        ["configs", "reference"],
        ["configs", "copy", "unet", folder / "配置.yaml"],
        ["prepare", source / "train.csv", "--out", data, "--split", "0.5/0.25/0.25"],
        [*train, "--out", run, "--config", folder / "配置.yaml", "--set", "data.workers=1"],
        ["train", "--resume", "--out", run, "--epochs", "2"],
        [*train, "--out", folder / "run 二", *small],
        ["evaluate", run, "--device", "cpu"],
        [
            *("inspect", run, source / "Train", "--out", folder / "inspection 检查"),
            *("--overlays", "all", "--device", "cpu"),
        ],
        ["compare", run, folder / "run 二", "--out", folder / "比较", "--device", "cpu"],
    ]
    texts = json.dumps([[str(word) for word in command] for command in commands])
    prefix, report = without_network(), folder / "report.json"
    home = tmp_path_factory.mktemp("home")  # no cache of anything
    ended = subprocess.run(
        [*prefix, sys.executable, "-c", WATCHED, texts, source, report],
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.is_file(), ended.stderr
    calls = Path(f"{report}.calls").read_text(encoding="utf-8").splitlines()
    printed = ended.stdout + ended.stderr
    return Flow(json.loads(report.read_text()), calls, folder, bool(prefix), printed)


@pytest.mark.check(30)
def test_every_command_passes_on_chinese_spaced_and_long_paths(flow, tally):
    for given in flow.given:
        with tally.case(given["command"]):
            assert given["code"] == 0, flow.printed[-3000:]
    made = [path.relative_to(flow.folder) for path in flow.folder.rglob("*") if path.is_file()]
    assert max(len(str(flow.folder / path).encode()) for path in made) > 500
    for expected in ("run 一/evaluation/test/report.html", "比较/comparison.html"):
        assert (flow.folder / expected).is_file()
    assert len(list((flow.folder / "inspection 检查" / "overlays").glob("*.png"))) == 16


@pytest.mark.check(11)
def test_no_command_changes_the_source(flow, tally):
    for given in flow.given:
        with tally.case(given["command"]):
            assert not given["changed"]
    assert {given["command"] for given in flow.given} == {
        *("synth", "configs", "prepare", "train", "evaluate", "inspect", "compare")
    }


@pytest.mark.check(15)
def test_no_command_tries_to_reach_anyone(flow, tally):
    for given in flow.given:
        with tally.case(given["command"]):
            assert given["code"] == 0, flow.printed[-3000:]
    assert flow.calls == []


@pytest.mark.check(15)
def test_the_watch_sees_who_is_called(tmp_path):
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"
    module = tmp_path / "defectkit"
    module.mkdir()
    (module / "__init__.py").touch()
    (module / "cli.py").write_text(f"def main():\n    {code}\n")
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, '[["x"]]', tmp_path, tmp_path / "report"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True,
        check=False,
    )  # fmt: skip
    assert b"Connection refused" in ended.stderr
    events = (tmp_path / "report.calls").read_text().split()
    assert {"socket.getaddrinfo", "socket.connect"} <= set(events)
