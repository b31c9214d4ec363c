import json
import re
import shutil
import time
from contextlib import suppress

import pytest
from locked_files import lock

from defectkit.config import Config
from defectkit.data.dataset import Dataset
from defectkit.errors import (
    NotFiniteError,
    TrainingError,
)
from defectkit.seals import read_sealed
from defectkit.training.folds import RUN_SETTINGS
from defectkit.training.history import write_history
from defectkit.training.run_info import (
    CHANGEABLE_ON_RESUME,
    identify_run,
    make_run_info,
    read_run_info,
    record_status,
    training_seconds,
)


def test_a_run_is_known_by_its_data_and_by_what_a_resume_cannot_change(run_copy):
    info = read_run_info(run_copy)
    own = identify_run(info["dataset"], info["config"])
    assert own == info["identity"]
    for key in CHANGEABLE_ON_RESUME:
        section, _, name = key.rpartition(".")
        changed = json.loads(json.dumps(info["config"]))
        (changed[section] if section else changed)[name] = "other"
        assert identify_run(info["dataset"], changed) == own
    assert identify_run("other", info["config"]) != own
    assert identify_run(info["dataset"], {**info["config"], "seed": 5}) != own
    backwards = dict(reversed(info["config"].items()))
    assert identify_run(info["dataset"], backwards) == own


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", "{}", '{"dataset": "x"}', '{"data'])
def test_a_damaged_run_json_is_said_plainly(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    message = r"run\.json is missing or damaged \(\w+\), so it is not known which data"
    with pytest.raises(TrainingError, match=message):
        read_run_info(tmp_path)


def test_a_run_json_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text("{}")
    told = lock(monkeypatch, tmp_path / "run.json")
    with pytest.raises(TrainingError, match=f"^{re.escape(told)}$"):
        read_run_info(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": "1"}, {"seconds": None}, {"seconds": True}, {"seconds": -1}, {"seconds": 10**400},
     {"config": "x"}, {RUN_SETTINGS: []}, {"resumed": "x"}],
)  # fmt: skip
def test_an_entry_of_another_type_is_damage(tmp_path, wrong):
    """In a file without a seal, as earlier versions wrote."""
    facts = {"dataset": "", "dataset_folder": "", "format_version": 1, "seconds": 7, **wrong}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(TrainingError, match=r"run\.json is missing or damaged \(\w+\)"):
        read_run_info(tmp_path)
    assert training_seconds(tmp_path) == 0.0
    with record_status(tmp_path, {}):
        pass


def test_facts_of_a_resumed_run_keep_its_start(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    how = {"device": "cpu", "precision": "bfloat16"}
    first = make_run_info(dataset, Config(), {}, **how)
    assert first["dataset"] == dataset.fingerprint
    assert "resumed" not in first
    assert (first["device"], first["precision"]) == ("cpu", "bfloat16")
    assert {"defectkit", "python", "torch", "numpy"} <= set(first["versions"])
    before = {**first, "started": "2020-01-01T00:00:00+00:00"}
    second = make_run_info(dataset, Config(), before, **how)
    third = make_run_info(dataset, Config(), second, **how)
    assert third["started"] == "2020-01-01T00:00:00+00:00"
    assert len(third["resumed"]) == 2
    json.dumps(third)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, "finished"),
        (KeyboardInterrupt, "interrupted"),
        (SystemExit, "interrupted"),
        (ZeroDivisionError, "failed"),
    ],
)
def test_the_status_is_true_at_any_time(tmp_path, failure, status):
    def work() -> None:
        with record_status(tmp_path, {"device": "cpu"}):
            facts = read_sealed(tmp_path / "run.json")
            assert (facts["device"], facts["status"]) == ("cpu", "running")
            if failure:
                raise failure

    if failure:
        with pytest.raises(failure):
            work()
    else:
        work()
    facts = read_sealed(tmp_path / "run.json")
    assert facts["status"] == status
    assert "ended" in facts
    assert facts["seconds"] >= 0.0


def test_seconds_are_those_of_all_sessions_and_of_all_folds(tmp_path):
    facts = {"dataset": "", "dataset_folder": ""}
    assert training_seconds(tmp_path) == 0.0
    for folder, seconds in ((tmp_path / "folds" / "fold-1", 7.5), (tmp_path, 1.5)):
        write_history(folder / "history.csv", [{"epoch": 1, "seconds": 0.5 * seconds},
                                               {"epoch": 2, "seconds": seconds}])  # fmt: skip
    assert training_seconds(tmp_path) == 9.0  # killed: what is known of its epochs
    with record_status(tmp_path, facts):
        time.sleep(0.05)
    first = training_seconds(tmp_path)
    assert 9.05 <= first == read_sealed(tmp_path / "run.json")["seconds"]
    with suppress(KeyboardInterrupt), record_status(tmp_path, facts):
        assert read_sealed(tmp_path / "run.json")["seconds"] == first  # killed: known until then
        (tmp_path / "history.csv").write_text("seconds\ndamaged")
        raise KeyboardInterrupt
    assert first <= training_seconds(tmp_path) < first + 1.0


def test_what_ended_the_training_is_told_even_where_the_status_cannot_be_kept(tmp_path):
    def work() -> None:
        with record_status(tmp_path / "run", {}):
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "run").write_text("in the way")
            raise NotFiniteError

    with pytest.raises(NotFiniteError):
        work()
