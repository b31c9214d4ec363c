import io
from dataclasses import replace

import pytest
from rich.console import Console

from defectkit.config import Config, load_config
from defectkit.data.dataset import Dataset
from defectkit.data.dataset_facts import DefectFacts, Spread
from defectkit.reporting.plan_tables import (
    measure_with_progress,
    print_changes,
    print_facts,
    print_plan,
    show_value,
)
from defectkit.training.plan import make_plan


@pytest.fixture(scope="module")
def facts(dataset_folder, quiet):
    return measure_with_progress(Dataset.load(dataset_folder), quiet)


def printed(call, *arguments):
    console = Console(file=io.StringIO(), width=100)
    call(console, *arguments)
    return console.file.getvalue()


def test_the_facts_are_told(facts):
    told = " ".join(printed(print_facts, facts).split())
    assert "train 6 defective, 4 good, in 10 groups" in told
    assert "width, px 96 96 96, all equal" in told
    assert "aligned no: correlation of an image with the mean of the others" in told
    assert "all 6 396 396 396 22 22 22 18 18 18" in told


def test_facts_without_defects_and_with_odd_names_are_told(facts):
    bare = replace(facts, defects=None, defects_by_class={}, alignment=None, equal_sizes=False)
    told = printed(print_facts, bare)
    assert "contrast" not in told
    assert "too few images to tell" in told
    assert "all equal" not in told
    one = Spread(1, 1, 1)
    defects = DefectFacts(regions=1, area=one, side=one, thickness=one, contrast=None)
    odd = replace(facts, defects=defects, defects_by_class={"[red]\x1b[31m": defects})
    told = printed(print_facts, odd)
    assert "[red]" in told
    assert "\x1b" not in told


def test_a_plan_is_a_row_for_each_setting(facts):
    plan = make_plan(facts, Config())
    told = printed(print_plan, plan)
    for one in plan.settings:
        assert one.key in told
    assert "half of the images have a side of at most 96 px" in " ".join(told.split())
    assert "Nothing is planned" in printed(print_plan, make_plan(facts, Config(plan=False)))


def test_only_what_differs_from_the_defaults_is_told_before_a_training(facts):
    told = printed(print_changes, make_plan(facts, Config()))
    assert "data.crop=96 rather than 256: half of the images have a side of at most 96 px" in told
    assert "train.epochs" not in told
    assert "--set plan=false" in told
    assert printed(print_changes, make_plan(facts, Config(plan=False))) == ""


def test_values_are_shown_as_set_takes_them(facts):
    for value in ([96, 48], 0.5, 7):
        setting = "model.decoder_channels" if isinstance(value, list) else "train.lr"
        settings = [f"{setting}={show_value(value)}"]
        if value == 7:
            settings = ["seed=7"]
        assert load_config(None, settings)
    assert show_value([96, 48]) == "[96,48]"
