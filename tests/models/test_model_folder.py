import pytest
from resealing import reseal

from defectkit.errors import ModelError
from defectkit.models.model_folder import model_folder, read_model, read_model_info, warnings_of


def test_weights_and_json_that_do_not_belong_together_are_refused(run_copy):
    read_model(run_copy / "model")
    reseal(run_copy / "model" / "model.json", sha256="0" * 64)
    for folder in ("model", "nothing"):
        with pytest.raises(ModelError):
            read_model(run_copy / folder)


def test_warnings_are_those_of_thresholds_and_tuning():
    assert warnings_of({"warnings": ["a"], "tuning_warnings": ["b"]}) == ["a", "b"]
    assert warnings_of({}) == []


@pytest.mark.check(57)
@pytest.mark.parametrize("given", [None, 5, b"run", ["run"]])
def test_what_is_no_path_is_no_model(given):
    with pytest.raises(ModelError, match="a model is the path of a run or model folder, but got"):
        model_folder(given)


@pytest.mark.check(55)
def test_no_bit_of_a_model_json_can_flip_unseen(run_copy, tally):
    path = run_copy / "model" / "model.json"
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), tally.number(short=101, full=1)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with tally.case(place), pytest.raises(ModelError, match="Copy it again, or train again"):
            read_model_info(run_copy / "model")
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    read_model_info(run_copy / "model")


def test_the_model_folder_is_found(run_folder, tmp_path):
    assert model_folder(run_folder) == run_folder / "model"
    assert model_folder(str(run_folder / "model")) == run_folder / "model"
    with pytest.raises(ModelError, match="Train one with 'defectkit train', or give the path of"):
        model_folder(tmp_path)
