import pytest
from exported_models import write_exported

from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.load_model import load_model
from defectkit.deployment.runtime import ExportedModel
from defectkit.errors import ModelError


def test_what_lies_in_the_folder_is_loaded(run_folder, tmp_path):
    exported = write_exported(tmp_path / "exported")
    assert isinstance(load_model(exported), ExportedModel)
    for folder in (run_folder, run_folder / "model"):
        assert isinstance(load_model(folder, device="cpu"), TrainedModel)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has no model"):
        load_model(tmp_path)
