import re
import shutil
from pathlib import Path

import pytest
from locked_files import lock

from defectkit import shards
from defectkit.errors import ConfigError, OutputError
from defectkit.results_folder import write_results
from defectkit.results_marker import LOCK, MARKER
from defectkit.shards import Shard, link_file, read_shards, remove_shards

pytestmark = pytest.mark.check(63)

SAME = {"the model": "abc", "images": "4 files"}


def write(out: Path, number: int, count: int, *, command: str = "inspect", **same: str) -> Path:
    shard = Shard(number, count)
    with write_results(shard.folder(out), kind=shards.KIND, head=shards.HEAD) as results:
        (results.folder / "rows.csv").write_text(f"a\n{number}\n")
        (results.folder / "overlays").mkdir()
        (results.folder / "overlays" / f"{number}.png").write_text("picture")
        shards.write_head(
            results.folder,
            shard,
            command=command,
            same={**SAME, **same},
            tables=["rows.csv"],
            content={"files": 4},
        )
    return shard.folder(out)


@pytest.mark.parametrize("text", ["2/4", "1/1", "100000/100000"])
def test_a_shard_is_named_by_its_number_and_the_number_of_all(text):
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "0/4", "5/4", "1/0", "a/b", "1", "1/2/3", "-1/4", "1/4 ", "1.0/4", "1/100001", "٣/٤"],
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ConfigError, match=r"is no shard\. Give its number, from 1 on, .* 2/4\."):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_place_belongs_to_one_shard_and_they_are_equally_large(count):
    taken = [[n for n in range(20) if Shard(i, count).takes(n)] for i in range(1, count + 1)]
    assert sorted(place for own in taken for place in own) == list(range(20))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_all_shards_are_read_in_their_order(tmp_path):
    for number in (2, 3, 1):
        write(tmp_path, number, 3)
    written = read_shards(tmp_path)
    assert [one.shard for one in written] == [Shard(n, 3) for n in (1, 2, 3)]
    assert written[0].content == {"files": 4}
    assert written[1].files.keys() == {"rows.csv", "overlays/2.png", "shard.json"}


def test_what_cannot_be_merged_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"no shards in .*shards\. If they are merged already"):
        read_shards(tmp_path)
    write(tmp_path, 2, 4)
    with pytest.raises(ConfigError, match=r"of 4 shards .*: 1/4, 3/4, 4/4\. .*--shard 1/4, and so"):
        read_shards(tmp_path)
    for number in (1, 3, 4):
        write(tmp_path, number, 4)
    assert len(read_shards(tmp_path)) == 4
    (tmp_path / "shards" / "3-of-4" / "shard.json").unlink()
    with pytest.raises(ConfigError, match=r"not finished: 3/4\. Run the command with --shard 3/4;"):
        read_shards(tmp_path)
    write(tmp_path, 3, 4)
    write(tmp_path, 1, 2)
    with pytest.raises(ConfigError, match=r"shards of 2 and of 4\. Remove .* such as .*1-of-2\."):
        read_shards(tmp_path)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("the model", "abc", "def"), ("images", "4 files", "5 files"), ("--roi", "", "1,2,3,4")],
)
def test_shards_of_different_results_are_refused(tmp_path, name, one, other):
    write(tmp_path, 1, 2)
    write(tmp_path, 2, 2, **{name: other})
    with pytest.raises(ConfigError, match=rf"{name} is '{one}' in one and '{other}' in the other"):
        read_shards(tmp_path)


def test_shards_of_different_commands_are_refused(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 2, 2, command="evaluate")
    with pytest.raises(ConfigError, match="command is 'inspect' in one and 'evaluate'"):
        read_shards(tmp_path)


def test_a_shard_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    told = lock(monkeypatch, write(tmp_path, 1, 1) / "rows.csv")
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
        read_shards(tmp_path)


def test_damaged_shards_are_refused(tmp_path):
    write(tmp_path, 1, 2)
    folder = write(tmp_path, 2, 2)

    def refused(reason: str) -> None:
        way_out = r"\. Run the command again with --shard 2/2; then merge again\."
        with pytest.raises(
            ConfigError, match=rf"shard 2/2 in .*2-of-2 cannot .*{reason}.*{way_out}"
        ):
            read_shards(tmp_path)
        shutil.rmtree(folder)
        write(tmp_path, 2, 2)

    (folder / "shard.json").write_text("")
    refused(r"shard\.json is not JSON \(")
    (folder / "rows.csv").write_text("a\n9\n")
    refused("rows.csv was changed after it was written")
    (folder / "rows.csv").unlink()
    refused("rows.csv is missing")
    (folder / "overlays" / "2.png").unlink()
    refused(r"overlays/2\.png is missing or was changed")
    (folder / "overlays" / "2.png").write_text("another")
    (folder / "overlays" / "2.png").write_text("a larger picture")
    refused(r"overlays/2\.png is missing or was changed")
    (folder / MARKER).unlink()
    refused(r"\.defectkit\.json does not say that it is complete")
    text = (folder / "shard.json").read_text()
    (folder / "shard.json").write_text(text.replace("abc", "abd"))
    refused("shard.json was changed after it was written")
    shutil.copy(tmp_path / "shards" / "1-of-2" / "shard.json", folder)
    refused("it is shard 1/2")


def test_merged_shards_are_removed_but_no_file_of_the_user(tmp_path):
    for number in (1, 2):
        write(tmp_path, number, 2)
    written = read_shards(tmp_path)
    note = tmp_path / "shards" / "2-of-2" / "overlays" / "mine.txt"
    note.write_text("mine")
    assert remove_shards(written) == [tmp_path / "shards" / "2-of-2"]
    left = [path for path in (tmp_path / "shards").rglob("*") if path.is_file()]
    assert left == [note]
    note.unlink()
    for number in (1, 2):
        write(tmp_path, number, 2)
    assert remove_shards(read_shards(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_was_written_again_stays(tmp_path):
    write(tmp_path, 1, 1)
    written = read_shards(tmp_path)
    write(tmp_path, 1, 1, images="5 files")
    remove_shards(written)
    assert read_shards(tmp_path)[0].same["images"] == "5 files"


def test_it_is_known_whether_a_shard_is_finished(tmp_path):
    folder = write(tmp_path, 1, 2)
    assert shards.is_finished(folder, Shard(1, 2), command="inspect", same=SAME)
    assert not shards.is_finished(folder, Shard(1, 2), command="evaluate", same=SAME)
    assert not shards.is_finished(folder, Shard(1, 2), command="inspect", same={})
    assert not shards.is_finished(folder, Shard(2, 2), command="inspect", same=SAME)


def test_results_of_another_command_are_not_mixed_with_shards(tmp_path):
    with write_results(tmp_path, kind="dataset", head="dataset.json") as results:
        (results.folder / "dataset.json").write_text("{}")
    with pytest.raises(OutputError, match=r"kind: dataset\), which are not mixed"):
        shards.refuse_replaced(tmp_path, kind="inspection", sources=[])
    shards.refuse_replaced(tmp_path, kind="dataset", sources=[tmp_path / LOCK])
    with pytest.raises(OutputError, match="is an earlier result, which this would replace"):
        shards.refuse_replaced(tmp_path, kind="dataset", sources=[tmp_path / "dataset.json"])


def test_a_file_is_linked_or_copied(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("content")
    link_file(tmp_path / "a", tmp_path / "x" / "b")
    assert (tmp_path / "x" / "b").samefile(tmp_path / "a")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_file(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "content"
    assert not (tmp_path / "c").samefile(tmp_path / "a")
    with pytest.raises(OutputError, match="cannot write"):
        link_file(tmp_path / "missing", tmp_path / "d")
