from pathlib import Path

import numpy as np
from PIL import Image

from defectkit.data.pixel_format import PixelFormat
from defectkit.labels.ledger import LedgerRow
from defectkit.preparation.image_facts import ImageFacts, share_ids
from defectkit.preparation.matched_image import MatchedImage


def test_an_image_is_read_again_as_it_was_read(tmp_path):
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(stored).save(tmp_path / "a.png")
    facts = ImageFacts(
        image_id="a.png", path=tmp_path / "a.png", pixels=PixelFormat(window=(0, 4095))
    )
    np.testing.assert_array_equal(facts.read_image(), stored >> 4)


def test_facts_that_come_from_another_process_share_the_ids_and_paths_of_their_images():
    images = [MatchedImage(f"part-{number}.png", Path(f"T/{number}.png")) for number in range(3)]
    sent = [
        ImageFacts(
            image_id="".join([*image.image_id]),
            path=Path(str(image.path)),
            height=9,
            ledger=(
                LedgerRow(2, "".join([*image.image_id]), "1", "used"),
                LedgerRow(3, "as written", "1", "used"),
            ),
        )
        for image in images
    ]
    shared = [share_ids(one, image) for one, image in zip(sent, images, strict=True)]
    assert shared == sent
    for one, image in zip(shared, images, strict=True):
        assert one.image_id is image.image_id
        assert one.path is image.path
        assert one.ledger[0].image_id is image.image_id
