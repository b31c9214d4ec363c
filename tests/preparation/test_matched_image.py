from pathlib import Path

from defectkit.object_stores import StoredObject
from defectkit.preparation.matched_image import MatchedImage


def test_the_path_is_that_of_the_file(tmp_path):
    file = tmp_path / "lot 1" / "a.png"
    image = MatchedImage("a", str(file))
    assert image.path == file
    assert isinstance(image.path, Path)


def test_an_object_of_a_store_comes_with_its_version():
    stored = StoredObject("s3://bucket/a.png", version="3 bytes, abc")
    image = MatchedImage.of("a", stored)
    assert (image.path, image.version) == (stored, "3 bytes, abc")
