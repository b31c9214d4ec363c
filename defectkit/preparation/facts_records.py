"""The facts of an image as JSON, bit for bit, for another process to take them over."""

import base64
import json
import zlib

import numpy as np

from defectkit.data.image_measures import ImageMeasures
from defectkit.data.pixel_format import PixelFormat
from defectkit.labels.ledger import LedgerRow
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.matched_image import MatchedImage
from defectkit.regions import Region

PLAIN = (
    *("height", "width", "channels", "sha256", "deep", "highest", "clipped", "rles", "roi"),
    *("ignored", "cut_rows", "lost_rows", "left_out", "problem"),
)
"""What JSON has as it is."""


def write_facts(facts: ImageFacts) -> str:
    """Return the facts of an image as JSON, whose numbers restore floats exactly."""
    levels = facts.levels
    content = {
        **{name: getattr(facts, name) for name in PLAIN},
        "pixels": facts.pixels.to_dict(),
        "levels": None if levels is None else _text(zlib.compress(levels.tobytes(), 1)),
        "notes": facts.notes,
        "keypoints": _text(facts.keypoints),
        "regions": [(*one.box_xywh, one.area, one.class_id) for one in facts.regions],
        "measures": [_text(facts.measures.layout), facts.measures.contrasts],
        "ledger": [
            (one.line, one.image_id, one.class_id, one.outcome, one.reason, one.refused_with_image)
            for one in facts.ledger
        ],
        "unfit": facts.unfit,
    }
    return json.dumps(content, default=np.generic.item)


def read_facts(text: str, image: MatchedImage) -> ImageFacts:
    """Return what ``write_facts`` got of ``image``."""
    content = json.loads(text)
    layout, contrasts = content["measures"]
    levels = content["levels"]
    return ImageFacts(
        image_id=image.image_id,
        path=image.path,
        **{name: content[name] for name in PLAIN},
        pixels=PixelFormat.from_dict(content["pixels"]),
        levels=None if levels is None else np.frombuffer(zlib.decompress(_bytes(levels)), np.int64),
        notes=tuple(content["notes"]),
        keypoints=_bytes(content["keypoints"]),
        regions=tuple(
            Region(box_xywh=(x, y, width, height), area=area, class_id=class_id)
            for x, y, width, height, area, class_id in content["regions"]
        ),
        measures=ImageMeasures(
            layout=_bytes(layout),
            contrasts={name: tuple(values) for name, values in contrasts.items()},
        ),
        ledger=tuple(LedgerRow(*row) for row in content["ledger"]),
        unfit=tuple((line, reason) for line, reason in content["unfit"]),
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
