import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.config import Config
from defectkit.config.options import options_as_settings, parse_seconds, resolve_config
from defectkit.errors import ConfigError

NOTHING = dict.fromkeys(("approach", "device", "seed", "epochs", "max_time", "folds"))


def test_only_the_options_that_are_given_are_settings():
    assert options_as_settings(**NOTHING) == []
    assert options_as_settings(**{**NOTHING, "seed": 0, "epochs": 3, "approach": "box"}) == [
        "approach=box", "seed=0", "train.epochs=3",
    ]  # fmt: skip
    assert options_as_settings(**{**NOTHING, "max_time": "2m"}) == ["train.max_time=120.0"]
    assert options_as_settings(**{**NOTHING, "folds": 5}) == ["train.folds=5"]


def test_a_given_configuration_is_changed_and_stays_as_it_is():
    given = Config(seed=3)
    assert resolve_config(given, ["seed=4"]).seed == 4
    assert given.seed == 3
    assert resolve_config(None, []) == Config()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("90", 90), (30, 30), (0.5, 0.5), (" 2 m ", 120)],
)
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "0",
        "0m",
        "-5s",
        "1d",
        "1h30m",
        "1.h",
        "nan",
        "inf",
        "9" * 400 + "s",
        "20000001",
        "\u0663s",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"is not a time\. Write for example 90s, 20m or 1\.5h"):
        parse_seconds(text)


@given(st.text())
def test_any_text_is_a_time_or_a_message(text):
    try:
        seconds = parse_seconds(text)
    except ConfigError:
        return
    assert 0 < seconds < float("inf")


def test_an_approach_beside_a_configuration_of_another_is_refused(tmp_path):
    message = r"novelty.yaml is a configuration of 'novelty', but the approach is to be 'segment'"
    with pytest.raises(ConfigError, match=message):
        resolve_config("novelty", ["approach=segment"])
    with pytest.raises(ConfigError, match=r"of 'patch', but .* 'box'\. Give one of them alone\."):
        resolve_config(Config(approach="patch"), ["approach=box"])
    assert resolve_config("novelty", ["approach=novelty"]).approach == "novelty"
    (tmp_path / "own.yaml").write_text("train: {lr: 0.001}")
    assert resolve_config(tmp_path / "own.yaml", ["approach=box"]).approach == "box"
