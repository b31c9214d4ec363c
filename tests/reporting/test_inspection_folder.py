import io
from pathlib import Path

import pytest
from file_hashes import hashes_of_results
from rich.console import Console

from defectkit.data.image_search import ImageFile, ImageSearch
from defectkit.files import read_json
from defectkit.reporting.inspection_folder import (
    end_inspection,
    files_of_shard,
    finished_inspection,
    open_inspection,
)
from defectkit.reporting.inspection_progress import PROGRESS, STATE
from defectkit.shards import Shard

SAME = {"the model": "abc", "--overlays": "none"}


def files(*names: str) -> list[ImageFile]:
    return [
        ImageFile(image_id=name, path=Path(name), number=number)
        for number, name in enumerate(names, 1)
    ]


def names(chosen: list[ImageFile]) -> list[str]:
    return [file.image_id for file in chosen]


def test_shards_take_turns_and_keep_together_what_depends_on_each_other():
    every = files("a", "b#", "c", "b", "d", "b##", "e")
    assert names(files_of_shard(every, None)) == names(every)
    parts = [names(files_of_shard(every, Shard(number, 2))) for number in (1, 2)]
    assert parts == [["a", "c", "e"], ["b#", "b", "d", "b##"]]
    assert files_of_shard(files("a"), Shard(2, 2)) == []


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=1000)


def write(out: Path, console: Console, shard: Shard | None = None, **options) -> None:
    search = ImageSearch(files=files("a", "b"))
    with open_inspection(
        out, files_of_shard(search.files, shard), search, shard=shard, same=SAME, drawn="none",
        sources=[], console=console, **{"resume": False, **options},
    ) as tables:  # fmt: skip
        for file in files_of_shard(search.files, shard)[tables.progress.files :]:
            tables.add_errors([(file.image_id, "damaged")])
            tables.end_image(file.image_id, "", file=file.number, is_last=True)
    end_inspection(out, tables.progress, search, shard=shard, drawn="none", console=console)


def test_a_whole_inspection_has_no_progress_and_a_shard_has_a_head(tmp_path, console):
    write(tmp_path / "whole", console)
    inside = set(hashes_of_results(tmp_path / "whole"))
    assert inside == {"findings.csv", "regions.csv", "errors.csv"}
    assert "shard" not in console.file.getvalue()
    write(tmp_path / "out", console, Shard(2, 2))
    folder = tmp_path / "out" / "shards" / "2-of-2"
    inside = set(hashes_of_results(folder))
    assert inside == {"findings.csv", "regions.csv", "errors.csv", PROGRESS, "shard.json"}
    head = read_json(folder / "shard.json")
    assert head["same"] == SAME
    assert head["content"]["files"] == 2
    assert f"shard 2/2 is finished; with all 2: defectkit merge {tmp_path / 'out'}" in (
        console.file.getvalue()
    )


def test_what_is_stopped_says_how_it_goes_on(tmp_path, console, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("defectkit.reporting.inspection_tables.InspectionTables.end_image", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, console)
    told = console.file.getvalue()
    assert told.endswith("The same command with --resume continues there.\n")
    assert (tmp_path / STATE).is_file()
    write(tmp_path, console, resume=True)
    assert "note: nothing is there to be continued: inspects from the start" in (
        console.file.getvalue()
    )


def test_a_finished_shard_is_summarized_from_its_files(tmp_path, console):
    shard = Shard(1, 2)
    assert finished_inspection(tmp_path, shard, SAME, console) is None
    write(tmp_path, console, shard)
    done = finished_inspection(tmp_path, shard, SAME, console)
    assert done is not None
    assert (done.unreadable, done.good, done.out) == (1, 0, shard.folder(tmp_path))
    assert finished_inspection(tmp_path, shard, {**SAME, "the model": "x"}, console) is None
