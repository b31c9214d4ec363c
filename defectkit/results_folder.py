"""Folders of results: one writer at a time, replaced as a whole, and nothing of the user's touched.

A command writes into ``OUT/unfinished/``. At its end the new files take the place of those that
the marker ``OUT/.defectkit.json`` lists, and of these only. The head, the file that makes the
folder loadable, is removed first and comes last: wherever the command is killed, no head lies
beside files of other results, and the next run removes what is left.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path, PurePath, PurePosixPath

from defectkit.errors import DefectkitError, OutputError
from defectkit.files import ensure_writable, make_folder, output_error, replace_file, sync_folder
from defectkit.results_marker import (
    LOCK,
    MARKER,
    UNFINISHED,
    Marker,
    check_out,
    files_below,
    patterns_of,
    remove_all_but,
    size_of,
    sizes_of,
    unmarked_files,
)

FOREIGN = "is not a file that this command wrote"


@dataclass(frozen=True, slots=True)
class Results:
    """Results that are being written.

    Attributes:
        out: the folder where they will lie.
        kind: what they are.
        head: the name of the file that makes the folder loadable.
        folder: where to write them until then.
        otherwise: another way out than to move what is in the way; "" where there is none.
        earlier: the files of earlier results in ``out``, which these replace, with their numbers of
            bytes. One of another size is the user's, who changed it.
        keeps_earlier: whether the earlier results are complete, and stay if these fail.
    """

    out: Path
    kind: str
    head: str
    folder: Path
    otherwise: str
    earlier: Mapping[str, int]
    keeps_earlier: bool

    def if_failed(self, name: str) -> Path:
        """Return where a file that was written will lie if the command fails, for its message."""
        return (self.folder if self.keeps_earlier else self.out) / name

    def refuse_foreign(self, names: Iterable[str]) -> None:
        """Check that nothing of the user stands where files are to be written.

        A file that has the same bytes as the one that was written is in nobody's way.

        Args:
            names: files of the results, relative to the folder.

        Raises:
            OutputError: something does.
        """
        wanted = frozenset(names)
        for path in (self.out / parent for parent in _parents(wanted)):
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise self._foreign(path, "is no folder")
        for name in wanted:
            path, new = self.out / name, self.folder / name
            is_own = name in self.earlier and size_of(path) == self.earlier[name]
            if os.path.lexists(path) and not is_own and not _have_same_bytes(path, new):
                is_changed = name in self.earlier and size_of(path) is not None
                raise self._foreign(
                    path, "was changed since this command wrote it" if is_changed else FOREIGN
                )

    def _foreign(self, path: Path, what: str = FOREIGN) -> OutputError:
        damaged = (self.out / MARKER).exists() and not Marker.read(self.out)
        note = f" ({self.out / MARKER}, which lists the files it wrote, is damaged.)"
        return OutputError(
            f"{path} {what}. Move it away{_or(self.otherwise)}.{note if damaged else ''}"
        )

    def refuse_sources(self, sources: Iterable[Path]) -> None:
        """Check that no file to read is one of the earlier results, which these replace.

        Raises:
            OutputError: one is.
        """
        out = os.path.realpath(self.out)
        for source in sources if self.earlier else ():
            name = os.path.relpath(os.path.realpath(source), out)
            if PurePath(name).as_posix() in self.earlier:
                raise self._foreign(source, "is an earlier result, which this would replace")

    def make_folder(self, names: Iterable[str], *, keep: bool = False) -> None:
        """Make the folder to write to; what a command that did not end left there is removed.

        Args:
            names: files of the results; what lies beside these and their folders is the user's.
            keep: whether it stays instead.

        Raises:
            OutputError: it is the user's or has files of the user, or it cannot be made.
        """
        if os.path.lexists(self.folder):
            marker = Marker.read(self.folder)
            is_own = marker and marker.is_of_unfinished and marker.kind == self.kind
            is_own = is_own or not any(files_below(self.folder))
            if self.folder.is_symlink() or not self.folder.is_dir() or not is_own:
                raise self._foreign(self.folder, "is not a folder of defectkit")
            own = {name.split("/")[0] for name in (MARKER, *names, *patterns_of(self.head))}
            for name in files_below(self.folder):
                if name.split("/")[0] not in own:
                    raise self._foreign(self.folder / name)
            if not keep:
                _remove_staging(self.folder)
        Marker(self.kind, complete=False, files={}).write(self.folder)

    def publish(self, *, complete: bool) -> None:
        """Put the written files in the place of the earlier ones.

        Raises:
            OutputError: something of the user stands there, or the folder cannot be written.
        """
        new = sizes_of(self.folder, files_below(self.folder))
        del new[MARKER]
        self.refuse_foreign(new)
        Marker(self.kind, complete=False, files=self.earlier).write(self.out)
        self._remove_earlier(self.earlier.keys() & {self.head})
        sync_folder(self.out)  # Before any other file changes.
        self._remove_earlier(self.earlier.keys() - {self.head})
        Marker(self.kind, complete=False, files=new).write(self.out)
        self._move(new.keys() - {self.head})
        self._move(new.keys() & {self.head})
        Marker(self.kind, complete=complete, files=new).write(self.out)
        _remove_staging(self.folder)

    def keep_unfinished(self) -> None:
        """Put what was written in its place, unless earlier complete results are there."""
        if not frozenset(files_below(self.folder)) - {MARKER}:
            _remove_staging(self.folder)
        elif not self.keeps_earlier:
            self.publish(complete=False)

    def _remove_earlier(self, names: Collection[str]) -> None:
        """Remove earlier files, never through a link, and the folders that are then empty.

        Raises:
            OSError: a file cannot be removed.
        """
        parents = _parents(names)
        linked = {str(parent) for parent in parents if (self.out / parent).is_symlink()}
        for name in names:
            behind_link = linked and not linked.isdisjoint(map(str, PurePosixPath(name).parents))
            if not behind_link and size_of(self.out / name) == self.earlier[name]:
                (self.out / name).unlink(missing_ok=True)
        for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):  # It has other files.
                (self.out / parent).rmdir()

    def _move(self, names: Iterable[str]) -> None:
        changed = {self.out}
        for name in names:
            target = self.out / name
            if target.parent not in changed:
                make_folder(target.parent)
                changed.add(target.parent)
            replace_file(self.folder / name, target)
        for folder in changed:  # Not after each file: there may be very many.
            sync_folder(folder)


@contextmanager
def write_results(
    out: str | Path,
    *,
    kind: str,
    head: str,
    names: Iterable[str] = (),
    sources: Iterable[Path] = (),
    adopt: Iterable[str] = (),
    keep: bool = False,
    otherwise: str = "choose another folder",
) -> Iterator[Results]:
    """Lock the folder ``out``, yield where to write results, and put them in place at the end.

    On an error or an interruption, earlier complete results stay as they are and what was written
    stays in ``out/unfinished``; without such results it is put in place, marked as incomplete.
    Check options before: nothing is changed by a command that is refused before this.

    Args:
        out: the folder; it is made if need be.
        kind: what the results are, such as "dataset"; never mixed with those of another kind.
        head: the file without which nothing loads the folder.
        names: files to write, as far as known before any work: where the user has such, the
            command is refused.
        sources: files to read, none of which may be one to replace.
        adopt: files in ``out`` that the command did not write, to be replaced all the same.
        keep: whether what a command that did not end left is not removed.
        otherwise: another way out than to wait, or to move what is in the way; "" for none.

    Raises:
        OutputError: the folder has results of another kind, another process writes to it, a file
            of the user is in the way, a source is to be replaced, or it cannot be written.
    """
    names = [head, *names]
    out = check_out(out, kind)
    ensure_writable(out)
    with hold_lock(
        out / LOCK,
        busy=OutputError(f"another process is writing to {out}. Wait for its end{_or(otherwise)}."),
    ):
        results = _plan(check_out(out, kind), kind, head, adopt, otherwise)
        results.refuse_sources(sources)
        results.refuse_foreign(names)
        results.make_folder(names, keep=keep)
        try:
            yield results
        except BaseException:
            with suppress(OSError, OutputError):  # The error that ended the work matters more.
                results.keep_unfinished()
            raise
        try:
            results.publish(complete=True)
        except OutputError as error:
            raise type(error)(f"{error} The results are in {results.folder}.") from error
        except OSError as error:
            raise output_error(out, error) from error


@contextmanager
def hold_lock(path: Path, *, busy: DefectkitError, seconds: float = 0) -> Iterator[None]:
    """Hold a lock file; however the process ends, the system releases it.

    Args:
        path: the file.
        busy: the error to raise if another process holds it.
        seconds: time to wait for it.

    Raises:
        DefectkitError: ``busy``.
        OutputError: the file cannot be written.
    """
    from filelock import FileLock, Timeout  # Here, since the help of commands does not need it.

    try:
        lock = FileLock(path, timeout=seconds)
        lock.acquire()
    except Timeout:
        raise busy from None
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _plan(out: Path, kind: str, head: str, adopt: Iterable[str], otherwise: str) -> Results:
    """Return the results to write, by what is in ``out`` now."""
    marker = Marker.read(out)
    earlier = {
        **(marker.files if marker else sizes_of(out, unmarked_files(out))),
        **sizes_of(out, adopt),
    }
    is_complete = head in earlier and (out / head).is_file() and (not marker or marker.complete)
    return Results(out, kind, head, out / UNFINISHED, otherwise, earlier, is_complete)


def _or(otherwise: str) -> str:
    return f", or {otherwise}" if otherwise else ""


def _have_same_bytes(path: Path, other: Path) -> bool:
    return size_of(path) is not None and other.is_file() and cmp(path, other, shallow=False)


def _parents(names: Iterable[str]) -> set[PurePosixPath]:
    """Return the folders, all the way up, that lead to files."""
    return {one for name in names for one in PurePosixPath(name).parents} - {PurePosixPath()}


def _remove_staging(folder: Path) -> None:
    # The marker last: without it, what a killed removal leaves would count as the user's.
    remove_all_but({MARKER}, folder)
    shutil.rmtree(folder)
