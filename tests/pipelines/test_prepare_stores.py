"""Images on an object store: the dataset is that of the same images in a folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of_results
from steady_clock import SteadyClock
from stores import memory_store, needs_s3, s3_server, upload
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.errors import DatasetError, ImageError, MissingPackageError, StoreError
from defectkit.evaluation import prediction
from defectkit.files import read_csv, read_json
from defectkit.object_stores import STORES, StoredObject
from defectkit.pipelines import convert

pytest.importorskip("fsspec", reason="fsspec comes with s3fs, and with torch")

URL = "memory://plant/images"
SAMPLED = 10
"""Number of images, all defective ones, of which the size is read first."""


@pytest.fixture
def store(source_csv):
    """The images of ``source_csv`` on a store in memory."""
    with memory_store() as store:
        upload(source_csv.parent / "Train", URL)
        yield store


@pytest.fixture
def prepare(source_csv, tmp_path, quiet):
    def call(**options):
        own = {"images": URL, "out": tmp_path / "stored", "workers": 0, "console": quiet}
        return defectkit.prepare(source_csv, split="0.5/0.25/0.25", **{**own, **options})

    return call


@pytest.fixture
def read(store, monkeypatch) -> list[str]:
    """The names of the objects that are read, as often as they are."""
    names: list[str] = []
    cat_file = type(store).cat_file

    def logged(self, path, **options):
        names.append(path.rpartition("/")[2])
        return cat_file(self, path, **options)

    monkeypatch.setattr(type(store), "cat_file", logged)
    return names


def fail_from(number: int, store, monkeypatch) -> list[str]:
    """Let the store refuse what is read from one time on, until ``monkeypatch`` is undone.

    What it was asked for is in the list.
    """
    cat_file, asked = type(store).cat_file, []

    def failing(self, path, **options):
        asked.append(path)
        if len(asked) >= number:
            raise RuntimeError("the token has expired")
        return cat_file(self, path, **options)

    monkeypatch.setattr(type(store), "cat_file", failing)
    return asked


def forget_credentials(monkeypatch) -> None:
    """Leave S3 without any."""
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/no/such/file")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()


def same_but_for_the_address(stored: Path, local: Path) -> None:
    """Check two datasets: all files are equal but those that name the images, and these in that."""
    ours, theirs = hashes_of_results(stored), hashes_of_results(local)
    assert ours.keys() == theirs.keys()
    assert {name for name, value in ours.items() if theirs[name] != value} == {
        *("dataset.json", "images.csv"),
    }
    info, other = (read_json(folder / "dataset.json") for folder in (stored, local))
    differing = {name for name in info if info[name] != other[name]}
    assert differing == {"images", "source", "tables", "seal"}  # Of the source, its path.
    images, others = (read_csv(folder / "images.csv") for folder in (stored, local))
    for image, other in zip(images, others, strict=True):
        assert image["path"] == f"{info['images']}/{Path(other['path']).name}"
        assert {**image, "path": ""} == {**other, "path": ""}
    assert Dataset.load(stored).fingerprint == Dataset.load(local).fingerprint


@pytest.mark.usefixtures("store")
def test_the_dataset_is_that_of_a_folder(prepare, dataset_folder, tmp_path):
    assert prepare(images=f"{URL}/").images == 20
    same_but_for_the_address(tmp_path / "stored", dataset_folder)
    stored, local = (Dataset.load(one) for one in (tmp_path / "stored", dataset_folder))
    for record, other in zip(stored.records, local.records, strict=True):
        assert (record.read_image(1) == other.read_image(1)).all()


def test_images_that_nothing_lists_and_good_ones_beside_are_seen(store, prepare, tmp_path):
    store.pipe_file("/plant/images/line 2/extra.png", store.cat_file("/plant/images/part-01.png"))
    store.pipe_file("/plant/images/other.png", store.cat_file("/plant/images/part-03.png") + b"1")
    store.pipe_file("/plant/good/1.png", b"")
    done = prepare(unlisted="good")
    assert done.images == 21
    assert Dataset.load(tmp_path / "stored").records[-1].image_id == "other.png"
    assert any("1 images in the folder are not listed (other.png)" in one for one in done.warnings)
    beside = "memory://plant/good lies beside the image folder and seems to have good images"
    assert any(beside in one for one in done.warnings)


def test_folders_of_labels_have_their_images_on_a_store(store, dataset_folder, tmp_path, quiet):
    masks = tmp_path / "masks"
    convert.run(dataset_folder, to="masks", out=masks, console=quiet)
    out = tmp_path / "stored"
    done = defectkit.prepare(masks, images=URL, out=out, workers=0, console=quiet)
    assert (done.images, done.defective) == (20, 10)
    assert Dataset.load(out).records[0].path == StoredObject(f"{URL}/part-00.png")


def test_regions_have_their_masks_in_a_folder(store, prepare, tmp_path):
    (tmp_path / "roi" / "line 2").mkdir(parents=True)
    store.pipe_file("/plant/images/line 2/part-20.png", store.cat_file("/plant/images/part-01.png"))
    inside = np.full((96, 96), 255, np.uint8)
    inside[:, :10] = 0
    write_png(tmp_path / "roi" / "line 2" / "part-20.png", inside)
    for number in range(20):
        write_png(tmp_path / "roi" / f"part-{number:02}.png", inside)
    meta = tmp_path / "meta.csv"
    meta.write_text("ImageId\nline 2/part-20.png\n")
    prepare(roi=tmp_path / "roi", meta=meta)
    records = Dataset.load(tmp_path / "stored").records
    assert len(records) == 21
    assert len({record.roi for record in records}) == 1
    counted = records[0].read_scope().counted
    assert counted is not None
    assert not counted[:, :10].any()
    assert counted[:, 10:].all()


def test_a_conversion_names_images_by_their_keys(store, prepare, tmp_path, quiet):
    prepare()
    convert.run(tmp_path / "stored", to="csv", out=tmp_path / "out.csv", console=quiet)
    assert read_csv(tmp_path / "out.csv")[0]["ImageId"] == "part-00.png"


def test_only_what_was_replaced_is_read_again(store, prepare, read, tmp_path, monkeypatch):
    names = [f"part-{number:02}.png" for number in range(20)]
    prepare(out=tmp_path / "whole")
    assert read[SAMPLED : SAMPLED + 20] == names
    with monkeypatch.context() as patch:
        fail_from(SAMPLED + 8, store, patch)
        with pytest.raises(StoreError, match="expired. Check the connection and the credentials"):
            prepare()
    read.clear()
    with monkeypatch.context() as patch:
        fail_from(SAMPLED + 4, store, patch)
        with pytest.raises(StoreError):
            prepare(resume=True)
    store.pipe_file("/plant/images/part-03.png", store.cat_file("/plant/images/part-01.png") + b"1")
    store.pipe_file("/plant/images/part-05.png", store.cat_file("/plant/images/part-05.png"))
    read.clear()
    prepare(resume=True)
    assert read[SAMPLED : SAMPLED + 12] == ["part-03.png", "part-05.png", *names[10:]]


def test_a_store_that_is_out_refuses_no_image(
    store, prepare, tmp_path, monkeypatch, cli, source_csv
):
    with monkeypatch.context() as patch:
        fail_from(SAMPLED + 4, store, patch)
        words = ["--images", URL, "--out", tmp_path / "stored", "--workers", "0"]
        done = cli("prepare", source_csv, *words, "--skip-bad-rows")
    assert done.code == 2
    assert f"cannot read the image {URL}/part-03.png: the token has expired. Check" in done.err
    assert "The same command with --resume reads only the images that are left." in done.err
    again = cli("prepare", source_csv, *words, "--resume")
    assert again.code == 0
    assert "3 images were read before" in again.err
    assert len(Dataset.load(tmp_path / "stored").records) == 20


def test_a_store_that_is_out_is_asked_once(store, prepare, monkeypatch):
    asked = fail_from(1, store, monkeypatch)
    with pytest.raises(StoreError):
        prepare()
    assert len(asked) == 1


def test_an_object_that_has_gone_is_named_with_the_way_out(store, prepare, tmp_path):
    prepare()
    record = Dataset.load(tmp_path / "stored").records[3]
    store.rm("/plant/images/part-03.png")
    told = (
        f"^cannot read the image {URL}/part-03.png: there is no such object. Bring it back, or run"
    )
    with pytest.raises(ImageError, match=told):
        record.read_image(1)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"images": f"{URL}/none"},
            DatasetError,
            "cannot list --images memory://plant/images/none",
        ),
        ({"images": "gs://plant/images"}, MissingPackageError, "gs://plant/images needs gcsfs"),
        ({"roi": "s3://plant/roi"}, DatasetError, "--roi s3://plant/roi is on an object store"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_cannot_be_read_is_refused(prepare, options, error, said, monkeypatch):
    monkeypatch.setitem(STORES, "gs", ("gcsfs", None))
    with pytest.raises(error, match=said):
        prepare(**options)


@pytest.mark.slow
@needs_s3
def test_s3_gives_the_dataset_and_the_evaluation_of_a_folder(
    dataset_folder, run_copy, source_csv, tmp_path, cli, monkeypatch
):
    (tmp_path / "other").mkdir()
    other_run = shutil.copytree(run_copy, tmp_path / "other" / "run")
    monkeypatch.setattr(prediction, "time", SteadyClock())
    local = cli("evaluate", run_copy, "--device", "cpu", "--overlays", "all")
    assert local.code == 0, local.err
    with s3_server():
        upload(source_csv.parent / "Train", "s3://plant/images")
        stored = tmp_path / "stored"
        words = ["--images", "s3://plant/images", "--split", "0.5/0.25/0.25", "--workers", "2"]
        done = cli("prepare", source_csv, *words, "--out", stored)
        assert done.code == 0, done.err
        same_but_for_the_address(stored, dataset_folder)
        words = ["evaluate", other_run, "--data", stored, "--device", "cpu", "--overlays", "all"]
        done = cli(*words)
        assert done.code == 0, done.err
        ours, theirs = (run / "evaluation" / "test" for run in (other_run, run_copy))
        pages = [(one / "report.html").read_text(encoding="utf-8") for one in (ours, theirs)]
        named = pages[0].replace(str(other_run), str(run_copy))
        assert named.replace(str(stored), str(dataset_folder)) == pages[1]
        hashes = [hashes_of_results(one) for one in (ours, theirs)]
        assert all(one.pop("report.html") for one in hashes)
        assert hashes[0] == hashes[1]
        # Its loader processes are forked once this process has read from the store.
        run = train_tiny(stored, tmp_path / "trained", "data.workers=2", "train.epochs=1").run
        assert (run / "model" / "model.json").is_file()
        forget_credentials(monkeypatch)
        done = cli(*words)
        assert done.code == 2
        told = "png: Unable to locate credentials. Check the connection and the credentials."
        assert told in done.err
