import pytest

from defectkit.approaches.box import Box
from defectkit.approaches.build import build_approach
from defectkit.approaches.patch import Patch
from defectkit.approaches.segment import Segment
from defectkit.config import load_config


@pytest.mark.parametrize(("name", "kind"), [("segment", Segment), ("patch", Patch), ("box", Box)])
def test_the_approach_of_the_configuration_is_built(name, kind):
    config = load_config(None, [f"approach={name}"])
    built = build_approach(config, classes=("scratch", "stain"), channels=3, pixel_threshold=0.3)
    assert isinstance(built, kind)
    assert built.config is config
    assert (built.classes, built.channels, built.pixel_threshold) == (("scratch", "stain"), 3, 0.3)
