"""A dataset of shards: byte for byte what a single process writes."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of, hashes_of_results
from killing import is_killed
from PIL import Image

from defectkit.files import read_json, write_json
from defectkit.growing_csv import read_whole_rows
from defectkit.preparation import examine
from defectkit.preparation.kept_facts import COLUMNS, FACTS
from defectkit.seals import add_seal

pytestmark = pytest.mark.check(63)


@pytest.fixture
def source(source_csv, tmp_path) -> Path:
    """The labels, and images of which two have 16 bits."""
    folder = tmp_path / "source"
    shutil.copytree(source_csv.parent / "Train", folder / "Train")
    for name in ("part-03.png", "part-10.png"):
        pixels = np.asarray(Image.open(folder / "Train" / name)).astype(np.uint16) * 16
        Image.fromarray(pixels).save(folder / "Train" / name)
    shutil.copy(source_csv, folder)
    return folder / source_csv.name


@pytest.fixture
def prepare(cli, source, tmp_path):
    """Call prepare by the command line; return its exit status and what it said."""

    def call(*words: object, out: Path = tmp_path / "out"):
        return cli("prepare", source, "--out", out, "--workers", "0", *words)

    return call


@pytest.mark.parametrize(
    ("count", "options"),
    [(1, []), (3, ["--window", "0,4095"]), (4, ["--split", "0.4/0.3/0.3"]), (23, ["--boxes"])],
)
def test_the_dataset_is_that_of_one_process(prepare, tmp_path, monkeypatch, count, options):
    whole = prepare(*options, out=tmp_path / "whole")
    assert whole.code == 0
    for number in range(count, 0, -1):  # in any order
        done = prepare(*options, "--shard", f"{number}/{count}")
        assert done.code == 0
        assert f"shard {number}/{count} is finished, " in done.err
    assert not (tmp_path / "out" / "dataset.json").exists()
    read: list[str] = []
    decode = examine.decode_stored

    def logged(content, *, name, **named):
        read.append(name)
        return decode(content, name=name, **named)

    monkeypatch.setattr(examine, "decode_stored", logged)
    done = prepare(*options, "--resume")
    assert done.code == 0
    told = done.err.removeprefix("note: 20 images were read before").strip()
    # The window of those of 16 bits depends on all of them.
    assert read == ([] if "--window" in options else ["part-03.png", "part-10.png"])
    assert told == whole.err.replace(str(tmp_path / "whole"), str(tmp_path / "out")).strip()
    assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "whole")


def test_each_image_is_read_by_one_shard(prepare, tmp_path):
    for number in (1, 2, 3):
        prepare("--shard", f"{number}/3")
    files = [tmp_path / "out" / "shards" / f"{n}-of-3" / FACTS for n in (1, 2, 3)]
    keys = [[cells[0] for cells, _ in read_whole_rows(path, COLUMNS)] for path in files]
    assert [len(own) for own in keys] == [7, 7, 6]
    assert len(set().union(*keys)) == 20


def test_earlier_datasets_are_replaced_by_the_joined_one_alone(prepare, tmp_path):
    prepare("--seed", "3")
    earlier = hashes_of_results(tmp_path / "out")
    prepare("--shard", "1/2")
    now = hashes_of_results(tmp_path / "out")
    assert {name: now[name] for name in earlier} == earlier
    done = prepare("--resume")
    assert done.code == 2
    assert "these are missing or not finished: 2/2. Run the command with --shard 2/2" in done.err
    prepare("--shard", "2/2")
    assert "note: --resume would take what shards have read" in prepare("--seed", "4").err
    assert prepare("--resume").code == 0
    prepare(out=tmp_path / "whole")
    assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "whole")


def test_shards_of_other_labels_images_and_options_are_refused(prepare, source, tmp_path):
    prepare("--shard", "1/2")
    prepare("--shard", "2/2", "--boxes")
    done = prepare("--resume")
    assert done.code == 2
    assert "are not shards of the same results: files, labels and how they are read is" in done.err
    prepare("--shard", "2/2")
    before = hashes_of(tmp_path / "out")
    done = prepare("--resume", "--boxes")
    assert done.code == 2
    assert "are of another dataset: files, labels and how they are read was" in done.err
    assert "Give the images, labels and options of the shards, or remove them." in done.err
    text = source.read_text()
    source.write_text(text.rstrip("\n").rpartition("\n")[0] + "\n")
    done = prepare("--resume")
    assert done.code == 2
    assert "are of another dataset: images was '20 images, " in done.err
    source.write_text(text)
    assert hashes_of(tmp_path / "out") == before
    assert prepare("--resume").code == 0


def test_shards_that_cannot_be_joined_are_refused(prepare, cli, tmp_path):
    out = tmp_path / "out"
    assert "--shard '3/2' is no shard." in prepare("--shard", "3/2").err
    assert not out.exists()
    for number in (1, 2):
        prepare("--shard", f"{number}/2")
    done = cli("merge", out)
    assert done.code == 2
    assert "has shards that prepare --shard wrote, and prepare --resume joins them." in done.err
    path = out / "shards" / "2-of-2" / FACTS
    content = path.read_bytes()
    path.write_bytes(content.replace(b" 96,", b" 97,", 1))
    done = prepare("--resume")
    assert done.code == 2
    assert "facts.csv was changed after it was written" in done.err
    path.write_bytes(content)
    prepare("--shard", "1/3")
    assert "has shards of 2 and of 3. Remove the folders of those" in prepare("--resume").err
    shutil.rmtree(out / "shards" / "1-of-3")
    head = out / "shards" / "1-of-2" / "shard.json"
    write_json(head, add_seal({**read_json(head), "command": "inspect"}))
    done = prepare("--resume")
    assert done.code == 2
    assert not (out / "dataset.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
def test_a_shard_that_was_stopped_goes_on_and_a_finished_one_does_nothing(
    prepare, tmp_path, monkeypatch
):
    decode, count = examine.decode_stored, 0

    def stop(content, **named):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return decode(content, **named)

    with monkeypatch.context() as patch:
        patch.setattr(examine, "decode_stored", stop)
        assert prepare("--shard", "1/2").code == 130
    assert prepare("--shard", "1/2", "--resume").code == 0
    rows = read_whole_rows(tmp_path / "out" / "shards" / "1-of-2" / FACTS, COLUMNS)
    assert len(list(rows)) == 10
    before = hashes_of(tmp_path / "out")
    done = prepare("--shard", "1/2", "--resume")
    assert done.code == 0
    assert "shard 1/2 is finished already, in " in done.err
    assert hashes_of(tmp_path / "out") == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
def test_a_kill_while_shards_are_joined_can_be_repeated(prepare, tmp_path):
    prepare(out=tmp_path / "whole")
    for number in (1, 2):
        prepare("--shard", f"{number}/2")
    kept = shutil.copytree(tmp_path / "out", tmp_path / "kept")
    for at in (3, 9, 15, 21, 27, 33, 39, 45):
        if not is_killed(lambda: prepare("--resume"), at=at):
            break
        # As long as a shard is missing, the others were joined, or all of them are to be.
        if not (tmp_path / "out" / "dataset.json").is_file():
            assert prepare("--resume").code == 0
        whole = hashes_of_results(tmp_path / "whole")
        now = hashes_of_results(tmp_path / "out")
        assert {name: now.get(name) for name in whole} == whole
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(kept, tmp_path / "out")
    assert at > 20
