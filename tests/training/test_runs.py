import re
import subprocess
import sys

import pytest
from file_hashes import mark
from resealing import reseal, reseal_dataset, unseal

import defectkit
from defectkit.config import load_config, save_config
from defectkit.data.dataset import Dataset
from defectkit.errors import (
    ConfigError,
    DatasetError,
    DefectkitWarning,
    OutputError,
    TrainingError,
)
from defectkit.files import TEMP_MARK, read_csv, read_json, write_json
from defectkit.seals import add_seal
from defectkit.training import runs
from defectkit.training.run_info import CHANGEABLE_ON_RESUME, identify_run, read_run_info
from defectkit.training.runs import (
    check_run_folder,
    check_same_dataset,
    create_run_folder,
    load_resumed_config,
    lock_run,
    newest_run,
)


def test_runs_are_numbered_on_from_the_highest(tmp_path):
    root = tmp_path / "runs"
    assert create_run_folder("segment", root=root) == root / "segment-1"
    for name in ("segment-10", "segment-x", "box-11", "segment-30-old", "my-segment-40"):
        (root / name).mkdir()
    assert create_run_folder("segment", root=root) == root / "segment-11"
    assert (root / "segment-11").is_dir()


def test_two_that_ask_at_once_get_two_runs(tmp_path, monkeypatch):
    numbers = iter([0, 0, 1])
    monkeypatch.setattr("defectkit.training.runs._last_number", lambda *_: next(numbers))
    assert create_run_folder("segment", root=tmp_path).name == "segment-1"
    assert create_run_folder("segment", root=tmp_path).name == "segment-2"


@pytest.mark.check(52)
@pytest.mark.parametrize("name", ["history.csv", "model/model.safetensors", "progress.gif"])
def test_a_new_run_is_not_mixed_with_other_files(name, tmp_path):
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).write_text("mine")
    with pytest.raises(OutputError, match=r"stands where training writes\. Move it away, or"):
        check_run_folder(run, resume=False)
    assert (run / name).read_text() == "mine"


@pytest.mark.check(52)
def test_a_new_run_is_not_mixed_with_results_of_another_command(tmp_path):
    mark(tmp_path, [])
    with pytest.raises(OutputError, match="files of another command"):
        check_run_folder(tmp_path, resume=False)


def test_files_that_training_does_not_write_may_lie_in_the_folder_of_a_new_run(tmp_path):
    for name in ("train.log", "Thumbs.db", "my.yaml", "notes/today.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    check_run_folder(tmp_path, resume=False)


def test_a_run_that_was_killed_before_its_configuration_can_be_started_again(tmp_path):
    for name in ("run.json", "augmentations.png", ".lock"):
        (tmp_path / name).write_text("")
    check_run_folder(tmp_path, resume=False)


def test_a_place_where_no_run_can_be_made_is_said_plainly(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot make .*segment-1: .*another folder with --out"):
        create_run_folder("segment", root=tmp_path / "runs")


def test_the_last_run_is_the_newest_that_was_begun(tmp_path):
    message = r"there is no run .*/segment-<n> to resume\. Name one with --out"
    with pytest.raises(TrainingError, match=message):
        newest_run("segment", root=tmp_path)
    for number in (2, 9, 10):
        (tmp_path / f"segment-{number}").mkdir()
        (tmp_path / f"segment-{number}" / "config.yaml").write_text("")
    # Claimed, but ended by a mistake before training began.
    create_run_folder("segment", root=tmp_path)
    assert newest_run("segment", root=tmp_path).name == "segment-10"


def test_a_resumed_run_may_change_what_leaves_it_the_same_run(run_copy):
    config = load_resumed_config(run_copy, [])
    assert config == load_config(run_copy / "config.yaml")
    changes = ["train.epochs=9", "data.workers=2", "train.patience=5", "train.max_time=60"]
    changed = load_resumed_config(run_copy, [*changes, "device=auto"])
    assert (changed.train.epochs, changed.data.workers, changed.device) == (9, 2, "auto")
    assert load_resumed_config(run_copy, ["data.cache_mib=0"]).data.cache_mib == 0
    assert load_resumed_config(run_copy, [f"train.lr={config.train.lr}"]) == config


@pytest.mark.parametrize(
    "setting", ["train.lr=1", "model.architecture=fpn", "seed=4", "data.crop=96"]
)
def test_a_resumed_run_may_not_become_another(run_copy, setting):
    key = setting.partition("=")[0]
    changeable = re.escape(", ".join(CHANGEABLE_ON_RESUME))
    message = rf"a resumed run cannot change {key}; it may change {changeable}"
    with pytest.raises(ConfigError, match=message):
        load_resumed_config(run_copy, [setting, "train.epochs=9"])


@pytest.mark.check(55)
def test_a_configuration_that_was_edited_is_not_resumed(run_copy):
    path = run_copy / "config.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("lr: 0.001", "lr: 0.01").replace("crop: 64", "crop: 96"))
    message = (
        r"config\.yaml was changed after it was written: data\.crop is 96 and was 64; "
        r"train\.lr is 0\.01 and was 0\.001\. Change it back\. .*--set .*start a new run"
    )
    with pytest.raises(ConfigError, match=message):
        load_resumed_config(run_copy, [])
    path.write_text(whole.replace("  lr: 0.001\n", "  lr: 0.5\n  # mine\n"))
    with pytest.raises(ConfigError, match=r"a resumed run cannot change train\.lr"):
        load_resumed_config(run_copy, ["train.lr=0.5"])
    path.write_text("# Words and order of the lines are nobody's concern.\n" + whole)
    load_resumed_config(run_copy, [])
    path.write_text(whole.replace("epochs: 2", "epochs: 9"))
    with pytest.raises(ConfigError, match=r"train\.epochs is 9 and was 2"):
        load_resumed_config(run_copy, [])
    assert load_resumed_config(run_copy, ["train.epochs=9"]).train.epochs == 9
    path.write_text("approach: segment\n")
    with pytest.raises(ConfigError, match=r"was changed after it was written: .*data\.crop is 256"):
        load_resumed_config(run_copy, [])


@pytest.mark.check(55)
def test_a_run_json_that_was_edited_is_refused(run_copy):
    path = run_copy / "run.json"
    write_json(path, {**read_json(path), "dataset_folder": "elsewhere"})
    with pytest.raises(TrainingError, match=r"run\.json is missing or damaged \(SealError\)"):
        read_run_info(run_copy)


def test_a_run_of_an_earlier_version_is_resumed_with_a_warning(run_copy, quiet):
    unseal(run_copy / "run.json", "config", "identity")
    with pytest.warns(DefectkitWarning, match=r"run\.json was written by an earlier version"):
        defectkit.train(out=run_copy, resume=True, epochs=3, console=quiet)
    assert read_run_info(run_copy)["config"]["train"]["epochs"] == 3


@pytest.mark.slow
@pytest.mark.check(55)
def test_a_run_of_a_version_with_fewer_settings_is_resumed(run_copy, quiet):
    info = read_run_info(run_copy)
    settings = info["config"]
    del settings["train"]["clip_norm"]
    own = identify_run(info["dataset"], settings)
    assert own != info["identity"]
    reseal(run_copy / "run.json", identity=own, config=settings)
    config = (run_copy / "config.yaml").read_text()
    (run_copy / "config.yaml").write_text(re.sub(r"  clip_norm: .*\n", "", config))
    for path in (run_copy / "checkpoints").rglob("epoch-*.json"):
        reseal(path, run=own)
    for folder in ("model", "checkpoints/best"):
        reseal(run_copy / folder / "model.json", run=own, config=settings)
    assert defectkit.train(out=run_copy, resume=True, epochs=3, console=quiet).epochs == 3
    assert read_run_info(run_copy)["identity"] == own
    defectkit.evaluate(run_copy, console=quiet)


def test_what_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(TrainingError, match=r"is not a run \(it has no config\.yaml\)"):
        load_resumed_config(tmp_path, [])


def test_a_folder_is_proven_before_any_work(tmp_path, run_copy):
    check_run_folder(tmp_path / "new", resume=False)
    assert not (tmp_path / "new").exists()
    with pytest.raises(
        TrainingError, match="already has a run. Continue it with --resume, or choose"
    ):
        check_run_folder(run_copy, resume=False)
    check_run_folder(run_copy, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_run_folder(tmp_path / "file", resume=False)


def test_a_run_is_not_resumed_on_other_data(dataset_folder, dataset_copy, run_copy):
    check_same_dataset(run_copy, Dataset.load(dataset_folder), {})
    check_same_dataset(run_copy, Dataset.load(dataset_folder), read_run_info(run_copy))
    for table in (dataset_copy / "masks.csv", dataset_copy / "defects.csv"):
        table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    reseal_dataset(dataset_copy)
    with pytest.raises(DatasetError, match="was trained on other data than .* has now"):
        check_same_dataset(run_copy, Dataset.load(dataset_copy), read_run_info(run_copy))


def test_what_a_killed_run_left_half_written_is_removed_wherever_it_is(run_copy):
    strays = [run_copy / name / f"{TEMP_MARK}12-x" for name in (".", "model", "checkpoints/best")]
    for stray in strays:
        stray.write_text("half")
    with lock_run(run_copy, resume=True):
        assert not any(stray.exists() for stray in strays)


def test_a_new_run_leaves_the_live_writes_of_others_alone(tmp_path):
    live = tmp_path / f"{TEMP_MARK}12-x"
    live.write_text("half")
    check_run_folder(tmp_path, resume=False)
    with lock_run(tmp_path, resume=False):
        assert live.exists()


HOLD = """
import sys, time
from pathlib import Path
from defectkit.training.runs import lock_run
with lock_run(Path(sys.argv[1]), resume=True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_that_is_being_trained_is_left_alone(run_copy, monkeypatch, cli):
    monkeypatch.setattr(runs, "LOCK_SECONDS", 0.1)
    live = run_copy / "checkpoints" / f"{TEMP_MARK}12-x"
    other = subprocess.Popen([sys.executable, "-c", HOLD, run_copy], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    live.write_text("half")
    refused = cli("train", "--resume", "--out", run_copy, "--epochs", 3)
    assert refused.code == 2
    assert f"another process is changing {run_copy}: a training, or an" in refused.err
    assert live.exists()
    assert len(read_csv(run_copy / "history.csv")) == 2

    other.kill()  # and the run is free
    other.communicate()
    with lock_run(run_copy, resume=True):
        assert not live.exists()


def test_a_saved_config_resumes_as_itself(tmp_path):
    config = load_config(None, ["train.lr=1e-5", "model.decoder_channels=[8, 4]"])
    save_config(config, tmp_path / "config.yaml")
    info = {"dataset": "1", "dataset_folder": "data", "config": config.model_dump(mode="json")}
    write_json(tmp_path / "run.json", add_seal(info))
    assert load_resumed_config(tmp_path, []) == config
