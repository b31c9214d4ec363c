import string
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from defectkit.config import (
    ARCHITECTURES,
    Architecture,
    Config,
    ModelConfig,
    TrainConfig,
    dump_config,
    load_config,
    make_config,
    save_config,
)

# Words, and what YAML could take for something else.
words = st.text(string.printable, max_size=12) | st.sampled_from(
    ["1e5", "1e-3", "no", "off", "~", "null", "true", "1", "0x1f", "1:30", "2020-01-01", "=", "<<"]
)
positive = st.floats(1e-12, 1e6)


@given(
    weights=words,
    lr=positive,
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    clip=st.none() | positive,
    channels=st.lists(st.integers(1, 1024), min_size=1, max_size=5).map(tuple),
    architecture=st.sampled_from(get_args(Architecture)),
    amp=st.sampled_from(["auto", "off", "bf16", "fp16"]),
)
@settings(max_examples=200)
def test_what_is_dumped_loads_as_the_same(
    weights, lr, fraction, seed, clip, channels, architecture, amp, tmp_path_factory
):
    approach = next(name for name, own in ARCHITECTURES.items() if architecture in own)
    model = ModelConfig(architecture=architecture, weights=weights, decoder_channels=channels)
    train = TrainConfig(lr=lr, clip_norm=clip, amp=amp, warmup=fraction)
    config = Config(approach=approach, model=model, train=train, seed=seed)
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert make_config(config.model_dump(mode="json"), name="json") == config


def test_a_dump_is_complete_and_plain_yaml(tmp_path):
    save_config(Config(), tmp_path / "config.yaml")
    content = YAML(typ="safe", pure=True).load(tmp_path / "config.yaml")
    assert set(content) == set(Config.model_fields)
    assert set(content["train"]) == set(TrainConfig.model_fields)
    assert make_config(content, name="plain") == Config()
