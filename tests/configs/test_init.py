import re

import pytest

from defectkit import configs
from defectkit.config import Config, load_config
from defectkit.errors import ConfigError


@pytest.mark.parametrize("name", configs.names())
def test_shipped_configurations_load_and_say_what_they_are(name):
    path = configs.path_of(name)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# \S.{15,}", first)
    assert configs.summaries()[name] == first[2:]
    load_config(path)


def test_presets_differ_in_what_their_names_say():
    preset = {name: load_config(configs.path_of(name)) for name in ("fast", "balanced", "accurate")}
    assert preset["balanced"] == Config()
    assert differences(preset["fast"]) == {"model.input_reduction": 2}
    assert differences(preset["accurate"]) == {"infer.flip": True}


def differences(config: Config) -> dict[str, object]:
    """The settings that are not the default ones."""
    default = Config().model_dump()
    return {
        f"{section}.{name}": value
        for section, values in config.model_dump().items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != default[section][name]
    }


def test_segnet_follows_its_source():
    config = load_config(configs.path_of("segnet"))
    assert config.model.architecture == "segnet"
    assert config.data.resize == 128
    assert (config.train.optimizer, config.train.lr, config.train.epochs) == ("adam", 1e-3, 20)
    assert (config.train.schedule, config.train.step_epochs, config.train.step_factor) == (
        "step", 7, 0.7,
    )  # fmt: skip
    assert config.loss.model_dump() | {"focal_gamma": 0} == {
        "bce": 0, "classes": 0, "dice": 0, "focal": 0, "focal_gamma": 0, "cross_entropy": 1,
        "image": 0,
    }  # fmt: skip


def test_an_unknown_shipped_configuration_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"no configuration '\.\./x'\. Shipped: .*segnet, .*unet, "
    ):
        configs.path_of("../x")
    with pytest.raises(ConfigError, match=r"'fastt'\. Did you mean 'fast'\? Shipped: "):
        configs.path_of("fastt")
