import defectkit
from defectkit.deployment.best_model import SECOND_COPY, repair_model
from defectkit.files import sha256_file

WEIGHTS = "model.safetensors"


def test_a_damaged_model_comes_back_from_its_second_copy(run_copy):
    whole = sha256_file(run_copy / "model" / WEIGHTS)
    assert sha256_file(run_copy / SECOND_COPY / WEIGHTS) == whole
    (run_copy / "model" / WEIGHTS).write_bytes(b"half")
    repair_model(run_copy)
    assert sha256_file(run_copy / "model" / WEIGHTS) == whole
    defectkit.load(run_copy, device="cpu")


def test_a_whole_model_stays_although_its_copy_significant(run_copy):
    whole = sha256_file(run_copy / "model" / WEIGHTS)
    (run_copy / SECOND_COPY / WEIGHTS).write_bytes(b"half")
    repair_model(run_copy)
    assert sha256_file(run_copy / "model" / WEIGHTS) == whole
