from dataclasses import replace

import pytest

import defectkit
from defectkit.approaches.tuning import Tuning
from defectkit.data.dataset import Dataset
from defectkit.deployment.data_to_evaluate import DataToEvaluate
from defectkit.deployment.evaluate_images import describe_evaluated
from defectkit.evaluation.threshold_rule import ThresholdRule
from defectkit.evaluation.thresholds import Thresholds
from defectkit.files import read_csv, read_json
from defectkit.reporting.evaluation_folder import evaluate_data, open_evaluation
from defectkit.seals import read_sealed


@pytest.fixture
def evaluate(run_folder, dataset_folder, tmp_path, quiet):
    """Evaluate the tiny run's model, with changes, into a folder of its own."""
    model, dataset = defectkit.load(run_folder, device="cpu"), Dataset.load(dataset_folder)

    def call(pixel_threshold=0.5, split="test", **options):
        changed = replace(
            model,
            approach=replace(model.approach, tuning=Tuning(pixel_threshold=pixel_threshold)),
            thresholds=Thresholds(low=0.0, high=0.0, rule="by hand"),
        )
        data = DataToEvaluate.of_split(dataset, split)
        with open_evaluation(tmp_path, data) as results:
            return evaluate_data(results, tmp_path, changed, data, console=quiet, **options)

    return call


def test_the_files_have_what_the_evaluation_has(evaluate, run_folder, tmp_path):
    evaluation = evaluate(pixel_threshold=0.01)
    folder = tmp_path / "evaluation" / "test"
    assert evaluation.folder == folder
    info = read_json(run_folder / "model" / "model.json")
    written = read_sealed(folder / "metrics.json")
    assert written["evaluated"] == describe_evaluated(info, "test")
    assert evaluation.metrics.items() <= written.items()
    images = read_csv(folder / "images.csv")
    assert [row["score"] for row in images] == [f"{s:.9g}" for s in evaluation.images["score"]]
    assert {row["defective"] for row in images} == {"0", "1"}
    regions = read_csv(folder / "regions.csv")
    true = [row for row in regions if row["kind"] == "true"]
    assert {row["found"] for row in true} <= {"yes", "no"}
    for row, coverage in zip(true, evaluation.regions["coverage"].dropna(), strict=True):
        assert row["coverage"] == f"{coverage:.6f}"
        assert row["score"] == ""
    listed = [row for row in regions if row["kind"] != "true"]
    fractions = evaluation.regions["true_fraction"].dropna()
    assert [row["true_fraction"] for row in listed] == [f"{one:.6f}" for one in fractions]
    assert all(row["found_class"] == "" for row in listed)
    alarms = [row for row in regions if row["kind"] == "false_alarm"]
    assert all(row["found"] == row["coverage"] == row["best_overlap"] == "" for row in alarms)


def test_overlays_sort_by_outcome_as_the_rows_do(evaluate):
    evaluation = evaluate()
    names = sorted(path.name for path in (evaluation.folder / "overlays").iterdir())
    outcomes = evaluation.images["outcome"].tolist()
    assert [name.split("-")[1] for name in names] == outcomes
    assert names[0].startswith("2-overkill-")  # every image is called defective


def test_an_escape_rate_that_is_not_shown_is_a_warning_of_the_report(evaluate):
    rule = ThresholdRule(max_escape_rate=0.1)
    page = (evaluate(rule=rule).folder / "report.html").read_text()
    assert "An escape rate of 10 % is not shown by this result" in page
    assert "is not shown" not in (evaluate().folder / "report.html").read_text()


def test_without_a_true_or_found_region_the_table_is_a_header(evaluate):
    evaluation = evaluate(pixel_threshold=1.0)
    lines = (evaluation.folder / "regions.csv").read_text().splitlines()
    assert lines[0].startswith("image_id,kind,class_id,x,y,width,height,area,length,found")
    assert len(lines) == 1 + len(evaluation.regions)
