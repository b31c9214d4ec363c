"""Shards: parts of a command's images, each done by a process of its own that knows no other one.

Shard 2/4 of the results in ``OUT`` is written to ``OUT/shards/2-of-4/``, a folder of results with a
lock and a marker of its own. Its head, ``shard.json``, says of what it is a part; it comes last, so
that a shard that was killed has none.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from defectkit.errors import ConfigError, OutputError, refusal, shown
from defectkit.files import make_folder, output_error, write_json
from defectkit.results_folder import Results, hold_lock
from defectkit.results_marker import LOCK, MARKER, Marker, check_out, sizes_of, unmarked_files
from defectkit.seals import add_seal, check_tables, hash_tables, read_sealed

SHARDS = "shards"
HEAD = "shard.json"
KIND = "shard"
MAX_SHARDS = 100_000
MAX_NAMED = 5  # shards that a message names


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``number`` of ``count``, from 1 on."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that ``--shard`` names.

        Raises:
            ConfigError: the text is none.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count <= MAX_SHARDS:
            raise ConfigError(
                f"--shard {shown(text)} is no shard. Give its number, from 1 on, and the number of "
                f"all shards, at most {MAX_SHARDS:,}: --shard 2/4."
            )
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def folder(self, out: Path) -> Path:
        """Return the folder of this shard of the results in ``out``."""
        return out / SHARDS / f"{self.number}-of-{self.count}"

    def takes(self, place: int) -> bool:
        """Return whether what comes at a place, from 0 on, belongs to this shard.

        The shards take turns, so that they get equally many, and what lies side by side, such as
        the images of a lot, is spread over all of them.
        """
        return place % self.count == self.number - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A complete shard, as its head says.

    Attributes:
        folder: its folder.
        shard: which one it is.
        command: the command that wrote it.
        same: what is the same in all shards of the results, by its name for people.
        content: what else the command wrote into the head.
        files: its files, relative to the folder, with their numbers of bytes.
        seal: the seal of the head.
    """

    folder: Path
    shard: Shard
    command: str
    same: Mapping[str, str]
    content: Mapping[str, Any]
    files: Mapping[str, int]
    seal: str


def write_head(
    folder: Path,
    shard: Shard,
    *,
    command: str,
    same: Mapping[str, str],
    tables: Sequence[str],
    content: Mapping[str, Any],
) -> None:
    """Write the head of a shard; arguments as the attributes of ``WrittenShard``.

    ``tables`` are the files whose hashes it has.
    """
    entries = {
        "command": command,
        "shard": shard.number,
        "shards": shard.count,
        "same": same,
        "content": content,
        "tables": hash_tables(folder, tables),
    }
    write_json(folder / HEAD, add_seal(entries))


def read_shards(out: Path) -> list[WrittenShard]:
    """Return all shards of the results in ``out``, by their numbers.

    Raises:
        ConfigError: there is none, one is missing, damaged or not finished, or they are not shards
            of the same results.
    """
    folders = {
        Shard(*map(int, found.groups())): path
        for path in (out / SHARDS).glob("*-of-*")
        if (found := re.fullmatch(r"([1-9][0-9]*)-of-([1-9][0-9]*)", path.name))
    }
    if not folders:
        raise ConfigError(
            f"there are no shards in {out / SHARDS}. If they are merged already, the results are "
            f"in {out}. Else name the folder for the whole results, as the command with --shard "
            "told at its end."
        )
    counts = sorted({shard.count for shard in folders})
    if len(counts) > 1:
        least = folders[min(folders, key=lambda one: (one.count, one.number))]
        raise ConfigError(
            f"{out / SHARDS} has shards of {' and of '.join(map(str, counts))}. Remove the folders "
            f"of those that are not to be merged, such as {least}."
        )
    every = [Shard(number, counts[0]) for number in range(1, counts[0] + 1)]
    missing = [one for one in every if one not in folders or not (folders[one] / HEAD).is_file()]
    if missing:
        named = ", ".join(map(str, missing[:MAX_NAMED]))
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise ConfigError(
            f"of {counts[0]} shards in {out / SHARDS} these are missing or not finished: "
            f"{named}{more}. Run the command with --shard {missing[0]}"
            f"{', and so on' if len(missing) > 1 else ''}; then merge again."
        )
    shards = [_read_shard(one, folders[one]) for one in every]
    for one in shards[1:]:
        _check_same(shards[0], one)
    return shards


def refuse_replaced(out: Path, *, kind: str, sources: Iterable[Path]) -> None:
    """Check of shards what ``write_results`` checks of the whole results; change nothing.

    Raises:
        OutputError: ``out`` has results of another kind, or a source is an earlier result in it.
    """
    marker = Marker.read(check_out(out, kind))
    earlier = marker.files if marker else sizes_of(out, unmarked_files(out))
    Results(out, kind, HEAD, out, "choose another folder", earlier, False).refuse_sources(sources)


def read_finished(
    folder: Path, shard: Shard, *, command: str, same: Mapping[str, str]
) -> WrittenShard | None:
    """Return this shard of the same results if a folder has it, complete and whole, else None."""
    try:
        written = _read_shard(shard, folder)
        return written if (written.command, written.same) == (command, dict(same)) else None
    except ConfigError:
        return None


def is_finished(folder: Path, shard: Shard, *, command: str, same: Mapping[str, str]) -> bool:
    """Return whether a folder has this shard of the same results already, complete and whole."""
    return bool(read_finished(folder, shard, command=command, same=same))


def damaged_shard(shard: Shard, folder: Path, reason: object) -> ConfigError:
    """Return the error to raise for a shard that cannot be merged."""
    way_out = f"Run the command again with --shard {shard}; then merge again."
    told = refusal(reason) or f"shard {shard} in {folder} cannot be merged: {reason}. {way_out}"
    return ConfigError(told)


def link_file(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system has no hard links.

    Raises:
        OutputError: that cannot be done.
    """
    try:
        if not target.parent.is_dir():
            make_folder(target.parent)
        try:
            target.hardlink_to(source)
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise output_error(target, error) from error


@contextmanager
def remove_if_failed(results: Results, names: Iterable[str]) -> Iterator[None]:
    """Leave nothing of a merge that fails: the shards still have all of it.

    ``names`` are those that ``write_results`` got.
    """
    try:
        yield
    except BaseException:
        with suppress(OSError, OutputError):  # The error that ended the work matters more.
            results.make_folder(names)
        raise


def remove_shards(shards: Sequence[WrittenShard]) -> list[Path]:
    """Remove shards that were merged, but no file of the user; return the folders that stay.

    A shard that was written again since it was read stays as it is.
    """
    for one in shards:
        busy = OutputError(f"another process is writing to {one.folder}. Wait for its end.")
        with suppress(OutputError):
            with hold_lock(one.folder / LOCK, busy=busy):
                if not _is_unchanged(one):
                    continue
                for name in (HEAD, *(one.files.keys() - {HEAD}), MARKER):
                    (one.folder / name).unlink(missing_ok=True)
            (one.folder / LOCK).unlink(missing_ok=True)
        _remove_empty(one.folder)
    if shards:
        with suppress(OSError):
            shards[0].folder.parent.rmdir()
    return [one.folder for one in shards if one.folder.exists()]


def _read_shard(shard: Shard, folder: Path) -> WrittenShard:
    """Return a shard that is complete and as it was written.

    Raises:
        ConfigError: it is not.
    """
    try:
        head = read_sealed(folder / HEAD)
        if (head["shard"], head["shards"]) != (shard.number, shard.count):
            raise ValueError(f"it is shard {head['shard']}/{head['shards']}")
        check_tables(folder, list(head["tables"]), head["tables"])
        marker = Marker.read(folder)
        if marker is None or not marker.complete or marker.kind != KIND:
            raise ValueError(f"{MARKER} does not say that it is complete")
        found = sizes_of(folder, marker.files)
        changed = sorted(name for name, size in marker.files.items() if found.get(name) != size)
        if changed:
            raise ValueError(f"{changed[0]} is missing or was changed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged_shard(shard, folder, error) from error
    return WrittenShard(
        folder=folder,
        shard=shard,
        command=head["command"],
        same=head["same"],
        content=head["content"],
        files=marker.files,
        seal=head["seal"],
    )


def _check_same(first: WrittenShard, other: WrittenShard) -> None:
    pairs = {"command": (first.command, other.command)}
    for name in {**first.same, **other.same}:
        pairs[name] = (first.same.get(name, ""), other.same.get(name, ""))
    for name, (one, another) in pairs.items():
        if one != another:
            raise ConfigError(
                f"{first.folder} and {other.folder} are not shards of the same results: {name} is "
                f"{shown(one)} in one and {shown(another)} in the other. Run the one that is wrong "
                "again, with the same images, model and options as all others."
            )


def _is_unchanged(written: WrittenShard) -> bool:
    try:
        return bool(read_sealed(written.folder / HEAD)["seal"] == written.seal)
    except (OSError, ValueError, KeyError):
        return False


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those in it that have no file."""
    inner = sorted(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    for path in (*reversed(inner), folder):
        with suppress(OSError):
            path.rmdir()
