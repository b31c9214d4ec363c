"""What must hold after every call of the fuzz, whatever was drawn."""

import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

from file_hashes import hashes_of
from forked_command import Outcome
from fuzz_calls import PIPELINES, Call, writes_to
from fuzz_place import COUNT, EXPORTED, HALVES, RUNS, Entry, Place
from PIL import Image

from defectkit.csv_cells import read_cell, write_cell
from defectkit.data.image_kinds import IMAGE_SUFFIXES, is_data
from defectkit.errors import INTERRUPTED, TERMINATED
from defectkit.failures import known_failure
from defectkit.files import TEMP_MARK, read_csv, sha256_file
from defectkit.shards import Shard

COMMON = {0, 2, 5, 6}
EXTRA = {"inspect": {1}, "train": {3, 4}, "merge": {1}}
"""Further exit statuses of a command."""
SIGNALED = {2: {INTERRUPTED}, 15: {TERMINATED}, 9: {-9}}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
HARMLESS = {"source", "out", "seed", "workers", "split", "skip_bad_rows", "allow_leaks", "unlisted"}
"""Parameters of prepare that change no mask."""
OF_ONE_RUN = (
    "image_ap",
    "auroc",
    "escapes",
    "overkills",
    "pixel_dice",
    "regions_found",
    "box_map_50",
)
"""Columns of a comparison that do not depend on the other runs."""


@dataclass
class State:
    """What is known of the case so far.

    ``owners`` are the commands that wrote the files; ``plain`` are the datasets whose masks must be
    the true ones, ``models`` the runs and exports whose verdicts must be the known ones. ``halves``
    tells whether the shards of ``HALVES`` are those that were there at first.
    """

    owners: dict[str, str]
    damaged: list[str] = field(default_factory=list)
    plain: set[str] = field(default_factory=lambda: {"dataset", "dataset2"})
    models: set[str] = field(default_factory=lambda: {*RUNS, EXPORTED})
    halves: bool = True


def judge_files(
    call: Call, outcome: Outcome, state: State, before: dict[str, Entry], after: dict[str, Entry],
    case: Path,
) -> Iterator[str]:  # fmt: skip
    """Yield what is wrong with what the command printed, and with the files that it touched."""
    killed = call.kill is not None
    allowed = COMMON | EXTRA.get(call.command, set())
    allowed |= SIGNALED[call.kill.number] if call.kill else set()
    if outcome.hung:
        yield "it hangs"
    elif outcome.status not in allowed:
        yield f"exit status {outcome.status}"
    if "Traceback (most recent" in outcome.text or 'File "' in outcome.text:
        yield "a traceback"
    if found := CONTROL.search(outcome.text):
        yield f"a control character is printed: {found[0]!r}"
    if outcome.orphans:
        yield "it leaves processes"
    writes = {
        command: [Path(os.path.realpath(root)) for root in roots]
        for command, roots in writes_to(call, case).items()
    }
    for name, entry in before.items():
        if after.get(name) != entry and not _is_folder(entry):
            here = Path(os.path.realpath((case / name).parent), Path(name).name)
            if not _below(here, writes.get(state.owners.get(name, ""), [])):
                what = "is lost" if name not in after else "was changed"
                yield f"{name} of {state.owners.get(name, 'the user')} {what}"
                state.owners.setdefault(name, "damaged")
    roots = [root for own in writes.values() for root in own]
    for name in after.keys() - before.keys():
        path = Path(os.path.realpath(case / name))
        state.owners[name] = call.command
        # A kill may leave the probe of a folder that was about to be made, in the folder above.
        above = path.parent if killed and TEMP_MARK in name else path
        if not _below(path, roots) and not any(root.is_relative_to(above) for root in roots):
            yield f"{name} was made"
        if TEMP_MARK in name and not killed:
            yield f"{name} is left"


def _is_folder(entry: Entry) -> bool:
    return entry.mode >> 12 == 4


def _below(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def judge_results(
    call: Call, status: int, state: State, changed: list[str], place: Place
) -> list[str]:
    """Return what is wrong with the results: each loads and is true, or is refused in words.

    Runs in a process of its own, whose working folder is the case.
    """
    os.chdir(place.case)
    truths = {
        "prepare": _dataset, "inspect": _inspection, "evaluate": _evaluation, "train": _run,
        "compare": _comparison, "suspects": _suspects, "synth": _drawn, "labels convert": _labels,
        "merge": _merged, "export": _export,
    }  # fmt: skip
    found = list(_parsed(changed))
    judge = truths.get(call.command)
    if not judge or not _names_its_inputs(call):
        return found
    try:
        return [*found, *judge(call, status, state, place)]
    except Exception as error:
        if known_failure(error):
            refused = f"status 0, but its result is refused: {error}"
            return [*found, *([refused] if status == 0 else [])]
        where = [f"{one.name}:{one.lineno}" for one in extract_tb(error.__traceback__)]
        return [*found, f"loading its result: {type(error).__name__}: {error} ({where})"]


def _names_its_inputs(call: Call) -> bool:
    parameters = inspect.signature(PIPELINES[call.command]).parameters.values()
    needed = [one for one in parameters if one.default is one.empty and one.name != "console"]
    return all(
        call.values.get(one.name)
        for one in needed
        if one.kind is not one.VAR_POSITIONAL or call.command in ("inspect", "compare")
    )


def _parsed(changed: list[str]) -> Iterator[str]:
    """Yield the new files that are not complete."""
    for name in changed:
        path = Path(name)
        if not path.is_file() or TEMP_MARK in name:
            continue
        try:
            match path.suffix:
                case ".csv" if path.name != "settings.csv":
                    read_csv(path)
                case ".json":
                    json.loads(path.read_text(encoding="utf-8"))
                case ".png" | ".jpg" | ".gif":
                    with Image.open(path) as image:
                        image.load()
                case ".html":
                    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        except Exception as error:
            yield f"{name} is incomplete: {type(error).__name__}: {error}"


def _is_plain(call: Call, state: State, place: Place) -> bool:
    source = str(call.values.get("source", ""))
    known = {"source/train.csv": "source", "other/train.csv": "other"}
    return (
        source in known
        and set(call.values) <= HARMLESS
        and not any(one.startswith(known[source]) for one in state.damaged)
    )


def _dataset(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    out = os.path.normpath(call.values.get("out") or "dataset")
    if "shard" in call.values:  # The dataset that may be there is as it was.
        folder = Shard.parse(call.values["shard"]).folder(Path(out)) if status == 0 else None
        if folder and not (folder / "shard.json").is_file():
            yield f"{folder} has no shard"
    elif status != 2:
        if _is_plain(call, state, place) and (out in state.plain or status == 0):
            state.plain.add(out)
        else:
            state.plain.discard(out)
    must = status == 0 and "shard" not in call.values
    yield from true_dataset(Path(out), state, place, must=must)


def true_dataset(folder: Path, state: State, place: Place, *, must: bool) -> Iterator[str]:
    """Yield where a dataset that loads is not true."""
    from defectkit.data.dataset import Dataset

    try:
        data = Dataset.load(folder)
    except Exception as error:
        if known_failure(error) is None:
            raise
        if must:
            yield f"{folder} does not load: {error}"
        return
    ids = [record.image_id for record in data.records]
    if len(set(ids)) < len(ids):
        yield f"{folder} has an image twice"
    if os.path.normpath(folder) not in state.plain:
        return
    shas = {record.sha256 for record in data.records}
    if shas not in place.lots:
        yield f"{folder} has {len(shas)} images, not those of one source"
    for record in data.records:
        if record.sha256 in place.truth and record.rles != place.truth[record.sha256]:
            yield f"{folder}: {record.image_id} has the masks {record.rles}"
            return


def _run(call: Call, status: int, state: State, place: Place) -> list[str]:
    from defectkit import load

    out = os.path.normpath(call.values.get("out") or "runs")
    if status != 2:
        state.models.discard(out)
    if status == 0 and call.values.get("out"):
        for run in Path(out).glob("seed-*") if "seeds" in call.values else [out]:
            load(run, device="cpu")
    return []


def _inspection(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    out = Path(call.values.get("out") or "inspection")
    state.halves &= os.path.normpath(out) != HALVES
    if status not in (0, 1):
        return
    shard = Shard.parse(call.values["shard"]) if "shard" in call.values else None
    out = shard.folder(out) if shard else out
    findings, errors = read_csv(out / "findings.csv"), read_csv(out / "errors.csv")
    if (status == 1) != bool(errors):
        yield f"status {status} with {len(errors)} errors"
    names = _ids(map(Path, call.values["images"]), out)
    listed = {re.sub(r"#\d+$", "", row["image_id"]) for row in errors + findings}
    listed |= {row["image_id"] for row in errors + findings}
    mask = os.path.realpath(call.values.get("roi") or "")  # Counted, not inspected.
    for path, ids in names.items():
        if os.path.realpath(path) == mask:
            continue
        if not shard and not ids & listed and os.path.relpath(path) not in state.owners:
            yield f"{os.path.relpath(path)!r} of an inspected folder is nowhere in the tables"
    run = os.path.normpath(call.values["model"]).removesuffix("/model")
    if run not in state.models or "roi" in call.values:
        return
    for row in findings:
        paths = [path for path, ids in names.items() if row["image_id"] in ids and path.is_file()]
        expected = {place.verdicts[run].get(sha256_file(path)) for path in paths}
        if paths and None not in expected and (row["verdict"], row["score"]) not in expected:
            yield f"{row['image_id']}: {row['verdict']} {row['score']}, not {expected}"


def _ids(given: Iterable[Path], out: Path) -> dict[Path, set[str]]:
    """The images below what was given, by their real folders, with the ids that each may get."""
    found: dict[Path, set[str]] = {}
    for top in given:
        inside = _images(top, out) if top.is_dir() else [top]
        for path in inside:
            own = path.relative_to(top).as_posix() if path != top else path.name
            real = Path(os.path.realpath(path.parent), path.name)  # A link is an image of its own.
            ids = (own, path.as_posix(), str(real))
            found.setdefault(real, set()).update(map(_in_table, ids))
    return found


def _in_table(image_id: str) -> str:
    """An id as it comes back from a table; bytes that are not Unicode do not."""
    return read_cell(str(write_cell(image_id)).encode("utf-8", "backslashreplace").decode())


def _images(top: Path, out: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(top):
        inside = Path(base)
        folders[:] = [one for one in folders if is_data(one) and inside / one != out / "overlays"]
        for name in files:
            if is_data(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES and inside != out:
                yield inside / name


def _evaluation(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    run, split = os.path.normpath(call.values["run"]), call.values.get("split", "test")
    if status != 2 and {"max_escape_rate", "cost_ratio", "prevalence", "best_f1"} & set(
        call.values
    ):
        state.models.discard(run)
    if status == 0 and "shard" in call.values:
        folder = Shard.parse(call.values["shard"]).folder(Path(run) / "evaluation" / split)
        if "data" not in call.values and not (folder / "shard.json").is_file():
            yield f"{folder} has no shard"
    elif status == 0:
        yield from true_evaluation(run, split, state, place, moved="data" in call.values)


def true_evaluation(
    run: str, split: str, state: State, place: Place, *, moved: bool
) -> Iterator[str]:
    """Yield where an evaluation that is used is not true."""
    from defectkit.evaluation.evaluation_result import EvaluationResult

    folder = Path(run) / "evaluation" / split
    EvaluationResult.read(folder, name="x")
    if split != "test" or run not in state.models or moved:
        return
    scores = {row["image_id"]: row["score"] for row in place.results[run]}
    if {row["image_id"]: row["score"] for row in read_csv(folder / "images.csv")} != scores:
        yield f"{folder} has other scores than the model gives"


def _comparison(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    if status != 0 or call.values.get("split", "test") != "test" or "data" in call.values:
        return
    rows = read_csv(Path(call.values.get("out") or "comparison") / "comparison.csv")
    known = {row["run"]: row for row in place.results["comparison"]}
    runs = [os.path.normpath(run) for run in call.values["runs"]]
    for run, row in zip(runs, rows, strict=True):
        expected = known.get(row["run"])
        if run not in state.models or not expected:
            continue
        for key in OF_ONE_RUN:
            if row[key] != expected[key]:
                yield f"comparison.csv: {key} of {run} is {row[key]}, not {expected[key]}"


def _suspects(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    if status == 0:
        out = Path(call.values.get("out") or Path(call.values["run"], "suspects"))
        known = {f"part-{index:02d}.png" for index in range(COUNT)}
        if wrong := {row["image_id"] for row in read_csv(out / "suspects.csv")} - known:
            yield f"suspects.csv names {wrong}"


def _drawn(call: Call, status: int, state: State, place: Place) -> list[str]:
    if status == 0:
        out = Path(call.values["out"])
        for row in read_csv(out / "train.csv"):
            with Image.open(out / "Train" / row["ImageId"]) as image:
                image.load()
    return []


def _merged(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    folder = os.path.normpath(call.values["folder"])
    if status != 0 or folder != HALVES or not state.halves:
        return
    for name in ("findings.csv", "errors.csv"):
        if Path(folder, name).read_bytes() != (place.base / "inspection" / name).read_bytes():
            yield f"{folder}/{name} is not what one process writes"


def _export(call: Call, status: int, state: State, place: Place) -> list[str]:
    from defectkit import load

    out = os.path.normpath(call.values.get("out") or Path(call.values["run"], "exported"))
    if status != 2:
        state.models.discard(out)
    if status == 0:
        load(out)
    return []


def _labels(call: Call, status: int, state: State, place: Place) -> Iterator[str]:
    dataset = os.path.normpath(call.values["dataset"])
    if status != 0 or dataset not in state.plain:
        return
    shas: dict[str, Any] = {Path(path).name: sha for path, sha in hashes_of(Path("source")).items()}
    if dataset == "dataset" and call.values.get("to") == "csv":
        for row in read_csv(call.values["out"]):
            truth = place.truth.get(shas.get(row["ImageId"], ""), {})
            if truth.get(row["ClassId"], "") != row["EncodedPixels"]:
                yield f"labels convert: {row['ImageId']} has {row['EncodedPixels']!r}"
