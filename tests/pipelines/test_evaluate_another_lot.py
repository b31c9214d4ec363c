import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from file_hashes import hashes_of
from resealing import reseal, reseal_dataset
from scipy.stats import ks_2samp
from small_sources import make_source
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.data.images import read_image, write_png
from defectkit.errors import ConfigError
from defectkit.files import read_csv, read_json, write_json
from defectkit.seals import add_seal


def test_another_dataset_is_another_lot_and_the_same_elsewhere_is_not(
    run_copy, dataset_copy, dataset_folder, cli
):
    told = cli("evaluate", run_copy, "--data", dataset_copy, "--device", "cpu")
    assert told.code == 0
    assert "another lot" not in told.err
    assert [path.name for path in (run_copy / "evaluation").iterdir()] == ["test"]
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",train,", ",test,", 1))
    reseal_dataset(dataset_copy)
    told = cli("evaluate", run_copy, "--data", dataset_copy, "--device", "cpu")
    assert told.code == 0, told.err
    assert "another lot, dataset, all images: not the dataset that the model was trained on" in (
        told.err
    )
    seen = sum(one.split != "test" for one in Dataset.load(dataset_folder).records)
    warning = f"the model was trained or validated on {seen} of these 20 images, so this result is"
    assert f"warning: {warning} too good. Prepare the new images alone." in told.err
    (folder,) = (one for one in (run_copy / "evaluation").iterdir() if one.name != "test")
    assert re.fullmatch("dataset-[0-9a-f]{8}-all", folder.name)
    metrics = read_json(folder / "metrics.json")
    assert metrics["evaluated"]["another_lot"] == {
        "name": "dataset",
        "classes": {},
        "seen_images": seen,
    }
    assert metrics["evaluated"]["dataset"] == Dataset.load(dataset_copy).fingerprint
    assert "by_split" not in metrics
    page = (folder / "report.html").read_text()
    assert "run: another lot, dataset, all images" in page
    assert warning in page.replace("The model was", "the model was")
    assert "another_lot" not in read_json(run_copy / "evaluation/test/metrics.json")["evaluated"]
    # Without --data it is a mistake.
    reseal(run_copy / "run.json", dataset_folder=str(dataset_copy))
    told = cli("evaluate", run_copy, "--device", "cpu")
    assert told.code == 2
    assert "is not the dataset that" in told.err


def test_thresholds_are_not_chosen_on_another_lot(run_copy, dataset_copy, quiet):
    images = dataset_copy / "images.csv"
    images.write_text(images.read_text().replace(",train,", ",test,", 1))
    reseal_dataset(dataset_copy)
    before = hashes_of(run_copy)
    with pytest.raises(ConfigError, match="not on another lot. Choose them first, without --data"):
        defectkit.evaluate(run_copy, data=dataset_copy, cost_ratio=5, device="cpu", console=quiet)
    assert hashes_of(run_copy) == before


@pytest.fixture(scope="module")
def lots(tmp_path_factory, quiet):
    """A run that was validated on 30 images; and a function that prepares a lot of 24."""
    folder = tmp_path_factory.mktemp("lots")
    data = folder / "dataset"
    source = make_source(folder / "source", 60)
    defectkit.prepare(source, out=data, split="0.3/0.5/0.2", console=quiet)
    run = train_tiny(data, folder / "run", "train.epochs=1").run

    def make(name, change=lambda image: image):
        place = folder / name
        source = make_source(place, 24, first=100)
        for path in (place / "Train").iterdir():
            changed = change(read_image(path).astype(np.float64))
            write_png(path, np.clip(changed, 0, 255).astype(np.uint8))
        defectkit.prepare(source, out=place / name, console=quiet)
        return place / name

    return run, make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("same", lambda image: image, ()),
        ("brighter", lambda image: image + 30, ("brightness of good", "brightness of defective")),
        (
            "harder",
            lambda image: 110 + 1.6 * (image - 110),
            ("contrast of good", "contrast of defective"),
        ),
    ],
)
def test_another_lot_is_compared_with_the_images_that_thresholds_rest_on(
    lots, cli, name, change, named
):
    run, make = lots
    told = cli("evaluate", run, "--data", make(name, change), "--device", "cpu")
    assert told.code == 0, told.err
    assert f"another lot, {name}, all images: not the dataset" in told.err
    assert "medians here and (in validation): score of good images" in told.err
    (folder,) = (run / "evaluation").glob(f"{name}-*")
    page = (folder / "report.html").read_text()
    warning = "these images differ a lot from those of validation"
    assert (warning in told.err) == (warning[1:] in page) == bool(named)
    assert all(f"{one} images" in told.err.split(warning)[1] for one in named)
    drift = read_json(folder / "metrics.json")["drift"]["against_validation"]
    gray = {key for key in drift if not key.startswith("score")}
    assert {key.removesuffix(" images") for key in gray if drift[key]["is_large"]} == set(named)
    kept = read_json(run / "model" / "model.json")["validation_levels"]["good"]
    for measure in ("brightness", "contrast"):
        found = drift[f"{measure} of good images"]
        rows = [row for row in read_csv(folder / "images.csv") if row["defective"] == "0"]
        values = [float(row[measure]) for row in rows]
        assert found["distance"] == pytest.approx(ks_2samp(values, kept[measure]).statistic)
        assert (found["groups"], found["validation_groups"]) == (12, kept["groups"])


@pytest.mark.slow
def test_a_model_of_an_earlier_version_has_nothing_to_compare_a_lot_with(lots, tmp_path, cli):
    run, make = lots
    run = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("model", "checkpoints/best"):
        info = read_json(run / name / "model.json")
        del info["validation_levels"]
        write_json(run / name / "model.json", add_seal(info))
    told = cli("evaluate", run, "--data", make("later"), "--device", "cpu")
    assert "warning: the model keeps nothing of its validation images to compare" in told.err
    assert "medians" not in told.err
    told = cli("evaluate", run, "--device", "cpu")
    assert told.code == 0
    assert "keeps nothing" not in told.err
    metrics = read_json(run / "evaluation" / "test" / "metrics.json")
    assert metrics["drift"] == {"against_validation": None}
