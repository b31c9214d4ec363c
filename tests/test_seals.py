import pytest
from resealing import unseal

from defectkit.errors import DefectkitWarning
from defectkit.files import read_json, write_csv, write_json
from defectkit.seals import (
    SealError,
    add_seal,
    check_tables,
    hash_tables,
    is_sealed,
    read_sealed,
    seal_of,
    warn_if_not_sealed,
)

CONTENT = {"classes": ["1", "ü"], "low": 1e-05, "deep": {"list": [1, None, True]}}


@pytest.fixture
def sealed(tmp_path):
    """A sealed file."""
    write_json(tmp_path / "one.json", add_seal(CONTENT))
    return tmp_path / "one.json"


def test_what_was_sealed_reads_back(sealed):
    content = read_sealed(sealed)
    assert is_sealed(content)
    assert content["format_version"] == 2
    assert content["seal"] == seal_of(content) == seal_of({"format_version": 2, **CONTENT})
    assert {key: content[key] for key in CONTENT} == CONTENT
    assert add_seal(content) == content


@pytest.mark.check(55)
def test_every_flipped_bit_and_every_cut_of_a_sealed_file_is_refused(sealed, tally):
    whole = sealed.read_bytes()
    changed = [
        whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
        for place in range(len(whole))
        for bit in range(8)
    ]
    changed += [whole[:end] for end in range(len(whole))]
    for content in changed[:: tally.number(short=9, full=1)]:  # 9: each of the 8 bits takes turns
        with tally.case(content):
            sealed.write_bytes(content)
            with pytest.raises((ValueError, OSError)):
                read_sealed(sealed)


@pytest.mark.check(55)
@pytest.mark.parametrize(
    "change",
    [
        lambda content: {**content, "low": 0.5},
        lambda content: {**content, "more": 1},
        lambda content: {key: value for key, value in content.items() if key != "deep"},
        lambda content: {**content, "deep": {}},
        lambda content: {key: value for key, value in content.items() if key != "seal"},
        lambda content: dict(reversed(content.items())),
    ],
)
def test_an_edit_of_a_sealed_file_is_refused(sealed, change):
    write_json(sealed, change(read_json(sealed)))
    with pytest.raises(SealError, match=r"^one\.json was changed after it was written$"):
        read_sealed(sealed)


@pytest.mark.check(55)
def test_a_key_that_is_repeated_or_nested_without_end_is_an_edit(sealed):
    text = sealed.read_text()
    for other in (
        text.replace('"low": 1e-05', '"low": 0.5,\n  "low": 1e-05'),
        text.replace("1e-05", "[" * 900 + "]" * 900),
    ):
        sealed.write_text(other)
        with pytest.raises(SealError, match="was changed"):
            read_sealed(sealed)


def test_other_versions_and_what_is_no_object_are_refused(sealed):
    write_json(sealed, add_seal({**CONTENT, "format_version": 3}))
    message = "one.json has format version 3; this version of defectkit reads 1 to 2"
    with pytest.raises(SealError, match=message):
        read_sealed(sealed)
    sealed.write_text("[1]")
    with pytest.raises(ValueError, match="is not a JSON object"):
        read_sealed(sealed)


def test_a_file_of_an_earlier_version_is_read_with_a_warning(sealed):
    unseal(sealed)
    content = read_sealed(sealed)
    assert not is_sealed(content)
    message = "run was written by an earlier version of defectkit, without a seal: .*Train again to"
    with pytest.warns(DefectkitWarning, match=message):
        warn_if_not_sealed(content, what="run", way_out="Train again")
    warn_if_not_sealed(add_seal(content), what="run", way_out="Train again")


def test_line_ends_are_no_change(sealed, tmp_path):
    sealed.write_bytes(sealed.read_bytes().replace(b"\n", b"\r\n"))
    assert read_sealed(sealed)["low"] == CONTENT["low"]
    write_csv(tmp_path / "a.csv", ["id"], [["x"], ["y"]])
    recorded = hash_tables(tmp_path, ["a.csv"])
    (tmp_path / "a.csv").write_bytes(b"id\r\nx\r\ny\r\n")
    check_tables(tmp_path, ["a.csv"], recorded)


@pytest.mark.check(55)
def test_tables_that_were_changed_removed_or_added_are_refused(tmp_path):
    write_csv(tmp_path / "a.csv", ["id"], [["x"], ["y"]])
    names = ["a.csv", "b.csv"]
    recorded = hash_tables(tmp_path, names)
    assert list(recorded) == ["a.csv"]
    check_tables(tmp_path, names, recorded)
    for change, message in (
        (lambda: write_csv(tmp_path / "b.csv", ["id"], []), r"b\.csv was changed after"),
        (lambda: (tmp_path / "b.csv").unlink(), None),
        (lambda: (tmp_path / "a.csv").write_text("id\nx\n"), r"a\.csv was changed after it was wr"),
        (lambda: (tmp_path / "a.csv").unlink(), r"a\.csv is missing"),
    ):
        change()
        if message is None:
            check_tables(tmp_path, names, recorded)
            continue
        with pytest.raises(SealError, match=message):
            check_tables(tmp_path, names, recorded)
