"""Objects of a store: listed and read, and whatever a store raises is one kind of error."""

import sys
from pathlib import Path, PureWindowsPath

import pytest
from stores import needs_s3, s3_server, upload

from defectkit.errors import MissingPackageError
from defectkit.object_stores import STORES, StoredObject

fsspec = pytest.importorskip("fsspec", reason="fsspec comes with s3fs, and with torch")


@pytest.fixture
def memory(monkeypatch):
    """Objects in memory, at ``memory://bucket``."""
    monkeypatch.setitem(STORES, "memory", ("fsspec", None))
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/a/1.png": b"one", "/bucket/a/b/2.png": b"two", "/bucket/ab.png": b"3"})
    yield store
    store.store.clear()


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


def test_content_is_read_up_to_a_limit(memory):
    stored = StoredObject("memory://bucket/a/1.png")
    assert (stored.read(3), stored.read_start(2)) == (b"one", b"on")
    with pytest.raises(ValueError, match="larger than the limit of 2 bytes"):
        stored.read(2)


@pytest.mark.parametrize("error", [RuntimeError("no credentials\nmore"), OSError("no credentials")])
def test_whatever_a_store_raises_is_an_error_of_the_system(memory, error, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(memory), "cat_file", fail)
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
        fsspec.filesystem("s3").pipe_file("bucket/in/folder/", b"")  # as the console of S3 makes it
        listed = dict(StoredObject("s3://bucket/in").list())
        assert sorted(listed) == ["a/1.png", "a/empty.png"]
        assert [one.read(10) for _, one in sorted(listed.items())] == [b"one", b""]
        with pytest.raises(OSError, match="none below"):
            [*StoredObject("s3://bucket/i").list()]
        with pytest.raises(FileNotFoundError, match="there is no such object"):
            StoredObject("s3://bucket/in/gone.png").read(10)
        with pytest.raises(OSError):  # noqa: PT011 (the text is the store's)
            [*StoredObject("s3://no-such-bucket/in").list()]
