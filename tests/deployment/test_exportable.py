import pytest

from defectkit.approaches.build import build_approach
from defectkit.config import load_config
from defectkit.deployment.exportable import exportable
from defectkit.errors import ExportError


def approach(name: str):
    return build_approach(load_config(None, [f"approach={name}"]), classes=("1",), channels=3)


def test_segmentation_can_be_exported():
    segment = approach("segment")
    assert exportable(segment) is segment


def test_what_cannot_be_exported_says_what_to_do():
    with pytest.raises(ExportError, match="approach box cannot be exported.*with the run itself"):
        exportable(approach("box"))
