import pytest
from stores import memory_store

from defectkit.errors import DatasetError
from defectkit.object_stores import StoredObject
from defectkit.preparation.stored_files import StoredFiles

pytest.importorskip("fsspec", reason="fsspec comes with s3fs, and with torch")


@pytest.fixture
def store():
    with memory_store() as store:
        names = ("in/1.png", "in/a/2.png", "in/a/b/3.png", "in/.hidden/4.png", "in/a//5.png")
        names = (*names, "good/6")
        store.pipe({f"/bucket/{name}": name.encode() for name in names})
        yield store


def files(url: str = "memory://bucket/in") -> StoredFiles:
    return StoredFiles(StoredObject(url))


def test_objects_are_found_by_folder_as_files_are(store):
    found = files()
    assert (found.problems(""), found.problems("a")) == ({"1.png": ""}, {"2.png": ""})
    assert (found.subfolders(""), found.subfolders("a"), found.subfolders("b")) == (
        ["a"],
        ["b"],
        [],
    )
    assert sorted(found.names()) == ["1.png", "a/2.png", "a/b/3.png"]
    assert found.path("a/b/3.png").read(100) == b"in/a/b/3.png"
    assert found.is_searched("a")
    assert not found.leads_outside("a")
    assert found.real("a") == "a"


def test_objects_come_with_the_version_that_was_listed(store):
    found = files()
    before = found.path("1.png").version
    store.pipe_file("/bucket/in/1.png", b"something else")
    assert found.path("1.png").version == before != ""
    found.forget()  # Then they are listed anew.
    assert found.path("1.png").version != before


def test_the_folders_beside_are_all_but_the_folder_itself(store, monkeypatch):
    assert files().beside() == [StoredObject("memory://bucket/good")]
    assert files("memory://bucket").beside() == []  # A bucket lies in nothing.

    def bar(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    found = files()
    monkeypatch.setattr(type(store), "ls", bar)
    assert found.beside() == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://bucket/none", r"cannot list --images memory://bucket/none \(there is no such"),
        ("memory://bucket/good/6", "is one object, not a folder. Name what it lies in"),
    ],
)
def test_what_has_no_images_is_refused(store, url, said):
    with pytest.raises(DatasetError, match=said):
        files(url)
