import json
import os

import pytest

from defectkit.preparation.file_formats import are_of_format, format_of_file, has_labels

DOCUMENTS = {
    "coco": {"images": [], "annotations": []},
    "labelme": {"shapes": [], "imagePath": "a.png"},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_formats_are_told_by_what_is_in_a_file(tmp_path, name):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(DOCUMENTS[name]))
    assert format_of_file(file) == name
    assert are_of_format(name, [file])
    assert not are_of_format("via", [file])


def test_a_file_that_changes_is_read_again(tmp_path):
    file = tmp_path / "a.json"
    for changed, (name, document) in enumerate(DOCUMENTS.items(), start=1):
        file.write_text(json.dumps(document))
        os.utime(file, ns=(changed, changed))
        assert format_of_file(file) == name


def test_suffixes_tell_the_others(tmp_path):
    assert format_of_file(tmp_path / "a.csv") == "csv"
    (tmp_path / "a.xml").write_text("<annotation/>")
    assert format_of_file(tmp_path / "a.xml") == "voc"
    (tmp_path / "a.txt").write_text("0 .5 .5 .1 .1\n")
    assert are_of_format("yolo", [tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("csv", "image,rle\na,1 2\n", True), ("csv", "image,lot\na,7\n", False),
        ("coco", '{"images": []}', True), ("coco", '{"version": 1}', False),
        ("coco", "[1]", False), ("coco", "{", True),
    ],
)  # fmt: skip
def test_files_without_labels_are_known(tmp_path, kind, text, expected):
    (tmp_path / "a").write_text(text)
    assert has_labels(kind, tmp_path / "a") == expected
