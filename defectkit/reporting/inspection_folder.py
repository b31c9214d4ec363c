"""The folder of an inspection or of one of its shards: begun, continued and completed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from defectkit import shards
from defectkit.data.image_search import ImageFile, ImageSearch
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.inspection_progress import (
    PROGRESS,
    STATE,
    TABLES,
    Progress,
    begin_progress,
    end_progress,
    read_steps,
)
from defectkit.reporting.inspection_summary import InspectSummary, summarize_inspection
from defectkit.reporting.inspection_tables import InspectionTables
from defectkit.reporting.stopped import tell_if_stopped
from defectkit.results_folder import write_results
from defectkit.results_marker import UNFINISHED
from defectkit.shards import Shard
from defectkit.terminal import one_line
from defectkit.vocabulary import Overlays

COMMAND = "inspect"
KIND = "inspection"
HEAD = "findings.csv"


def files_of_shard(files: Sequence[ImageFile], shard: Shard | None) -> list[ImageFile]:
    """Return the files that a shard inspects, in order; without one, all.

    Files whose names differ by a ``#`` at the end alone stay together: the ids of their pages,
    which must differ, depend on each other.
    """
    if shard is None:
        return list(files)
    places: dict[str, int] = {}
    for file in files:
        places.setdefault(file.image_id.rstrip("#"), len(places))
    return [file for file in files if shard.takes(places[file.image_id.rstrip("#")])]


def finished_inspection(
    out: Path, shard: Shard, same: Mapping[str, str], console: Console
) -> InspectSummary | None:
    """Return the summary of a shard that is complete already, None if it is not."""
    folder = shard.folder(out)
    if not shards.is_finished(folder, shard, command=COMMAND, same=same):
        return None
    console.print(one_line(f"shard {shard} is finished already, in {folder}"))
    progress = Progress()
    for step in read_steps(folder / PROGRESS):
        progress.add(step)
    return InspectSummary(
        out=folder,
        good=progress.verdicts["good"],
        review=progress.verdicts["review"],
        defective=progress.verdicts["defective"],
        unreadable=progress.n_errors,
        skipped=0,
    )


@contextmanager
def open_inspection(
    out: Path,
    files: Sequence[ImageFile],
    search: ImageSearch,
    *,
    shard: Shard | None,
    same: Mapping[str, str],
    drawn: Overlays,
    sources: Iterable[Path],
    resume: bool,
    console: Console,
) -> Iterator[InspectionTables]:
    """Lock the folder of an inspection, yield its tables, and complete it at the end.

    Args:
        out: the folder; a shard has its own below it.
        files: what is inspected.
        search: all that was found.
        shard: the shard, if it is one.
        same: of ``describe_inspection``.
        drawn: which images get an overlay.
        sources: files to read, none of which may be one to replace.
        resume: whether to go on behind the last image that is done.
        console: where to report.

    Raises:
        ConfigError: what is to be continued is another inspection, or damaged.
        OutputError: the folder cannot be written, or has other results.
    """
    pictures = [f"overlays/{overlay_name(file.image_id)}" for file in files]
    names = [*TABLES, PROGRESS, STATE, *(pictures if drawn != "none" else ())]
    sources = tuple(sources)
    folder = out
    if shard:
        shards.refuse_replaced(out, kind=KIND, sources=sources)
        folder = shard.folder(out)
        names.append(shards.HEAD)
    had_rows = (folder / UNFINISHED / HEAD).is_file()
    with write_results(
        folder,
        kind=shards.KIND if shard else KIND,
        head=shards.HEAD if shard else HEAD,
        names=names,
        sources=sources,
        keep=resume,
    ) as results:
        progress = begin_progress(results, same, files, names, resume=resume)
        _tell_begin(progress, console, had_rows=had_rows, resume=resume)
        way_on = "The same command with --resume continues there."
        with (
            tell_if_stopped(console, results, HEAD, way_on=way_on),
            InspectionTables(results.folder, progress) as tables,
        ):
            yield tables
        if shard is None:
            end_progress(results.folder)
        else:
            (results.folder / STATE).unlink()
            shards.write_head(
                results.folder,
                shard,
                command=COMMAND,
                same=same,
                tables=[*TABLES, PROGRESS],
                content={
                    "files": len(search.files),
                    "drawn": drawn,
                    "skipped": search.skipped,
                    "told_skipped": search.describe_skipped(),
                },
            )


def end_inspection(
    out: Path,
    progress: Progress,
    search: ImageSearch,
    *,
    shard: Shard | None,
    drawn: Overlays,
    console: Console,
) -> InspectSummary:
    """Print and return the summary of an inspection that is complete, or of a shard."""
    summary = summarize_inspection(
        console,
        shard.folder(out) if shard else out,
        verdicts=progress.verdicts,
        n_errors=progress.n_errors,
        notes=progress.notes,
        drawn=drawn,
        skipped=search.skipped,
        told_skipped=search.describe_skipped(),
    )
    if shard:
        told = f"shard {shard} is finished; with all {shard.count}: defectkit merge {out}"
        console.print(one_line(told), highlight=False)
    return summary


def _tell_begin(progress: Progress, console: Console, *, had_rows: bool, resume: bool) -> None:
    if progress.sizes:
        done = progress.verdicts.total() + progress.n_errors
        console.print(f"[yellow]note:[/] continues behind {done} images that are done")
    elif resume:
        console.print("[yellow]note:[/] nothing is there to be continued: inspects from the start")
    elif had_rows:
        console.print("[yellow]note:[/] removed the rows that a stopped inspection had left")
