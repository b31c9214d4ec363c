from pathlib import Path

import pytest

from defectkit.config import (
    Config,
    load_config,
)
from defectkit.errors import ConfigError


def read(text: str, *more: str, folder: Path) -> Config:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, more)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nseed: 2\n", 2),
        ("train:\n  lr: 1\n\n  # again\n  lr: 2\n", 5),
        ("train: {lr: 1, lr: 2}\n", 1),
        ("train:\n  lr: 1\nmodel:\n  encoder: a\ntrain:\n  lr: 2\n", 5),
    ],
)
def test_a_repeated_key_is_refused_with_its_line(text, line, tmp_path):
    pattern = rf"mine\.yaml: line {line}: the key '\w+' is repeated; remove one of them"
    with pytest.raises(ConfigError, match=pattern):
        read(text, folder=tmp_path)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 1e-3), ("3E-4", 3e-4), ("1.5e-3", 1.5e-3), (".5", 0.5), ("2.", 2.0), ("1", 1.0),
     ("+1e-1", 0.1), ("1e+0", 1.0)],
)  # fmt: skip
def test_numbers_as_people_write_them(written, value, tmp_path):
    assert read(f"train:\n  lr: {written}\n", folder=tmp_path).train.lr == value
    assert load_config(None, [f"train.lr={written}"]).train.lr == value


@pytest.mark.parametrize("written", ["1e", "e-3", "1e-3x", "'1e-3'", ".nan", ".inf", "1e-3.5"])
def test_what_is_no_number_is_refused(written):
    with pytest.raises(ConfigError, match=r"train\.lr: .*(valid|finite) number"):
        load_config(None, [f"train.lr={written}"])


@pytest.mark.check(60)
@pytest.mark.parametrize("written", ["010", "08", "-010", "0_1", "00"])
def test_a_number_that_may_be_octal_is_refused(written, tmp_path):
    message = rf"'{written}' begins with 0, which some programs read as octal"
    with pytest.raises(ConfigError, match=rf"--set train\.epochs: line 1: {message}"):
        load_config(None, [f"train.epochs={written}"])
    with pytest.raises(ConfigError, match=rf"mine\.yaml: line 2: {message}"):
        read(f"train:\n  epochs: {written}\n", folder=tmp_path)
    assert load_config(None, ["train.epochs=0o17"]).train.epochs == 15
    assert load_config(None, ["seed=0"]).seed == 0


def test_off_is_a_word_and_not_false(tmp_path):
    assert read("train:\n  amp: off\n", folder=tmp_path).train.amp == "off"
    assert load_config(None, ["train.amp=off"]).train.amp == "off"
    assert load_config(None, ["model.encoder=yes"]).model.encoder == "yes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", r"mine\.yaml must have 'key: value' lines but has a list"),
        ("train", r"must have 'key: value' lines but has a str"),
        ("train: [1\n", r"(?s)mine\.yaml is not valid YAML: .*line 2"),
        ("a: !!python/object/apply:os.getcwd []\n", r"not valid YAML: could not determine a con"),
        ("? [a]\n: 1\n", r"mine\.yaml: line 1: a key must be text but is \['a'\]"),
        ("1: 2\n", r"mine\.yaml: line 1: a key must be text but is 1\."),
        ("train:\n  true: 2\n", r"mine\.yaml: line 2: a key must be text but is True\."),
        ("a: &x [1]\nb: *x\n", r"mine\.yaml: line 2: aliases such as \*name are not read"),
        ("a: " + "[" * 5000, r"mine\.yaml is nested too deeply"),
        ("seed: !!int one\n", r"mine\.yaml is not valid YAML: invalid literal"),
        ("seed: !!bool one\n", r"mine\.yaml is not valid YAML: "),
        ('seed: !!float ""\n', r"mine\.yaml is not valid YAML: "),
        ("%YAML 1.3\n---\nseed: 1\n", r"mine\.yaml: directives such as %YAML are not read"),
        ("train:\n  lr: 1\n  <<: {lr: 2}\n", r"mine\.yaml: line 3: the merge key << is not read"),
    ],
)
def test_files_that_are_no_configuration(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read(text, folder=tmp_path)
