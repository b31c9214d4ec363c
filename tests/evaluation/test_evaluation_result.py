from pathlib import Path

import pytest

from defectkit.evaluation.evaluation_result import TABLES, EvaluationResult
from defectkit.files import write_csv, write_json
from defectkit.seals import SealError, add_seal, hash_tables

COLUMNS = ["image_id", "group", "defective", "score", "outcome",
           "true_pixels", "found_pixels", "hit_pixels"]  # fmt: skip


def write_metrics(folder: Path, metrics: dict | None = None) -> None:
    """Write ``metrics.json`` of the tables that are in the folder."""
    metrics = metrics or {"region": {"precision": None}}
    write_json(
        folder / "metrics.json", add_seal({**metrics, "tables": hash_tables(folder, TABLES)})
    )


def test_an_evaluation_is_read_back_in_the_order_of_its_ids(tmp_path):
    rows = [["b", "07", 1, 0.25, "escape", 10, 6, 4], ["a", "7", 0, 0.5, "overkill", 0, 3, 0],
            ["c", "07", 0, 0.125, "pass", 0, 0, 0]]  # fmt: skip
    write_csv(tmp_path / "images.csv", COLUMNS, rows)
    found = [["b", "true", "yes"], ["b", "true", "no"], ["b", "found", None],
             ["a", "false_alarm", None]]  # fmt: skip
    write_csv(tmp_path / "regions.csv", ["image_id", "kind", "found"], found)
    write_metrics(tmp_path)
    one = EvaluationResult.read(tmp_path, name="run")
    assert one.image_ids == ("a", "b", "c")
    assert one.groups.tolist() == [1, 0, 0]
    assert one.defective.tolist() == [False, True, False]
    assert one.scores.tolist() == [0.5, 0.25, 0.125]
    assert one.outcomes == ("overkill", "escape", "pass")
    assert one.pixels.tolist() == [[0, 10, 0], [3, 6, 0], [0, 4, 0]]
    assert one.regions.tolist() == [[0, 1, 0], [0, 2, 0]]
    assert one.false_alarms.tolist() == [1, 0, 0]
    assert one.dice.tolist() == [0.0, 0.5, 1.0]


def test_images_without_regions_have_none(tmp_path):
    write_csv(tmp_path / "images.csv", COLUMNS, [["a", "7", 0, 0.5, "pass", 0, 0, 0]])
    write_csv(tmp_path / "regions.csv", ["image_id", "kind", "found"], [])
    write_metrics(tmp_path)
    one = EvaluationResult.read(tmp_path, name="run")
    assert one.regions.tolist() == [[0], [0]]
    assert one.false_alarms.tolist() == [0]
    write_csv(tmp_path / "regions.csv", ["image_id", "kind", "found"], [["b", "true", "yes"]])
    write_metrics(tmp_path)
    with pytest.raises(ValueError, match=r"regions\.csv has an image that images\.csv has not"):
        EvaluationResult.read(tmp_path, name="run")


@pytest.mark.parametrize(
    "cells",
    [(None, 0, 0, 0), (0.5, 0, 3.5, 0), (0.5, None, 0, 0)],
)
def test_a_damaged_table_of_images_is_refused(tmp_path, cells):
    score, *pixels = cells
    write_csv(tmp_path / "images.csv", COLUMNS, [["a", "7", 0, score, "pass", *pixels]])
    write_csv(tmp_path / "regions.csv", ["image_id", "kind", "found"], [])
    write_metrics(tmp_path)
    with pytest.raises(ValueError, match=r"images\.csv has a score or a number of pixels"):
        EvaluationResult.read(tmp_path, name="run")


def test_an_evaluation_of_an_earlier_version_cannot_be_read(tmp_path):
    write_csv(tmp_path / "images.csv", ["image_id"], [])
    write_metrics(tmp_path, {"image": {}})
    with pytest.raises(KeyError, match="region"):
        EvaluationResult.read(tmp_path, name="run")


@pytest.mark.check(55)
@pytest.mark.parametrize("table", TABLES)
def test_tables_of_another_evaluation_are_refused(tmp_path, table):
    write_csv(tmp_path / "images.csv", COLUMNS, [["a", "7", 0, 0.5, "pass", 0, 0, 0]])
    write_csv(tmp_path / "regions.csv", ["image_id", "kind", "found"], [["a", "true", "yes"]])
    write_metrics(tmp_path)
    EvaluationResult.read(tmp_path, name="run")
    path = tmp_path / table
    path.write_text(path.read_text().replace("0.5", "0.9").replace("yes", "no"))
    with pytest.raises(SealError, match=rf"{table} was changed after it was written"):
        EvaluationResult.read(tmp_path, name="run")
