import pytest
from file_hashes import hashes_of

import defectkit
from defectkit.config import Config
from defectkit.errors import ConfigError, DatasetError


def test_a_plan_has_facts_settings_and_a_whole_configuration(dataset_folder, quiet):
    before = hashes_of(dataset_folder)
    plan = defectkit.plan(dataset_folder, max_time="20m", console=quiet)
    assert plan.facts.splits["train"].images == 10
    assert {one.key: one.value for one in plan.settings}["data.crop"] == 96
    assert (plan.config.data.crop, plan.config.train.max_time) == (96, 1200.0)
    assert hashes_of(dataset_folder) == before


def test_what_is_given_in_any_way_is_not_planned(dataset_folder, quiet, tmp_path):
    (tmp_path / "mine.yaml").write_text("data:\n  crop: 128\n")
    plan = defectkit.plan(
        dataset_folder, config=tmp_path / "mine.yaml", epochs=3, console=quiet,
        settings=["train.batch_size=8"],
    )  # fmt: skip
    assert not {one.key for one in plan.settings} & {
        "data.crop",
        "train.epochs",
        "train.batch_size",
    }
    assert (plan.config.data.crop, plan.config.train.epochs) == (128, 3)
    given = Config.model_validate({"data": {"crop": 64}})
    assert defectkit.plan(dataset_folder, config=given, console=quiet).config.data.crop == 64


def test_the_command_prints_facts_and_plan(cli, dataset_folder):
    shown = cli("plan", dataset_folder, "--approach", "box")
    assert shown.code == 0
    assert "train 6 defective, 4 good" in shown.err
    assert "data.crop 96 256 half of the images" in shown.err
    off = cli("plan", dataset_folder, "--set", "plan=false")
    assert "Nothing is planned" in off.err


def test_what_cannot_be_planned_is_refused(tmp_path, dataset_folder, quiet):
    with pytest.raises(DatasetError, match="does not exist"):
        defectkit.plan(tmp_path / "none", console=quiet)
    with pytest.raises(ConfigError, match="exclude each other"):
        defectkit.plan(dataset_folder, epochs=1, max_time="1m", console=quiet)
