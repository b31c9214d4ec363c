from pathlib import Path

import pytest

from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow, LabelTable, RefusedRow
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.label_files import find_image, settle_label_files

BOX = Box(0, 0, 1, 1)


@pytest.fixture
def settle(tmp_path):
    """Settle label files, each with the image that it names inside; return images or problems."""

    def call(inside, images, *, empty=(), refused=()):
        for name in images:
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        rows = [LabelRow(1, image, "1", "", BOX, file) for file, image in inside.items()]
        bad = [
            RefusedRow(9, image, "1", "it is bad", file) for file, image in dict(refused).items()
        ]
        table = LabelTable(
            path=Path("labels"), form="", encoding="", rows=tuple(rows), refused=tuple(bad),
            meta={}, empty_files=dict(empty),
        )  # fmt: skip
        found = settle_label_files(table, ImageFolder(tmp_path / "images"))
        return {file: one.image.name if one.image else one.problem for file, one in found.items()}

    return call


@pytest.mark.check(39)
def test_copied_label_files_are_about_the_images_that_they_are_called_as(settle):
    images = ["0.png", "1.png", "2.png"]
    inside = {"0": "0.png", "1": "0.png", "2": "0.png"}
    expected = {"0": "0.png", "1": "1.png", "2": "2.png"}
    assert settle(inside, images) == expected
    assert settle({"0": "0.png"}, images, empty={"1": "0.png"}, refused={"2": "0.png"}) == expected


@pytest.mark.check(39)
def test_one_name_in_all_files_is_no_name(settle):
    images = ["a.png", "b.png", "template.png"]
    inside = {"a": "template.png", "b": "template.png"}
    assert settle(inside, images) == {"a": "a.png", "b": "b.png"}


@pytest.mark.parametrize("inside", ["gone.png", "1.json", "lot/1.png"])
def test_a_name_without_an_image_is_replaced_by_the_label_file_s_own(settle, inside):
    assert settle({"1": inside}, ["1.png"]) == {"1": "1.png"}


def test_the_name_inside_counts_where_no_image_is_called_as_the_label_file(settle):
    inside = {"annotation-1": "a.png", "annotation-2": "b.png"}
    assert settle(inside, ["a.png", "b.png"]) == {"annotation-1": "a.png", "annotation-2": "b.png"}


@pytest.mark.check(39)
def test_what_cannot_be_told_is_refused_with_both_names(settle):
    images = ["0.png", "1.png"]
    assert settle({"1": "0.png"}, images) == {
        "1": "the label file has the name of 1.png but names 0.png inside, and both images exist: "
        "correct the wrong name"
    }
    swapped = settle({"0": "1.png", "1": "0.png"}, images)
    assert all("both images exist" in problem for problem in swapped.values())


@pytest.mark.check(39)
def test_two_label_files_never_get_one_image(settle):
    problems = settle({"first": "0.png", "second": "0.png"}, ["0.png"])
    assert problems == {
        "first": "the label files first and second are about one image, 0.png",
        "second": "the label files second and first are about one image, 0.png",
    }
    assert settle({"0": "0.png", "copy": "0.png"}, ["0.png"]) == {
        "0": "0.png", "copy": "the label files copy and 0 are about one image, 0.png",
    }  # fmt: skip
    nested = settle({"dent/0": "dent/0.png", "hole/0": "hole/0.png"}, ["0.png"])
    assert all("are about one image, 0.png" in problem for problem in nested.values())


def test_files_without_any_image_say_what_the_inner_name_lacks(settle):
    problem = settle({"9": "gone.png"}, ["0.png"])["9"]
    assert problem.startswith("no such image in ")


def test_it_is_said_how_an_image_was_found(tmp_path):
    (tmp_path / "a.png").touch()
    table = LabelTable(
        path=tmp_path, form="", encoding="", rows=(LabelRow(1, "x.png", "1", "", BOX, "a"),),
        refused=(), meta={},
    )  # fmt: skip
    (search,) = settle_label_files(table, ImageFolder(tmp_path)).values()
    assert search.how == "by the name of the label file; inside it names 'x.png'"
    assert find_image(ImageFolder(tmp_path), "A.PNG").how == "another case"
    assert find_image(ImageFolder(tmp_path), "b").problem.startswith("no such image")
