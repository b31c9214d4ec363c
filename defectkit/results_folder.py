"""Folders of results: one writer at a time, replaced as a whole, and nothing of the user's touched.

A command writes into ``OUT/unfinished/``. At its end the new files take the place of those that
the marker ``OUT/.defectkit.json`` lists, and of these only. The head, the file that makes the
folder loadable, is removed first and comes last: wherever the command is killed, no head lies
beside files of other results, and the next run removes what is left.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from defectkit.errors import DefectkitError, OutputError
from defectkit.files import ensure_writable, make_folder, output_error, replace_file, sync_folder
from defectkit.results_marker import LOCK, MARKER, UNFINISHED, Marker, check_out, files_below


@dataclass(frozen=True, slots=True)
class Results:
    """Results that are being written.

    Attributes:
        out: the folder where they will lie.
        kind: what they are.
        head: the name of the file that makes the folder loadable.
        folder: where to write them until then.
        otherwise: another way out than to move what is in the way; "" where there is none.
        earlier: the files of earlier results in ``out``, which these replace.
        keeps_earlier: whether the earlier results are complete, and stay if these fail.
    """

    out: Path
    kind: str
    head: str
    folder: Path
    otherwise: str
    earlier: frozenset[str]
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
                raise OutputError(f"{path} is no folder. {self._way_out}")
        for name in wanted:
            path, new = self.out / name, self.folder / name
            is_own = name in self.earlier and _is_plain_file(path)
            if os.path.lexists(path) and not is_own and not _have_same_bytes(path, new):
                raise OutputError(f"{path} is not a file that this command wrote. {self._way_out}")

    @property
    def _way_out(self) -> str:
        damaged = (self.out / MARKER).exists() and not Marker.read(self.out)
        note = f" ({self.out / MARKER}, which lists the files it wrote, is damaged.)"
        return f"Move it away{_or(self.otherwise)}.{note if damaged else ''}"

    def make_folder(self) -> None:
        """Make the folder to write to; what a killed command left there is removed.

        Raises:
            OutputError: a folder of the user has its name, or it cannot be made.
        """
        if os.path.lexists(self.folder):
            leftover = Marker.read(self.folder) or not any(files_below(self.folder))
            if self.folder.is_symlink() or not self.folder.is_dir() or not leftover:
                raise OutputError(f"{self.folder} is not a folder of defectkit. {self._way_out}")
            _remove_staging(self.folder)
        Marker(self.kind, complete=False, files=frozenset()).write(self.folder)

    def publish(self, *, complete: bool) -> None:
        """Put the written files in the place of the earlier ones.

        Raises:
            OutputError: something of the user stands there, or the folder cannot be written.
        """
        new = frozenset(files_below(self.folder)) - {MARKER}
        self.refuse_foreign(new)
        Marker(self.kind, complete=False, files=self.earlier | new).write(self.out)
        _remove_files(self.out, self.earlier & {self.head})
        sync_folder(self.out)  # Before any other file changes.
        _remove_files(self.out, self.earlier - {self.head})
        self._move(new - {self.head})
        self._move(new & {self.head})
        Marker(self.kind, complete=complete, files=new).write(self.out)
        _remove_staging(self.folder)

    def keep_unfinished(self) -> None:
        """Put what was written in its place, unless earlier complete results are there."""
        if not frozenset(files_below(self.folder)) - {MARKER}:
            _remove_staging(self.folder)
        elif not self.keeps_earlier:
            self.publish(complete=False)

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
    adopt: Iterable[str] = (),
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
        adopt: files in ``out`` that no marker lists and that are to be replaced all the same.
        otherwise: another way out than to wait, or to move what is in the way; "" for none.

    Raises:
        OutputError: the folder has results of another kind, another process writes to it, a file
            of the user is in the way, or it cannot be written.
    """
    out = check_out(out, kind)
    ensure_writable(out)
    with hold_lock(
        out / LOCK,
        busy=OutputError(f"another process is writing to {out}. Wait for its end{_or(otherwise)}."),
    ):
        results = _plan(check_out(out, kind), kind, head, adopt, otherwise)
        results.refuse_foreign([head, *names])
        results.make_folder()
        try:
            yield results
        except BaseException:
            with suppress(OSError, OutputError):  # The error that ended the work matters more.
                results.keep_unfinished()
            raise
        try:
            results.publish(complete=True)
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
    earlier = frozenset({*adopt, *(marker.files if marker else ())})
    is_complete = head in earlier and (out / head).is_file() and (not marker or marker.complete)
    return Results(out, kind, head, out / UNFINISHED, otherwise, earlier, is_complete)


def _or(otherwise: str) -> str:
    return f", or {otherwise}" if otherwise else ""


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _have_same_bytes(path: Path, other: Path) -> bool:
    return _is_plain_file(path) and other.is_file() and cmp(path, other, shallow=False)


def _remove_files(folder: Path, names: Collection[str]) -> None:
    """Remove files of a folder, never through a link, and the folders below it that are then empty.

    Raises:
        OSError: a file cannot be removed.
    """
    parents = _parents(names)
    linked = {str(parent) for parent in parents if (folder / parent).is_symlink()}
    for name in names:
        behind_link = linked and not linked.isdisjoint(map(str, PurePosixPath(name).parents))
        if not behind_link and _is_plain_file(folder / name):
            (folder / name).unlink(missing_ok=True)
    for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
        with suppress(OSError):  # It has other files.
            (folder / parent).rmdir()


def _parents(names: Iterable[str]) -> set[PurePosixPath]:
    """Return the folders, all the way up, that lead to files."""
    parents = {parent for name in names for parent in PurePosixPath(name).parents}
    return parents - {PurePosixPath()}


def _remove_staging(folder: Path) -> None:
    # The marker last: without it, what a killed removal leaves would count as the user's.
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    shutil.rmtree(folder)
