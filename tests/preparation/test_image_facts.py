import numpy as np
from PIL import Image

from defectkit.data.pixel_format import PixelFormat
from defectkit.preparation.image_facts import ImageFacts


def test_an_image_is_read_again_as_it_was_read(tmp_path):
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(stored).save(tmp_path / "a.png")
    facts = ImageFacts(
        image_id="a.png", path=tmp_path / "a.png", pixels=PixelFormat(window=(0, 4095))
    )
    np.testing.assert_array_equal(facts.read_image(), stored >> 4)
