import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats import untrusted_files
from defectkit.labels.formats.untrusted_files import (
    json_field,
    json_numbers,
    read_json,
    read_limited_bytes,
    read_xml,
)


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / "file").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "file"

    return write


def test_a_file_is_read_up_to_its_limit(file):
    path = file(b"12345")
    assert read_limited_bytes(path, max_bytes=5) == b"12345"
    with pytest.raises(LabelError, match="cannot read .*file"):
        read_limited_bytes(path, max_bytes=4)
    with pytest.raises(LabelError, match="No such file"):
        read_limited_bytes(path.with_name("none"))


def test_json_objects_are_read(file):
    assert read_json(file('{"a": [1, 2.5, "ü"]}')) == {"a": [1, 2.5, "ü"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "has no JSON object"),
        ('{"a": ', "is not readable JSON"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1e400}', "1e400 is too large"),
        (b'{"a": "\xff"}', "is not readable JSON"),
        ('{"a":' * 100_000, "is not readable JSON"),
    ],
)
def test_json_that_could_do_harm_is_refused(file, content, message):
    with pytest.raises(LabelError, match=message):
        read_json(file(content))


def test_xml_is_read(file):
    root = read_xml(file("<a><b>one</b><b/></a>"))
    assert root.tag == "a"
    assert [one.text for one in root.iterfind("b")] == ["one", None]


BOMB = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "it declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>', "it declares a document type"),
        ("<a>&x;</a>", "undefined entity"),
        ("<a>", "is not readable XML"),
        ("", "is not readable XML"),
        (b'<?xml version="1.0" encoding="none"?><a/>', "is not readable XML"),
    ],
)
def test_xml_that_could_do_harm_is_refused(file, content, message):
    with pytest.raises(LabelError, match=message):
        read_xml(file(content))


def test_xml_has_a_limit_of_its_own(file, monkeypatch):
    monkeypatch.setattr(untrusted_files, "MAX_XML_BYTES", 10)
    with pytest.raises(LabelError, match="cannot read"):
        read_xml(file("<a>too long</a>"))


def test_a_field_is_of_the_kind_that_is_asked():
    item = {"text": "a", "count": 3, "flag": True, "none": None}
    assert json_field(item, "text", str) == "a"
    assert json_field(item, "count", int, str) == 3
    assert json_field(item, "flag", bool) is True
    for wrong in ((item, "text", int), (item, "flag", int), (item, "none", str), (item, "x", str)):
        with pytest.raises(LabelError, match=f"'{wrong[1]}' is missing or is not of the right"):
            json_field(*wrong)
    with pytest.raises(LabelError, match="'text' is missing"):
        json_field([item], "text", str)


def test_numbers_are_a_list_of_nothing_else():
    assert json_numbers([1, 2.5]) == (1, 2.5)
    assert json_numbers([]) == ()
    for wrong in ([True], ["1"], None, {"a": 1}, [[1]]):
        with pytest.raises(LabelError, match="not a list of numbers"):
            json_numbers(wrong)
