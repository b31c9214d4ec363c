import unicodedata

import pytest

from defectkit.errors import ImageError
from defectkit.preparation.image_names import (
    NameIndex,
    NoSuchImageError,
    describe_difference,
    parse_name,
    split_suffix,
    split_words_of,
)

NFC = unicodedata.normalize("NFC", "Prüfling.png")
NFD = unicodedata.normalize("NFD", NFC)


def find(image_id, *paths):
    return NameIndex(paths).find(parse_name(image_id))


@pytest.mark.parametrize(
    ("image_id", "parts", "elsewhere"),
    [
        ("a.png", ("a.png",), False),
        ("./lot//1/./a.png", ("lot", "1", "a.png"), False),
        (r"lot\1\a.png", ("lot", "1", "a.png"), False),
        ("/lot/a.png", ("lot", "a.png"), True),
        (r"C:\lot\a.png", ("lot", "a.png"), True),
        ("c:a.png", ("a.png",), True),
        (r"\\host\share\a.png", ("host", "share", "a.png"), True),
        ("file:///lot/a.png", ("file:", "lot", "a.png"), True),
        ("https://host/a.png?key=1/2", ("https:", "host", "a.png"), True),
        ("1:2.png", ("1:2.png",), False),
        ("a..b.png", ("a..b.png",), False),
    ],
)
def test_ids_are_read_as_paths_of_any_system(image_id, parts, elsewhere):
    name = parse_name(image_id)
    assert (name.parts, name.elsewhere) == (parts, elsewhere)


@pytest.mark.parametrize("image_id", ["..", "../a.png", r"lot\..\..\a.png", "C:/../a.png", "a\0b"])
def test_ids_that_lead_up_are_refused(image_id):
    with pytest.raises(ImageError, match="leads outside the image folder"):
        parse_name(image_id)


@pytest.mark.parametrize("image_id", ["", ".", "/", "C:"])
def test_there_is_no_image_without_a_name(image_id):
    with pytest.raises(ImageError, match="there is no image id"):
        parse_name(image_id)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.b.PNG", ("a.b", ".PNG")),
        ("a.b", ("a.b", "")),
        ("lot.1/a", ("lot.1/a", "")),
        ("plain", ("plain", "")),
    ],
)
def test_only_the_suffix_of_an_image_is_one(name, parts):
    assert split_suffix(name) == parts


@pytest.mark.parametrize(
    ("image_id", "path", "how"),
    [
        ("a", "a.png", ""),
        ("lot/a.png", "lot/a.png", ""),
        (r"lot\a.png", "lot/a.png", "other slashes"),
        ("./a.png", "a.png", "other slashes"),
        (NFC, NFD, "another Unicode form"),
        ("IMG_1.PNG", "img_1.png", "another case"),
        ("IMG_1", "img_1.png", "another case"),
        ("Straße.png", "STRASSE.png", "another case"),
        ("my%20part.png", "my part.png", "URL-encoded"),
        ("my+part.png", "my part.png", "URL-encoded"),
        ("my part.png", "my%20part.png", "URL-encoded"),
        ("lot%2Fa.png", "lot/a.png", "URL-encoded"),
        ("a.jpg", "a.png", "another extension"),
        ("A.jpg", "a.png", "another extension, another case"),
        ("images/1/a.png", "a.png", "part of the path"),
        ("a.png", "lot/1/a.png", "part of the path"),
        (r"C:\lot\a.png", "lot/a.png", "part of the path"),
        ("/data/LOT/A.jpg", "lot/a.png", "part of the path, another extension, another case"),
        (r"D:\shots\a.png", "imgs/a.png", "part of the path"),
        ("images/a.png", "lot7/a.png", "part of the path"),
        ("https://host/lot/my%20a.png", "lot/my a.png", "part of the path, URL-encoded"),
    ],
)
def test_names_are_found_in_another_form_and_it_is_said(image_id, path, how):
    assert find(image_id, "other.png", path) == path
    assert describe_difference(image_id, path) == how


@pytest.mark.check(41)
@pytest.mark.parametrize(
    ("image_id", "paths"),
    [
        ("Img.png", ["IMG.png", "img.png"]),
        ("img%20.png", ["IMG .png", "img .PNG"]),
        ("img", ["img.png", "img.bmp"]),
        ("img.jpg", ["img.png", "img.bmp"]),
        ("IMG", ["img.png", "img.bmp"]),
        ("img.png", ["lot1/img.png", "lot2/img.png"]),
        (r"D:\img.png", ["img.png", "lot/img.png"]),
        ("images/img.jpg", ["lot1/img.jpg", "img.jpg"]),
    ],
)
def test_a_name_that_fits_several_files_is_refused(image_id, paths):
    for given in (paths, paths[::-1]):
        with pytest.raises(ImageError, match="fits several files") as error:
            find(image_id, *given)
        assert all(path in str(error.value) for path in paths)


@pytest.mark.check(41)
@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("lineA/img.png", "lineB/img.png"),
        ("D:/data/lineA/img.png", "lineB/img.png"),
        ("lineA/lot/img.png", "lineB/lot/img.png"),
        ("train_images/img.png", "test_images/img.png"),
        ("train/images/img.png", "test/images/img.png"),
    ],
)
def test_an_image_of_another_folder_is_not_taken(image_id, path):
    with pytest.raises(NoSuchImageError) as error:
        find(image_id, path, f"lineC/{path}")
    assert error.value.hint == f"; {path} has this name, but lies in another folder"


@pytest.mark.parametrize(
    ("image_id", "paths", "expected"),
    [
        ("IMG.PNG", ["img.jpg", "img.png"], "img.png"),
        ("my part.png", ["my%20part.PNG", "My Part.png"], "My Part.png"),
        ("img.jpeg", ["img.jpg", "IMG.jpeg"], "IMG.jpeg"),
        ("C:/x/img.bmp", ["img.png", "img.bmp"], "img.bmp"),
        ("lot2/img.png", ["old/lot2/img.png", "old/lot1/img.png"], "old/lot2/img.png"),
        ("img.png", ["img.png", "lot/img.png"], "img.png"),
    ],
)
def test_the_first_step_that_fits_counts(image_id, paths, expected):
    assert find(image_id, *paths) == find(image_id, *reversed(paths)) == expected


def test_alike_names_have_the_same_words():
    names = ["IMG_001.png", "x/img-1.tif", r"D:\img 0001.JPG", "img%2001"]
    assert {split_words_of(name) for name in names} == {("img", "1")}
    assert split_words_of("img_10.png") == ("img", "10")
    assert split_words_of("") == ()


def test_what_is_not_there_is_not_found_but_the_nearest_name_is():
    index = NameIndex(["lot/part_0042.png", "other.png"])
    assert index.find(parse_name("part_042.png")) is None
    assert index.nearest(parse_name("lines/part_042.png")) == "lot/part_0042.png"
    assert index.nearest(parse_name("quite-different")) is None
    assert NameIndex(["0021.png"]).nearest(parse_name("=1.png")) is None
