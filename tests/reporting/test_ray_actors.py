"""What an actor does, tried without a cluster."""

from pathlib import Path

import pytest

from defectkit.data.image_search import ImageFile
from defectkit.errors import ConfigError
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
