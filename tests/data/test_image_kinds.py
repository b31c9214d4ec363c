import io

import pytest
from PIL import Image

from defectkit.data.image_kinds import (
    MAX_PIXELS,
    check_size,
    is_data,
    open_image,
)
from defectkit.errors import ImageError


def test_the_size_is_limited():
    check_size(1, MAX_PIXELS, name="x")
    with pytest.raises(ImageError, match=r"x: 16385x16384 pixels are more than the limit"):
        check_size(16384, 16385, name="x")


def test_a_format_that_may_run_programs_is_not_opened():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with pytest.raises(ImageError, match=r"x\.png: not an image that can be read \(png, .*npy\)"):
        open_image(io.BytesIO(buffer.getvalue()), "x.png")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS. Fetch"),
        (b"../real/000.png", "a text with the path ../real/000.png: a link that was copied as"),
        (b"C:\\shared\\a b.tif\n", "a text with the path"),
        (b"<!doctype html><html>", "a page of the web"),
        (b"no image at all", r"not an image that can be read \(png"),
    ],
)
def test_what_a_file_is_instead_of_an_image_is_said(content, what):
    with pytest.raises(ImageError, match=f"x.png: .*{what}"):
        open_image(io.BytesIO(content), "x.png")


def test_hidden_files_and_those_of_systems_and_offices_are_no_data():
    assert is_data("labels.csv")
    assert not any(map(is_data, [".labels.csv", "~$labels.csv", "Thumbs.db", "__MACOSX"]))
