"""Shards of inspections, merged: byte for byte what a single process writes."""

import shutil
import sys
from pathlib import Path

import pytest
from file_hashes import hashes_of_results
from killing import is_killed
from PIL import Image
from resealing import reseal

import defectkit
from defectkit.errors import ConfigError
from defectkit.files import TEMP_MARK, read_csv, read_json, write_json
from defectkit.reporting.inspection_progress import PROGRESS
from defectkit.results_marker import Marker, sizes_of
from defectkit.seals import add_seal, hash_tables

pytestmark = pytest.mark.check(63)


@pytest.fixture
def photos(source_csv, tmp_path) -> Path:
    """Images, a damaged one, files of pages whose ids depend on each other, and a text."""
    folder = tmp_path / "photos"
    (folder / "line 2").mkdir(parents=True)
    names = [f"part-{number:02}.png" for number in range(6)]
    for name in names:
        shutil.copy(source_csv.parent / "Train" / name, folder)
    shutil.copy(folder / names[0], folder / "line 2")
    (folder / "cut.png").write_bytes((folder / names[0]).read_bytes()[:200])
    first, *others = (Image.open(folder / name) for name in names[:3])
    for name in ("s.tif", "s.tif#", "stack.tif"):
        first.save(folder / name, "TIFF", save_all=True, append_images=others)
    shutil.copy(folder / names[0], folder / "s.tif#2")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def command(cli, run_folder, photos, tmp_path):
    """Call inspect by the command line; return its exit status and what it said."""

    def call(*words: object, out: Path = tmp_path / "out", images: Path = photos):
        return cli(
            "inspect", run_folder, images, "--device", "cpu", "--overlays", "all",
            "--out", out, *words,
        )  # fmt: skip

    return call


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_the_merged_inspection_is_that_of_one_process(command, cli, count, tmp_path):
    whole = command(out=tmp_path / "whole")
    assert whole.code == 1  # An image is damaged.
    statuses = []
    for number in range(count, 0, -1):  # in any order
        done = command("--shard", f"{number}/{count}")
        statuses.append(done.code)
        assert f"with all {count}: defectkit merge {tmp_path / 'out'}" in done.err
    assert sorted(statuses) == [0] * (count - 1) + [1]
    merged = cli("merge", tmp_path / "out")
    assert merged.code == 1
    assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "whole")
    marks = [Marker.read(tmp_path / name) for name in ("out", "whole")]
    assert marks[0] == marks[1]
    told = merged.err.replace(str(tmp_path / "out"), str(tmp_path / "whole"))
    assert "not inspected" in told
    assert whole.err.endswith(told)
    assert {row["image_id"] for row in read_csv(tmp_path / "out" / "findings.csv")} >= {
        *("s.tif##1", "s.tif###1", "s.tif#2", "stack.tif#3", "line 2/part-00.png"),
    }


@pytest.mark.parametrize("options", [["--overlays", "flagged"], ["--first-page", "--all-regions"]])
def test_options_hold_in_shards_too(command, cli, options, tmp_path):
    whole = command(*options, out=tmp_path / "whole")
    for number in (1, 2):
        command(*options, "--shard", f"{number}/2")
    merged = cli("merge", tmp_path / "out")
    assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "whole")
    told = merged.err.replace(str(tmp_path / "out"), str(tmp_path / "whole"))
    assert whole.err.endswith(told)  # with the notes on pages that were left out, in their order


@pytest.mark.slow
def test_earlier_results_are_replaced_by_the_merge_alone(command, cli, photos, tmp_path):
    command(images=photos / "part-00.png")
    before = hashes_of_results(tmp_path / "out")
    command("--shard", "1/2")
    assert "these are missing or not finished: 2/2. " in cli("merge", tmp_path / "out").err
    now = hashes_of_results(tmp_path / "out")
    assert {name: now[name] for name in before} == before
    command("--shard", "2/2")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert cli("merge", tmp_path / "out").code == 1
    command(out=tmp_path / "whole")
    assert (
        hashes_of_results(tmp_path / "out").keys() - {"mine.txt"}
        == hashes_of_results(tmp_path / "whole").keys()
    )


def test_shards_of_other_images_models_and_options_are_refused(
    command, cli, photos, run_copy, tmp_path
):
    command("--shard", "1/2", "--all-regions")
    command("--shard", "2/2")
    done = cli("merge", tmp_path / "out")
    assert done.code == 2
    assert (
        "are not shards of the same results: --all-regions is 'True' in one and 'False'" in done.err
    )
    (photos / "part-05.png").unlink()
    command("--shard", "1/2")
    done = cli("merge", tmp_path / "out")
    assert done.code == 2
    assert "images is '11 files, " in done.err
    assert "Run the one that is wrong again, with the same images, model and options" in done.err
    thresholds = {"low": 0.0, "high": 0.0, "rule": "f1"}
    reseal(run_copy / "model" / "model.json", thresholds=thresholds)
    out = tmp_path / "out"
    words = ["--device", "cpu", "--overlays", "all", "--shard", "2/2"]
    cli("inspect", run_copy, photos, "--out", out, *words)
    done = cli("merge", out)
    assert done.code == 2
    assert "not shards of the same results: the model is" in done.err


def test_a_wrong_shard_and_no_shards_are_refused(command, cli, tmp_path):
    done = command("--shard", "3/2")
    assert done.code == 2
    assert "--shard '3/2' is no shard. Give its number, from 1 on" in done.err
    assert not (tmp_path / "out").exists()
    done = cli("merge", tmp_path / "out")
    assert done.code == 2
    assert "there are no shards in" in done.err


def forge(folder: Path, change) -> None:
    """Change the rows of the progress of a shard, and seal it again."""
    path = folder / PROGRESS
    lines = change(path.read_text().splitlines(keepends=True))
    path.write_text("".join(lines))
    head = read_json(folder / "shard.json")
    head["tables"] = hash_tables(folder, list(head["tables"]))
    write_json(folder / "shard.json", add_seal(head))
    marker = Marker.read(folder)
    Marker(marker.kind, complete=True, files=sizes_of(folder, marker.files)).write(folder)


def test_an_image_in_two_shards_or_in_none_is_refused(command, cli, tmp_path):
    for number in (1, 2):
        command("--shard", f"{number}/2")
    kept = shutil.copytree(tmp_path / "out", tmp_path / "kept")
    first, second = (tmp_path / "out" / "shards" / f"{number}-of-2" for number in (1, 2))

    def refused(reason: str) -> None:
        done = cli("merge", tmp_path / "out")
        assert done.code == 2
        assert reason in done.err
        assert "Run the command again with --shard" in done.err
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(kept, tmp_path / "out")

    forge(second, lambda lines: lines[:-1])
    refused("no shard has file number")
    row = (first / PROGRESS).read_text().splitlines(keepends=True)[1]
    forge(second, lambda lines: [lines[0], row, *lines[1:]])
    refused("is in ")
    paged = next(one for one in (first, second) if "#1," in (one / PROGRESS).read_text())
    forge(paged, lambda lines: [line for line in lines if "#1," not in line])
    refused("at another place")
    forge(second, lambda lines: [*lines[:-1], "99" + lines[-1]])
    refused("of 12")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
def test_a_shard_that_was_killed_goes_on_and_a_finished_one_stays(
    command, cli, run_folder, photos, quiet, tmp_path
):
    command(out=tmp_path / "whole")

    def inspect(number: int, **options):
        return defectkit.inspect(
            run_folder, photos, out=tmp_path / "out", shard=f"{number}/2", device="cpu",
            overlays="all", console=quiet, **options,
        )  # fmt: skip

    assert is_killed(lambda: inspect(1), at=20)
    assert len(read_csv(tmp_path / "out" / "shards" / "1-of-2" / "unfinished" / PROGRESS)) >= 2
    inspect(2)
    assert "not finished: 1/2" in cli("merge", tmp_path / "out").err
    assert "continues behind" in command("--shard", "1/2", "--resume").err
    before = hashes_of_results(tmp_path / "out")
    done = command("--shard", "1/2", "--resume")
    assert "shard 1/2 is finished already, in" in done.err
    assert hashes_of_results(tmp_path / "out") == before
    with pytest.raises(ConfigError, match="is no shard"):
        inspect(3)
    cli("merge", tmp_path / "out")
    assert {
        name: value
        for name, value in hashes_of_results(tmp_path / "out").items()
        if TEMP_MARK not in name
    } == hashes_of_results(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
def test_a_merge_that_is_killed_can_be_repeated(command, cli, quiet, tmp_path):
    command(out=tmp_path / "whole")
    for number in (1, 2):
        command("--shard", f"{number}/2")
    kept = shutil.copytree(tmp_path / "out", tmp_path / "kept")
    killed = 0
    for at in range(1, 200, 9):
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(kept, tmp_path / "out")
        if not is_killed(lambda: defectkit.merge(tmp_path / "out", console=quiet), at=at):
            break
        killed += 1
        if (tmp_path / "out" / "shards" / "1-of-2" / "shard.json").exists():
            assert cli("merge", tmp_path / "out").code == 1
        files = hashes_of_results(tmp_path / "out").items()
        own = {
            name: value
            for name, value in files
            if TEMP_MARK not in name and not name.startswith("shards/")
        }
        assert own == hashes_of_results(tmp_path / "whole")
    assert killed >= 4
