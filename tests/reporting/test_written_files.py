"""The files that real commands write have the entries that their published schemas describe."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

import defectkit
from defectkit.reporting.written_files import WRITTEN_FILES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(dataset_folder, run_folder, tmp_path_factory, quiet) -> dict[str, Path]:
    run = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("written") / "run"))
    metrics = defectkit.evaluate(run, split="all", console=quiet).folder / "metrics.json"
    return {
        "dataset": dataset_folder / "dataset.json",
        "metrics": metrics,
        "model": run / "model" / "model.json",
        "run": run / "run.json",
    }


@pytest.mark.parametrize("name", WRITTEN_FILES)
def test_what_is_written_is_what_is_described(name, written):
    text = written[name].read_text(encoding="utf-8")
    read = WRITTEN_FILES[name].model_validate_json(text)
    assert read.model_extra == {}
    assert set(json.loads(text)) == read.model_fields_set


@pytest.mark.parametrize(
    ("name", "entry", "wrong"),
    [
        ("dataset", "classes", [1]),
        ("dataset", "truth", "outlines"),
        ("metrics", "image", {"auroc": 0.5}),
        ("model", "tuning", {"pixel_threshold": 2.0}),
        ("run", "status", "done"),
        ("run", "seal", "0"),
    ],
)
def test_other_values_are_not(name, entry, wrong, written):
    content = json.loads(written[name].read_text(encoding="utf-8"))
    for changed in ({**content, entry: wrong}, {k: v for k, v in content.items() if k != entry}):
        with pytest.raises(ValidationError, match=entry):
            WRITTEN_FILES[name].model_validate_json(json.dumps(changed))


def test_the_published_schemas_are_those_of_today():
    spec = importlib.util.spec_from_file_location("schemas", ROOT / "docs/write_schemas.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = {
        path.name.removesuffix(".schema.json"): path.read_text(encoding="utf-8")
        for path in module.FOLDER.iterdir()
    }
    assert written == dict(module.schemas()), "run docs/write_schemas.py"
