from pathlib import Path

from defectkit.preparation.matched_image import MatchedImage


def test_the_path_is_that_of_the_file(tmp_path):
    file = tmp_path / "lot 1" / "a.png"
    image = MatchedImage("a", str(file))
    assert image.path == file
    assert isinstance(image.path, Path)
