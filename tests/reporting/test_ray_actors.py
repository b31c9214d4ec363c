"""What an actor does, tried without a cluster."""

from pathlib import Path

import numpy as np
import pytest

from defectkit.data.image_search import ImageFile
from defectkit.data.images import decode_image
from defectkit.errors import ConfigError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge
from defectkit.findings import SparseFinding
from defectkit.labels.scope import Scope
from defectkit.reporting.drawing.large_overlay import draw_large_overlay
from defectkit.reporting.drawing.overlay import MIN_WIDTH
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.inspection import Inspected
from defectkit.reporting.ray_actors import InspectionActor, _to_send


def test_a_folder_that_a_node_lacks_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be entered on another node .* all nodes have"):
        InspectionActor().load(str(tmp_path / "gone"), "model", "cpu")


@pytest.mark.parametrize("preview", [None, memoryview(b"small")])
def test_what_is_sent_has_bytes_of_its_own(preview):
    file = ImageFile(image_id="a", path=Path("a"))
    inspected = Inspected(
        file=file, image_id="a", ends_file=True, pixels=1,
        overlay=EncodedOverlay(memoryview(b"picture"), preview),
    )  # fmt: skip
    sent = _to_send(inspected)
    assert sent.overlay == EncodedOverlay(b"picture", preview and b"small")
    assert [type(one) for one in (sent.overlay.picture, sent.overlay.preview)] == [
        bytes,
        bytes if preview else type(None),
    ]
    assert _to_send(Inspected(file=file, image_id="a", ends_file=True, pixels=1)).overlay is None


def test_a_large_overlay_is_drawn_before_it_is_sent():
    finding = SparseFinding(
        size=(60, 80), pixels=np.zeros(0, np.int32), layers=np.zeros(0, np.int16),
        highest=np.zeros((60, 10), np.uint8), regions=(), score=0.1,
    )  # fmt: skip
    judgment = judge(0.1, Thresholds(low=0.5, high=0.5, rule="f1"))
    image = np.full((60, 80), 90, np.uint8)
    overlay = draw_large_overlay(image, finding, judgment, image_id="a", scope=Scope())
    file = ImageFile(image_id="a", path=Path("a"))
    inspected = Inspected(file=file, image_id="a", ends_file=True, pixels=1, overlay=overlay)
    sent = _to_send(inspected).overlay
    assert isinstance(sent, EncodedOverlay)
    assert decode_image(sent.picture, name="a").shape[1] == MIN_WIDTH
    assert isinstance(sent.preview, bytes)
