from pathlib import Path

import numpy as np
import pytest
from exported_models import write_exported
from pydantic import ValidationError

from defectkit.deployment.load_model import load_model
from defectkit.deployment.loaded_model import cannot_be_used
from defectkit.deployment.model_info import ModelInfo
from defectkit.errors import ImageError


@pytest.fixture(params=["trained", "exported"])
def model(request, run_folder, tmp_path):
    """A model of either kind, for gray images."""
    if request.param == "trained":
        return load_model(run_folder, device="cpu")
    return load_model(write_exported(tmp_path / "m", channels=1, classes=("1", "2")))


def test_both_kinds_say_what_they_take_and_find(model):
    assert model.channels == 1
    assert model.classes == model.found_classes == ("1", "2")
    assert model.device_name.startswith("cpu (")
    assert model.out_of_fold is None
    assert model.scope_for((4, 4)).counted is None
    finding = model.find(np.zeros((30, 20), np.uint8))
    assert finding.score_map.shape == (2, 30, 20)


def test_the_region_to_inspect_is_for_images_of_its_size(tmp_path):
    roi = {"shape": "2,1,5,3", "height": 10, "width": 20}
    model = load_model(write_exported(tmp_path / "m", roi=roi))
    assert model.scope_for((10, 20)).counted.sum() == 15
    with pytest.raises(ImageError, match="images of 20x10 pixels, but this image has 10x20"):
        model.scope_for((20, 10))


def test_what_is_wrong_with_a_description_is_named():
    with pytest.raises(ValidationError) as caught:
        ModelInfo.model_validate({"classes": []})
    told = str(cannot_be_used(Path("m"), caught.value))
    assert told.startswith("m cannot be used by this version of defectkit: classes: List should")
    assert "; channels: Field required" in told
