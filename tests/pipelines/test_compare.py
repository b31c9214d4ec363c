import io
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from file_hashes import hashes_of, hashes_of_results
from resealing import reseal, unseal
from rich.console import Console
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import ImageRecord
from defectkit.data.images import read_image
from defectkit.deployment.evaluate_images import describe_evaluated
from defectkit.errors import ConfigError, DatasetError, ModelError
from defectkit.evaluation.comparison import COMPARED_METRICS
from defectkit.evaluation.evaluation_result import TABLES
from defectkit.files import read_csv, read_json, write_csv, write_json
from defectkit.labels.scope import Scope
from defectkit.reporting.drawing import comparison
from defectkit.reporting.drawing.comparison import draw_comparison
from defectkit.seals import add_seal, hash_tables
from defectkit.tables import table_rows
from defectkit.training.history import read_history

HEADLINE = {
    "image_ap": ("image", "average_precision"),
    "auroc": ("image", "auroc"),
    "escapes": ("image", "escapes"),
    "n_defective": ("image", "n_defective"),
    "overkills": ("image", "overkills"),
    "n_good": ("image", "n_good"),
    "reviews": ("image", "reviews"),
    "pixel_dice": ("pixel", "dice"),
    "pixel_ap": ("pixel", "average_precision"),
    "pixel_mean_iou": ("pixel", "mean_iou"),
    "pixel_aupro_30": ("pixel", "aupro_30"),
    "pixel_aupro_05": ("pixel", "aupro_05"),
    "false_alarms_per_image": ("region", "false_alarms_per_image"),
    "false_alarms_per_good_image": ("region", "false_alarms_per_good_image"),
    "box_map_50": ("box", "map_50"),
    "box_map_50_95": ("box", "map_50_95"),
    "ms_per_image": ("speed", "ms_per_image_median"),
    "device": ("speed", "device"),
    "threads": ("speed", "threads"),
}


@pytest.fixture(scope="module")
def two_runs(run_folder, dataset_folder, tmp_path_factory, quiet) -> tuple[Path, Path]:
    """Two evaluated runs of one dataset that differ in their seed; do not change."""
    place = tmp_path_factory.mktemp("runs")
    one = Path(shutil.copytree(run_folder, place / "one"))
    two = train_tiny(dataset_folder, place / "two", seed=1).run
    for run in (one, two):
        defectkit.evaluate(run, device="cpu", console=quiet)
    return one, two


@pytest.fixture
def copies(two_runs, tmp_path) -> list[Path]:
    """Copies of the two runs, to change."""
    return [Path(shutil.copytree(run, tmp_path / run.name)) for run in two_runs]


@pytest.fixture(scope="module")
def compared(two_runs, tmp_path_factory, quiet) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("compared") / "comparison"
    return out, defectkit.compare(*two_runs, out=out, device="cpu", console=quiet)


def metrics_of(run):
    return read_json(run / "evaluation" / "test" / "metrics.json")


def change(path, *keys, value):
    content = read_json(path)
    section = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    times = path.stat().st_mtime_ns
    write_json(path, add_seal(content))
    os.utime(path, ns=(times, times))


def compare(runs, tmp_path, console=None, **options):
    console = console or Console(file=io.StringIO())
    table = defectkit.compare(
        *runs, out=tmp_path / "comparison", device="cpu", console=console, **options
    )
    return table_rows(table)


def test_a_comparison_has_exactly_its_files(compared):
    out, _ = compared
    assert set(hashes_of_results(out)) == {"comparison.csv", "comparison.html", "comparison.png"}


def test_a_run_has_a_row_with_the_metrics_of_its_evaluation(compared, two_runs):
    out, table = compared
    rows, written = table_rows(table), read_csv(out / "comparison.csv")
    assert list(table.index) == [0, 1]
    assert list(table.columns) == list(written[0])
    assert [row["run"] for row in rows] == [row["run"] for row in written] == ["one", "two"]
    for run, row, cells in zip(two_runs, rows, written, strict=True):
        metrics = metrics_of(run)
        for key, (section, name) in HEADLINE.items():
            assert row[key] == metrics[section][name], key
        for key, rate in (
            ("escape_rate", metrics["image"]["escape_rate"]),
            ("overkill_rate", metrics["image"]["overkill_rate"]),
            ("region_recall", metrics["region"]["recall"]),
            ("region_precision", metrics["region"]["precision"]),
            ("good_with_false_alarms", metrics["region"]["good_images_with_false_alarms"]),
        ):
            assert [row[f"{key}{end}"] for end in ("", "_low", "_high")] == [
                rate[name] for name in ("value", "low", "high")
            ]
        recall = metrics["region"]["recall"]
        assert (row["regions_found"], row["regions_total"]) == (recall["found"], recall["total"])
        assert list(cells) == list(row)
        for key, value in row.items():
            shown = int(value) if isinstance(value, bool) else value
            assert cells[key] == ("" if shown is None else str(shown)), key


def test_intervals_contain_their_value(compared):
    _, table = compared
    for row in table_rows(table):
        for key in COMPARED_METRICS:
            if row[f"{key}_low"] is not None:
                assert row[f"{key}_low"] <= row[key] <= row[f"{key}_high"], key


def test_a_row_has_the_model_of_the_run_and_its_cost(compared, two_runs):
    _, table = compared
    for run, row in zip(two_runs, table_rows(table), strict=True):
        model = defectkit.load(run, device="cpu")
        (last,), info = read_history(run / "history.csv")[-1:], read_json(run / "run.json")
        assert (row["approach"], row["network"]) == ("segment", "unet")
        assert row["encoder"] == model.approach.config.model.encoder
        assert (row["train_seconds"], row["epochs"]) == (info["seconds"], 2)
        assert row["train_seconds"] > last["seconds"]  # with the validation after the last epoch
        assert row["parameters"] == sum(p.numel() for p in model.network.parameters())
        assert row["flops"] > 1e9


@pytest.mark.slow
def test_networks_without_an_encoder_name_none(dataset_folder, tmp_path, quiet):
    run = train_tiny(dataset_folder, tmp_path / "run", "model.architecture=pixel_net", epochs=1).run
    (row,) = compare([run], tmp_path)
    assert (row["network"], row["encoder"]) == ("pixel_net", None)
    assert not any(row[f"{key}_significant"] for key in COMPARED_METRICS)


def test_the_page_and_the_picture_are_of_these_runs(compared):
    out, _ = compared
    page = (out / "comparison.html").read_text()
    for text in ("Comparison: test split", "one", "two", "Which differences are significant"):
        assert text in page
    picture = read_image(out / "comparison.png")
    assert picture.shape[1] == 3 * 248 + 8
    assert picture.shape[0] > 5 * 240, "a row for each of the five test images"


@pytest.fixture
def drawn(monkeypatch):
    """The pixels that the pictures of comparisons show as found, in all images and runs."""
    counts = []

    def draw(images, titles):
        counts.append(sum(int(own.predicted.sum()) for one in images for own in one.findings))
        return draw_comparison(images, titles)

    monkeypatch.setattr(comparison, "draw_comparison", draw)
    return counts


@pytest.mark.slow
def test_the_picture_shows_the_regions_that_are_listed(copies, tmp_path, drawn, quiet):
    run = copies[0]
    change(
        run / "model" / "model.json", "thresholds", value={"low": 1.0, "high": 1.0, "rule": "f1"}
    )
    for all_regions in (False, True):
        defectkit.evaluate(run, all_regions=all_regions, device="cpu", console=quiet)
        compare([run], tmp_path)
    assert drawn[0] == 0 < drawn[1]


def test_the_picture_shows_nothing_outside_of_the_region_to_inspect(
    copies, tmp_path, drawn, quiet, monkeypatch
):
    run = copies[0]
    defectkit.evaluate(run, all_regions=True, device="cpu", console=quiet)
    nowhere = Scope(roi=np.zeros((96, 96), bool))
    monkeypatch.setattr(ImageRecord, "read_scope", lambda _: nowhere)
    compare([run], tmp_path)
    assert drawn == [0]


def test_runs_with_equal_findings_differ_in_nothing(copies, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(copies[0], twin)
    first, second = compare([copies[0], twin], tmp_path)
    assert (first["run"], second["run"]) == ("one", "twin")
    for key in COMPARED_METRICS:
        assert (first[f"{key}_to_best"], second[f"{key}_to_best"]) == (None, 0.0)
        assert not second[f"{key}_significant"]


def test_the_page_is_opened_when_it_is_complete(two_runs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: bool(seen.append(address)) or True)
    compare(two_runs, tmp_path, open_page=True)
    (page,) = tmp_path.rglob("comparison.html")
    assert seen == [page.as_uri()]


def test_a_run_that_is_evaluated_already_is_not_evaluated_again(copies, tmp_path):
    before = [hashes_of(run) for run in copies]
    compare(copies, tmp_path)
    assert [hashes_of(run) for run in copies] == before


def damage_evaluation(run: Path, other: Path, reason: str) -> None:
    """Leave a run without an evaluation of the model that it has."""
    out = run / "evaluation" / "test"
    match reason:
        case "missing":
            shutil.rmtree(run / "evaluation")
        case "model changed":
            change(run / "model" / "model.json", "epoch", value=7)
            change(out / "metrics.json", "image", "escapes", value=77)
        case "model of another run":
            shutil.copytree(other / "evaluation", run / "evaluation", dirs_exist_ok=True)
        case "other split":
            defectkit.evaluate(run, split="val", device="cpu", console=Console(quiet=True))
            shutil.copytree(run / "evaluation" / "val", out, dirs_exist_ok=True)
        case "edited":
            path = out / "metrics.json"
            path.write_text(path.read_text().replace('"escapes": ', '"escapes": 7'))
        case "damaged":
            (out / "regions.csv").write_text("image_id,kind\na\n")
        case "earlier version":
            unseal(out / "metrics.json")


REASONS = (
    *("missing", "model changed", "model of another run", "other split", "edited", "damaged"),
    "earlier version",
)


@pytest.mark.slow
@pytest.mark.check(35)
@pytest.mark.check(55)
@pytest.mark.parametrize("reason", REASONS)
def test_only_an_evaluation_of_the_model_that_a_run_has_now_is_compared(copies, reason, tmp_path):
    run = copies[1]
    out = run / "evaluation" / "test"
    expected = read_csv(out / "regions.csv"), metrics_of(run)["image"]
    damage_evaluation(run, copies[0], reason)
    if reason != "missing":
        os.utime(out / "metrics.json")  # The newest file of all.
    rows = compare(copies, tmp_path)
    assert (read_csv(out / "regions.csv"), metrics_of(run)["image"]) == expected
    assert rows[1]["escapes"] == expected[1]["escapes"]


@pytest.mark.slow
def test_another_split_can_be_compared(copies, tmp_path):
    rows = compare(copies, tmp_path, split="val")
    val = read_json(copies[0] / "evaluation" / "val" / "metrics.json")
    assert rows[0]["image_ap"] == val["image"]["average_precision"]
    assert "Comparison: val split" in (tmp_path / "comparison" / "comparison.html").read_text()


def test_a_dataset_that_moved_can_be_named(copies, dataset_copy, tmp_path):
    for run in copies:
        change(run / "run.json", "dataset_folder", value="/gone")
    with pytest.raises(DatasetError, match="gone does not exist"):
        compare(copies, tmp_path)
    assert len(compare(copies, tmp_path, data=dataset_copy)) == 2


@pytest.mark.slow
def test_an_exported_model_is_compared_as_it_answers_at_the_line(copies, tmp_path, quiet):
    exported = defectkit.export(copies[0], console=quiet).out
    for runs in ([copies[0], exported], [exported, copies[0]]):  # one of them names the dataset
        rows = {row["run"]: row for row in compare(runs, tmp_path)}
        trained, own = rows["one"], rows["exported"]
        assert own["network"] == trained["network"]
        assert trained["parameters"]
        assert (own["exported"], trained["exported"]) == ("f32", None)
        assert own["parameters"] is None  # its network is a graph
        assert own["image_ap"] == pytest.approx(trained["image_ap"], abs=1e-4)
        assert not own["image_ap_significant"]
        assert own["device"] != trained["device"]
    with pytest.raises(ModelError, match=r"exported is not a run .* Name its dataset with --data"):
        compare([exported], tmp_path / "alone")


def test_runs_of_different_data_are_refused(copies, tmp_path):
    change(copies[1] / "model" / "model.json", "dataset", value="f" * 64)
    with pytest.raises(DatasetError, match=r"one and two were trained on different data: .*\(fing"):
        compare(copies, tmp_path)
    assert not (tmp_path / "comparison").exists()


def test_evaluations_of_different_images_are_refused(copies, tmp_path):
    path = copies[1] / "evaluation" / "test" / "images.csv"
    rows = read_csv(path)
    rows[0]["defective"] = str(1 - int(rows[0]["defective"]))
    write_csv(path, list(rows[0]), (row.values() for row in rows))
    reseal(path.with_name("metrics.json"), tables=hash_tables(path.parent, TABLES))
    with pytest.raises(DatasetError, match=f"two were not .*{rows[0]['image_id']} differs"):
        compare(copies, tmp_path)


def test_no_run_one_twice_and_none_at_all_are_refused(copies, tmp_path):
    with pytest.raises(ConfigError, match=r"no run to compare\. Name one or more, such as runs/"):
        compare([], tmp_path)
    for again in (copies[0], copies[0] / "model", copies[0] / ".." / "one"):
        with pytest.raises(ConfigError, match=r"one/model is named 2 times\. Name each run once"):
            compare([copies[0], copies[1], again], tmp_path)
    with pytest.raises(ModelError, match="gone does not exist"):
        compare([copies[0], tmp_path / "gone"], tmp_path)
    (copies[0] / "model" / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model is damaged: model\.json is not JSON \("):
        compare(copies, tmp_path)


@pytest.mark.slow
def test_runs_of_one_name_are_told_apart(two_runs, tmp_path, monkeypatch, quiet):
    monkeypatch.chdir(tmp_path)
    for place, run in zip("ab", two_runs, strict=True):
        shutil.copytree(run, tmp_path / place / "run")
    rows = compare([Path("a/run"), Path("b/run")], tmp_path)
    assert [row["run"] for row in rows] == ["a/run", "b/run"]


@pytest.mark.slow
def test_the_notes_say_what_cannot_be_compared(copies, tmp_path, capsys):
    metrics = copies[1] / "evaluation" / "test" / "metrics.json"
    console = Console(width=400)
    compare(copies, tmp_path, console=console)
    text = capsys.readouterr().out
    assert "milliseconds were not measured" not in text
    assert "good images are few: most differences between runs may be chance." in text
    model = copies[1] / "model" / "model.json"
    change(model, "thresholds", "rule", value="cost_ratio=50")
    change(metrics, "speed", "device", value="cuda (H [red]100)")
    change(metrics, "evaluated", value=describe_evaluated(read_json(model), "test"))
    compare(copies, tmp_path, console=console)
    text = capsys.readouterr().out
    assert "The milliseconds were not measured alike: one: cpu (" in text
    assert "two: cuda (H [red]100)." in text
    assert "chosen by different rules: one: f1; two: cost_ratio=50." in text
    page = (tmp_path / "comparison" / "comparison.html").read_text()
    assert "two: cuda (H [red]100)." in page
    assert f"page in {tmp_path / 'comparison' / 'comparison.html'}" in text
