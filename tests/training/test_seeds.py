from statistics import stdev

import pytest

from defectkit.errors import ConfigError, TrainingError
from defectkit.tables import table_rows
from defectkit.training.seeds import check_seeds, first_run, run_of_seed, tabulate_seeds


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_number_of_seeds_out_of_range_is_refused(count):
    check_seeds(1)
    check_seeds(100)
    with pytest.raises(ConfigError, match=f"from 1 to 100 but is {count}"):
        check_seeds(count)


def test_the_first_run_has_the_lowest_seed(tmp_path):
    with pytest.raises(ConfigError, match="give --out"):
        first_run(None)
    for name in ("seed-x", "seed-12", "seed-3", "other-1"):
        (tmp_path / name).mkdir()
    with pytest.raises(TrainingError, match="has no run of a seed to resume"):
        first_run(tmp_path)
    for name in ("seed-x", "seed-12", "seed-3", "other-1"):
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "seed-1").mkdir()  # not begun
    assert first_run(tmp_path) == tmp_path / "seed-3" == run_of_seed(tmp_path, 3)


def row(seed: int, *values: float | None) -> dict:
    metrics = dict(zip(("image_ap", "pixel_ap", "dice"), values, strict=True))
    return {"seed": seed, "run": f"seed-{seed}", **metrics}


def test_mean_and_deviation_follow_the_runs():
    table = table_rows(tabulate_seeds([row(3, 0.5, 0.1, None), row(4, 0.9, 0.3, 0.2)]))
    assert [one["seed"] for one in table] == ["3", "4", "mean", "deviation"]
    assert table[2] == {"seed": "mean", "run": None, "image_ap": pytest.approx(0.7),
                        "pixel_ap": pytest.approx(0.2), "dice": None}  # fmt: skip
    assert table[3]["image_ap"] == pytest.approx(stdev([0.5, 0.9]))
    assert table[3]["dice"] is None


def test_one_run_has_no_deviation():
    *_, mean, deviation = table_rows(tabulate_seeds([row(0, 0.5, 0.1, 0.2)]))
    assert (mean["dice"], deviation["dice"]) == (0.2, None)
