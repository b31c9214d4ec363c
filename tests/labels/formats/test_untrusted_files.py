import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.untrusted_files import (
    image_size,
    json_field,
    json_id,
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


def test_what_json_does_not_have_is_read_where_nobody_needs_it(file):
    assert read_json(file('{"area": NaN, "text": "a\tb"}'))["text"] == "a\tb"
    with pytest.raises(LabelError, match="not a list of numbers"):
        json_numbers(read_json(file('{"a": [1, Infinity]}'))["a"])


def test_the_encoding_that_xml_declares_counts_where_it_is_not_utf8(file):
    text = '<?xml version="1.0" encoding="{}"?><a>划痕</a>'
    assert read_xml(file(text.format("gb2312").encode("gbk"))).text == "划痕"
    assert read_xml(file(text.format("gb2312"))).text == "划痕"
    assert read_xml(file(text.format("utf-8").encode("gbk"))).text == "划痕"
    assert read_xml(file(text.format("utf-16").encode("utf-16"))).text == "划痕"
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?><a>Öl</a>'
    assert read_xml(file(latin.encode("latin-1"))).text == "Öl"


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (20, 30, (20, 30)), (20.0, "30", (20, 30)), ("20.0", " 30 ", (20, 30)),
        (0, 30, None), (None, 30, None), ("", "", None), (-1, 5, None), (20.5, 30, None),
        ("a", 1, None), (True, 5, None), (float("nan"), 5, None), ([1], 5, None),
    ],
)  # fmt: skip
def test_a_size_is_read_as_written_in_any_way_or_is_not_known(height, width, size):
    assert image_size(height, width) == size


def test_ids_are_one_as_numbers_and_as_text():
    assert json_id(1) == json_id("1") == json_id(1.0) == json_id(" 1 ") == "1"
    assert json_id("01") == "01"
    assert [json_id(one) for one in (None, True, 1.5, [1], {})] == [None] * 5


def test_json_objects_are_read(file):
    assert read_json(file('{"a": [1, 2.5, "ü"]}')) == {"a": [1, 2.5, "ü"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "has no JSON object"),
        ('{"a": ', "is not readable JSON"),
        (b'{"a": "\xff\x01"}', "is neither UTF-8 nor plausible"),
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
        (b'<?xml version="1.0" encoding="gbk"?><a b="\xff"/>', "says that it is gb18030 text"),
    ],
)
def test_xml_that_could_do_harm_is_refused(file, content, message):
    with pytest.raises(LabelError, match=message):
        read_xml(file(content))


def test_xml_has_a_limit_of_its_own(file):
    with pytest.raises(LabelError, match="cannot read"):
        read_xml(file("<a>too long</a>"), max_bytes=10)


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


def test_numbers_that_are_too_large_to_count_with_are_not_known_or_refused():
    assert image_size(10**400, 5) is None
    with pytest.raises(LabelError, match="not a list of numbers"):
        json_numbers([10**400])


@pytest.mark.check(58)
def test_a_key_that_json_has_twice_is_no_label_lost(file):
    with pytest.raises(LabelError, match="the key 'shapes' is repeated; remove one of them"):
        read_json(file('{"a": [{"shapes": [1], "b": 2, "shapes": []}]}'))


@pytest.mark.check(58)
@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, '{"a":' * 100_000])
def test_numbers_and_nests_without_end_are_no_json(file, text):
    with pytest.raises(LabelError, match="is not readable JSON"):
        read_json(file(text))
