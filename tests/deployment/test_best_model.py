from dataclasses import replace

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment.best_model import SECOND_COPY, describe_dataset, repair_model
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


def test_a_region_to_inspect_is_kept_where_it_is_that_of_all_images(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    assert describe_dataset(dataset) == {
        "dataset": dataset.fingerprint,
        "pixels": {"window": None, "pages": "first", "shown": None},
        "roi": None,
    }
    records = [replace(record, roi="1,2,30,40") for record in dataset.records]
    same = replace(dataset, records=tuple(records))
    expected = {"shape": "1,2,30,40", "height": 96, "width": 96}
    assert describe_dataset(same)["roi"] == expected
    for changes in ({"roi": "1,2,30,41"}, {"roi": ""}, {"width": 97}):
        records[3] = replace(records[3], roi="1,2,30,40", width=96)
        records[3] = replace(records[3], **changes)
        assert describe_dataset(replace(dataset, records=tuple(records)))["roi"] == "by image"
