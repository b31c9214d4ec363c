"""Facts of an image in which no value is the one that it has at first."""

from defectkit.data.image_measures import ImageMeasures
from defectkit.data.pixel_format import PixelFormat
from defectkit.labels.ledger import LedgerRow
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.matched_image import MatchedImage
from defectkit.regions import Region


def example_facts(image: MatchedImage, pixels: PixelFormat) -> ImageFacts:
    """Facts of ``image``, which is read by ``pixels``."""
    return ImageFacts(
        image_id=image.image_id,
        path=image.path,
        height=24,
        width=40,
        channels=3,
        sha256="ab" * 32,
        pixels=pixels,
        deep=True,
        highest=4095,
        clipped=1 / 3,
        notes=("alpha",),
        keypoints=bytes(range(256)),
        rles={"2": "1 2", "1": "7 3"},
        regions=(Region(box_xywh=(1, 2, 3, 4), area=9, class_id="2"),),
        measures=ImageMeasures(layout=b"\0\xff", contrasts={"2": (0.1, 2 / 3), "1": ()}),
        roi="1,2,30,20",
        ignored="5 5",
        cut_rows=2,
        lost_rows=1,
        ledger=(
            LedgerRow(2, image.image_id, "2", "used", '\x1b[31m, \n "x"'),
            LedgerRow(3, "as written", "1", "refused", "why", refused_with_image=True),
        ),
        unfit=((4, "no such box"),),
        left_out=True,
        problem="left out",
    )
