"""Draws command lines from the signatures of the pipelines: valid, odd and hostile values."""

import inspect
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from forked_command import Kill
from fuzz_place import EXPORTED, HALVES, RUNS, TINY, Place

from defectkit.command_line import OPTION_NAMES
from defectkit.config import reference
from defectkit.configs import summaries
from defectkit.pipelines import (
    compare,
    convert,
    evaluate,
    export,
    merge,
    plan,
    prepare,
    suspects,
    synth,
    train,
)
from defectkit.pipelines import inspect as inspection

PIPELINES = {
    "prepare": prepare.run,
    "train": train.run,
    "evaluate": evaluate.run,
    "inspect": inspection.run,
    "compare": compare.run,
    "plan": plan.run,
    "suspects": suspects.run,
    "synth": synth.run,
    "labels convert": convert.run,
    "merge": merge.run,
    "export": export.run,
}
OUTPUTS = {
    "prepare": "dataset", "train": "run", "inspect": "inspection", "compare": "comparison",
    "suspects": "suspects", "synth": "drawn", "labels convert": "labels.out",
    "export": "exported",
}  # fmt: skip
"""Where a command writes where nothing else is named, or the name of a new folder for it."""
CONFIG_COMMANDS = ("configs show", "configs copy")
DECK = (
    "inspect", "prepare", "train", "evaluate", "inspect", "compare", "suspects", "prepare", "synth",
    "inspect", "labels convert", "prepare", "train", "configs copy", "inspect", "evaluate",
    "compare", "prepare", "configs show", "plan", "merge", "export", "merge",
)  # fmt: skip
"""The commands of the first calls of the cases, in turn."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ODD_TEXTS = (
    "", " ", "0", "-1", "1e309", "nan", "inf", "-inf", "null", "true", "9" * 5000, "0x10", "1_000",
    "\N{ARABIC-INDIC DIGIT THREE}", "\x1b[31mred\x1b]0;x\x07", "[red]", "[/]", "a\nb", "é",
    "x\udcff", "=1+1", "%s", "--help", "2020-01-01", "{}", "[]", "[1,2]", "(a+)+$", "(", "\\",
    "1e-400", "2147483648", "1000000000000000000000", "010", "1:30", "x" * 5000,
)  # fmt: skip
ODD_PATHS = (
    "", ".", "..", "/dev/null", "/dev/full", "/dev/zero", "/dev/stdin", "/proc/self/mem",
    "missing", "missing/deeper", "a" * 300, "x/" * 300, "nul\u0001", "\x1b[31mred", "[red]x",
    "bytes-\udcff", "-rf", "mine/holiday.png/x", "photos/pipe.png", "photos/loop/loop",
    "photos/self.png", "photos/dead.png", "photos/locked", "photos/locked/x", "C:\\x", "~", "*",
)  # fmt: skip
NUMBERS = {
    "images": "1 2 3", "size": "128 130", "textures": "1 6", "levels": "2 256", "difficulty": "0 1",
    "epochs": "1 2", "seed": "0 1 7", "seeds": "1 2", "folds": "2",
    "workers": "0 0 0 1 2", "max_images": "1 3",
    "max_escape_rate": "0 0.01 0.5 1", "confidence": "0.5 0.95 1", "max_review_rate": "0 0.1 2",
    "max_overkill_rate": "0 0.2 1",
    "cost_ratio": "0.1 1 50", "prevalence": "0 0.01 0.5", "pixel_pitch": "0.01 2",
    "mask_threshold": "1 128 255",
}  # fmt: skip
TEXTS = {
    "split": "0.5/0.25/0.25 0.7/0.15/0.15 0.4/0.3/0.3 1/0/0 0/0/1 0.5/0.5/0 1/1/1",
    "group_by": r"group ^part-(\d) part .* (\d)",
    "ignore_class": "1 2 3", "window": "0,255 0,65535 10,5", "percentile": "0.1,99.9 5,4",
    "show_channels": "0,1,2 0,1,1 9", "max_time": "1s 0.5s 0s",
    "address": "127.0.0.1:1 ray://127.0.0.1:1 127.0.0.1 ray://127.0.0.1:port http://127.0.0.1:1",
    "shard": "1/1 1/2 2/2 3/3 3/2 0/1",
}  # fmt: skip
SETTINGS = (
    "train.lr=0.01", "data.crop=48", "train.optimizer=sgd", "train.schedule=step", "train.ema=0",
    "infer.tile=64", "infer.overlap=8", "patch.tile=24", "patch.stride=8", "infer.min_area=20",
    "augment.hflip=0", "train.samples_per_epoch=4", "train.lr=1e30", "data.workers=1",
    "model.weights=runs/a", "model.architecture=all_conv", "patch.partial_tiles=defective",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A command with values by parameter: a text, a list of texts or True; how it is disturbed."""

    command: str
    values: dict[str, Any]
    arguments: tuple[str, ...]
    kill: Kill | None = None
    max_file_bytes: int | None = None

    def __str__(self) -> str:
        ways = [f"killed by {self.kill}"] if self.kill else []
        ways += [f"files of at most {self.max_file_bytes} bytes"] if self.max_file_bytes else []
        return "; ".join([f"defectkit {shlex.join(self.arguments)}", *ways])


def draw_call(
    number: int, rng: Random, place: Place, made: Sequence[str], before: Call | None
) -> Call:
    """Draw a call of a case; ``made`` are outputs of earlier ones, ``before`` is the last one."""
    kill = Kill(rng.choice(SIGNALS), 10 ** rng.uniform(-2, 0.3)) if rng.random() < 0.2 else None
    limit = int(10 ** rng.uniform(2, 5)) if rng.random() < 0.05 else None
    if before and before.command in PIPELINES and rng.random() < 0.35:  # once more, as after a kill
        values = before.values
        parameters = inspect.signature(PIPELINES[before.command]).parameters
        if "resume" in parameters and rng.random() < 0.7:
            values = {**values, "resume": True}
            if before.command == "train":
                values["settings"] = []
        return Call(
            before.command, values, command_arguments(before.command, values, rng), kill, limit
        )
    command = DECK[number % len(DECK)] if before is None else rng.choice(DECK)
    if command in CONFIG_COMMANDS:
        return _config_call(command, rng, place)
    values = {}
    for parameter in inspect.signature(PIPELINES[command]).parameters.values():
        if parameter.name == "console":
            continue
        needed = parameter.default is parameter.empty or parameter.name in ("out", "settings")
        usual = {"train": ("data",), "synth": ("images", "size")}.get(command, ())
        if rng.random() < (0.97 if needed or parameter.name in usual else 0.04):
            values[parameter.name] = _Draw(rng, place, command, made).value(parameter)
    if "engine" in values:  # A cluster takes long to start: none is there.
        values.setdefault("address", rng.choice(TEXTS["address"].split()))
    if command == "prepare":  # two processes take seconds to start
        values.setdefault("workers", "0")
    return Call(command, values, command_arguments(command, values, rng), kill, limit)


def _config_call(command: str, rng: Random, place: Place) -> Call:
    draw = _Draw(rng, place, command, [])
    arguments = [rng.choice([*summaries(), *ODD_TEXTS])]
    values = {}
    if command == "configs copy":
        values = {"out": rng.choice(["new.yaml", "mine/settings.yaml", draw.any_path()])}
        arguments.append(values["out"])
    return Call(command, values, _encodable([*command.split(), "--", *arguments]))


@dataclass
class _Draw:
    rng: Random
    place: Place
    command: str
    made: Sequence[str]

    def value(self, parameter: inspect.Parameter) -> Any:
        """A text for the parameter, True for a flag, a list for what may be repeated."""
        name, kinds = parameter.name, _kinds(parameter.annotation)
        if bool in kinds:
            return True
        if name == "settings":
            return [self._setting() for _ in range(self.rng.choice([0, 0, 1, 2]))]
        if parameter.kind is parameter.VAR_POSITIONAL:
            return [self._path(name) for _ in range(self.rng.choice([0, 1, 1, 1, 2, 2, 3]))]
        choices = [
            choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)
        ]
        if name == "device":
            choices = ["cpu", "auto", "cpu"]
        if name == "approach":
            choices = ["patch"] * 9 + choices
        if self.rng.random() < 0.07:
            return self.rng.choice(ODD_TEXTS if Path not in kinds else ODD_PATHS)
        if name == "map_class":
            return [self.rng.choice(["1=2", "2=1", "1=1", "9=1", "1=9", "1", "=", "1=2=3", ""])]
        known = {**NUMBERS, **TEXTS}.get(name)
        if choices or (known and not (name == "images" and Path in kinds)):
            return self.rng.choice(choices or known.split())
        return self._path(name)

    def _path(self, name: str) -> str:
        rng = self.rng
        if rng.random() < 0.04:
            return rng.choice(ODD_PATHS)
        if rng.random() < 0.04:
            return self.any_path()
        if name == "out":
            own = OUTPUTS[self.command]
            usual = {
                "prepare": ["dataset2"], "train": ["runs/new"], "labels convert": ["new/masks"],
                "suspects": ["runs/b/suspects"], "export": ["runs/b/exported"],
            }.get(self.command, [])  # fmt: skip
            others = ["mine"] * 4 + ["source", "photos", "lot", "runs/a", "dataset", "inspection"]
            pools = ([f"new/{own}", "out"], [own, *usual], others, self.made or ["out"])
            return rng.choice(rng.choices(pools, [5, 4, 2, 2])[0])
        pool = self._inputs(name)
        if self.made and rng.random() < 0.3:
            return rng.choice(self.made)
        return rng.choice(pool)

    def _inputs(self, name: str) -> list[str]:
        match name:
            case "source":
                return ["source/train.csv", "source/train.csv", "other/train.csv", "odd/train.csv",
                        *self.rng.sample(list(self.place.forms), 4)]  # fmt: skip
            case "images" if self.command == "prepare":
                return ["source/Train", "other/Train", "photos"]
            case "images":
                single = ["lot/part-01.png", "other", "source", "photos/sub", "odd"]
                return ["photos"] * 6 + ["lot"] * 3 + single
            case "model" | "run" | "runs" | "first":
                return [*RUNS, *RUNS, "runs/a/model", EXPORTED]
            case "folder":
                return [*[HALVES] * 4, "inspection", "runs/a/evaluation/test", "runs/a"]
            case "data" | "dataset":
                return ["dataset", "dataset", "dataset2"]
            case "relabel":
                return ["runs/b/suspects/suspects.csv", "source/train.csv", "source/meta.csv"]
            case "meta":
                return ["source/meta.csv", "other/meta.csv", "source/train.csv"]
            case "roi":
                return ["4,4,60,60", "0,0,0,0", "photos/good-0.png", "masks", "lot", "1e9,0,1,1"]
            case "config":
                return ["lenet", "all_conv", "mine/settings.yaml", "runs/a/config.yaml"]
            case _:
                raise LookupError(f"no values are known for the parameter {name}")

    def _setting(self) -> str:
        if self.rng.random() < 0.8:
            return self.rng.choice(SETTINGS)
        keys = re.findall(r"^\| `([a-z_.]+)` ", reference(), re.MULTILINE)
        return f"{self.rng.choice(keys)}={self.rng.choice(ODD_TEXTS)}"

    def any_path(self) -> str:
        """Anything in the place."""
        return self.rng.choice(self._everything())

    def _everything(self) -> list[str]:
        return sorted(path.relative_to(self.place.base).as_posix() for path in _below(self.place))


def _below(place: Place) -> Iterator[Path]:
    return (path for pattern in ("*", "*/*", "*/*/*") for path in place.base.glob(pattern))


def _kinds(annotation: Any) -> list[Any]:
    """The members of a union, without None; text annotations are unions of names."""
    if isinstance(annotation, str):
        return [Path] if "Path" in annotation else [str]
    members = get_args(annotation) if get_origin(annotation) is not Literal else ()
    return [kind for kind in members if kind is not NoneType] or [annotation]


def command_arguments(command: str, values: dict[str, Any], rng: Random) -> tuple[str, ...]:
    """Return what the command line is given for values by parameter."""
    options: list[str] = list(TINY) if command == "train" and not values.get("resume") else []
    positional: list[str] = []
    for name, parameter in inspect.signature(PIPELINES[command]).parameters.items():
        given = values.get(name)
        flag = OPTION_NAMES.get(name, f"--{name.replace('_', '-')}")
        if given is None:
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY:
            positional += given if isinstance(given, list) else [given]
        elif given is True:
            options.append(flag)
        else:
            for one in given if isinstance(given, list) else [given]:
                options += [flag, one]
    return _encodable(
        [*command.split(), *options, *(["--"] if rng.random() < 0.5 else []), *positional]
    )


def _encodable(arguments: list[str]) -> tuple[str, ...]:
    """What a system can pass: no NUL."""
    return tuple(argument.replace("\0", "") for argument in arguments)


def writes_to(call: Call, case: Path) -> dict[str, list[Path]]:
    """Where a call may write, by the commands whose files it may change there; "" is the user."""
    values = call.values
    out = [case / values["out"]] if values.get("out") else []
    match call.command:
        case "train":
            return {"train": out or [case / "runs"]}
        case "evaluate":
            run = case / values.get("run", "")
            split = values.get("split", "test")
            changes = {"max_escape_rate", "cost_ratio", "prevalence", "best_f1"} & set(values)
            model = [run / "model" / "model.json"] if changes else []
            return {"evaluate": [run / "evaluation" / split], "train": model}
        case "compare":
            runs = [case / run / "evaluation" for run in values.get("runs", [])]
            return {"compare": out or [case / "comparison"], "evaluate": runs}
        case "synth" if "force" in values:
            return {
                "synth": out,
                "": [top / name for top in out for name in ("train.csv", "Train")],
            }
        case "suspects":
            return {"suspects": out or [case / values.get("run", "") / "suspects"]}
        case "export":
            return {"export": out or [case / values.get("run", "") / "exported"]}
        case "merge":
            folder = [case / values.get("folder", "")]
            return {"merge": folder, "inspect": folder, "evaluate": folder}
        case _ if call.command in OUTPUTS:
            return {call.command: out or [case / OUTPUTS[call.command]]}
        case _:
            return {call.command: out}


Damage = Callable[[Random, Path], None]


def damage(rng: Random, case: Path, owners: dict[str, str]) -> str:
    """Damage one file of an output or a source, and say which and how."""
    files = sorted(
        path.relative_to(case).as_posix()
        for path in case.rglob("*")
        if path.is_file() and not path.is_symlink() and path.parts[len(case.parts)] != "photos"
    )
    telling = [name for name in files if not name.endswith(".png")]
    name = rng.choice(telling if rng.random() < 0.8 else files)
    path = case / name
    twins = [one for one in files if Path(one).name == path.name and one != name]
    ways = [
        "flip",
        "flip",
        "cut",
        "empty",
        "delete",
        "folder",
        "pipe",
        "dead link",
        "text",
        "append",
    ]
    way = rng.choice([*ways, *["twin"] * (3 if twins else 0)])
    content = path.read_bytes()
    other = (case / rng.choice(twins)).read_bytes() if way == "twin" else b""
    path.unlink()
    match way:
        case "flip":
            at = rng.randrange(len(content)) if content else 0
            flipped = bytes([content[at] ^ 1 << rng.randrange(8)]) if content else b"x"
            path.write_bytes(content[:at] + flipped + content[at + 1 :])
        case "cut":
            path.write_bytes(content[: rng.randrange(len(content) + 1)])
        case "empty":
            path.write_bytes(b"")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dead link":
            path.symlink_to("nowhere")
        case "text":
            path.write_text(rng.choice(ODD_TEXTS), errors="surrogateescape")
        case "append":
            path.write_bytes(content + content[-200:])
        case "twin":
            path.write_bytes(other)
    owners.pop(name, None) if way == "delete" else None
    return f"{name}: {way}"
