"""Objects of a store: listed and read, and whatever a store raises is one kind of error."""

import sys
from pathlib import Path, PureWindowsPath

import pytest
from stores import memory_store, needs_s3, s3_server, upload

from defectkit.errors import MissingPackageError
from defectkit.object_stores import StoredObject, locate

fsspec = pytest.importorskip("fsspec", reason="fsspec comes with s3fs, and with torch")


@pytest.fixture
def memory():
    """Objects in memory, at ``memory://bucket``."""
    with memory_store() as store:
        store.pipe({"/bucket/a/1.png": b"one", "/bucket/a/b/2.png": b"two", "/bucket/ab.png": b"3"})
        yield store


@pytest.mark.parametrize(
    "given",
    ["s3://bucket/a//b.png", Path("s3://bucket/a/b.png"), PureWindowsPath("s3:\\bucket\\a\\b.png")],
)
def test_addresses_are_known_also_as_paths(given):
    stored = StoredObject.named(given)
    assert stored is not None
    assert str(stored).replace("a//b", "a/b") == "s3://bucket/a/b.png"
    assert ("//b.png" in str(stored)) == isinstance(given, str)
    assert (stored.name, stored.suffix) == ("b.png", ".png")


@pytest.mark.parametrize(
    "given", ["photos", "C:\\photos", "C:/photos", "s3:", "s3://", "ftp://a/b"]
)
def test_other_texts_are_none(given):
    assert StoredObject.named(given) is None


def test_objects_below_a_prefix_are_listed_by_their_keys(memory):
    listed = dict(StoredObject("memory://bucket/a").list())
    assert {key: str(one) for key, one in listed.items()} == {
        "1.png": "memory://bucket/a/1.png",
        "b/2.png": "memory://bucket/a/b/2.png",
    }
    assert sorted(dict(StoredObject("memory://bucket/a/").list())) == ["1.png", "b/2.png"]
    single = StoredObject("memory://bucket/ab.png")
    assert [*single.list()] == [("", single)]
    with pytest.raises(FileNotFoundError, match="no such object, and none below"):
        [*StoredObject("memory://bucket/c").list()]


def test_an_object_has_the_version_that_its_listing_told(memory):
    before = dict(StoredObject("memory://bucket/a").list())
    assert before["1.png"] == StoredObject("memory://bucket/a/1.png")
    memory.pipe_file("/bucket/a/1.png", b"other")
    after = dict(StoredObject("memory://bucket/a").list())
    assert after["1.png"].version != before["1.png"].version
    assert after["b/2.png"].version == before["b/2.png"].version != ""


@needs_s3
def test_no_listing_stays_in_memory(tmp_path):
    (tmp_path / "1.png").write_bytes(b"one")
    with s3_server():
        upload(tmp_path, "s3://bucket/in")
        stored = StoredObject("s3://bucket/in")
        assert len([*stored.list()]) == 1
        store, _ = fsspec.core.url_to_fs("s3://bucket/in")
        store.pipe_file("bucket/in/2.png", b"by another")
        assert len([*stored.list()]) == 2
        assert len(stored._open()[0].dircache) == 0


def test_folders_below_a_prefix_are_listed(memory):
    assert [*StoredObject("memory://bucket").subfolders()] == ["a"]
    assert [*StoredObject("memory://bucket/a/").subfolders()] == ["b"]


def test_an_object_has_the_parts_of_a_path():
    stored = StoredObject("s3://bucket/a/b.c.png")
    assert (stored.stem, stored.parent, stored.resolve()) == (
        "b.c",
        StoredObject("s3://bucket/a"),
        stored,
    )
    bucket = StoredObject("s3://bucket")
    assert stored.parent.parent == bucket == bucket.parent
    assert (bucket / "a/b.c.png", bucket / "") == (stored, bucket)
    assert stored.relative_to("s3://bucket/a/") == Path("b.c.png")
    assert not StoredObject("s3://bucket/ab.png").is_relative_to("s3://bucket/a")
    with pytest.raises(ValueError, match="s3://bucket/a does not lie below s3://bucket/b"):
        stored.parent.relative_to("s3://bucket/b")


def test_addresses_and_paths_are_located(tmp_path):
    assert locate("s3://bucket/a.png", tmp_path) == StoredObject("s3://bucket/a.png")
    assert locate("../a.png", tmp_path) == tmp_path / "../a.png"
    assert locate(Path("a.png")) == Path("a.png")


def test_content_is_read_up_to_a_limit(memory):
    stored = StoredObject("memory://bucket/a/1.png")
    assert (stored.read(3), stored.read_start(2)) == (b"one", b"on")
    with pytest.raises(ValueError, match="larger than the limit of 2 bytes"):
        stored.read(2)


@pytest.mark.parametrize("error", [RuntimeError("no credentials\nmore"), OSError("no credentials")])
def test_whatever_a_store_raises_is_an_error_of_the_system(memory, error, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    def ask_again(*_: object, **__: object) -> None:
        raise AssertionError("a store that does not answer is asked again")

    monkeypatch.setattr(type(memory), "cat_file", fail)
    monkeypatch.setattr(type(memory), "size", ask_again)
    with pytest.raises(OSError, match="^no credentials$"):
        StoredObject("memory://bucket/a/1.png").read(3)


@pytest.mark.parametrize(
    ("scheme", "package", "wanted"),
    [
        ("s3", "s3fs", r"'defectkit\[cloud\]'"),
        ("gs", "gcsfs", "gcsfs"),
        ("az", "adlfs", "adlfs"),
    ],
)
def test_a_store_whose_package_is_missing_names_it(scheme, package, wanted, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    told = f"^{scheme}://bucket/a needs {package}, .* pip install {wanted}$"
    with pytest.raises(MissingPackageError, match=told):
        StoredObject(f"{scheme}://bucket/a").read(1)


@needs_s3
def test_s3(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    (tmp_path / "a" / "1.png").write_bytes(b"one")
    with s3_server():
        upload(tmp_path, "s3://bucket/in")
        store = fsspec.filesystem("s3")
        store.pipe_file("bucket/in/folder/", b"")  # as the console of S3 makes it
        store.pipe_file("bucket/in//c.png", b"two slashes")
        listed = dict(StoredObject("s3://bucket/in").list())
        assert sorted(listed) == ["a/1.png", "a/empty.png", "c.png"]
        contents = [one.read(100) for _, one in sorted(listed.items())]
        assert contents == [b"one", b"", b"two slashes"]
        store.touch("bucket/in/a/1.png")
        store.pipe_file("bucket/in/a/1.png", b"one")
        again = dict(StoredObject("s3://bucket/in").list())
        assert again["a/1.png"].version == listed["a/1.png"].version  # by its hash
        store.pipe_file("bucket/in/a/1.png", b"two")
        again = dict(StoredObject("s3://bucket/in").list())
        assert again["a/1.png"].version != listed["a/1.png"].version
        assert sorted(StoredObject("s3://bucket/in").subfolders()) == ["a", "folder"]
        with pytest.raises(OSError, match="none below"):
            [*StoredObject("s3://bucket/i").list()]
        with pytest.raises(FileNotFoundError, match="there is no such object"):
            StoredObject("s3://bucket/in/gone.png").read(10)
        with pytest.raises(OSError):  # noqa: PT011 (the text is the store's)
            [*StoredObject("s3://no-such-bucket/in").list()]
