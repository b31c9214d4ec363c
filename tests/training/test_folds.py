from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from defectkit.config import load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.errors import ConfigError, DatasetError
from defectkit.files import write_json
from defectkit.seals import add_seal
from defectkit.training.folds import (
    check_no_fold,
    config_of_fold,
    config_of_last,
    describe_folds,
    folds_reserve,
    make_folds,
    max_folds,
    trains_the_same,
)


def record(name: str, *classes: str, group: str = "", split: str = "train") -> ImageRecord:
    return ImageRecord(
        image_id=name, path=Path(name), height=9, width=9, channels=1, sha256="", group=group,
        split=split, rles=dict.fromkeys(classes, "1 1"), regions=(),
    )  # fmt: skip


def dataset_of(*records: ImageRecord) -> Dataset:
    return Dataset(Path("dataset"), {"classes": ["a", "b"]}, records)


def held_out(folds: list[Dataset]) -> list[list[str]]:
    return [[one.image_id for one in fold.split("val")] for fold in folds]


MANY = dataset_of(
    *(record(f"a{index}", "a", group=f"g{index // 2}") for index in range(40)),
    *(record(f"b{index}", "b", split="val") for index in range(7)),
    *(record(f"good{index}", group=f"h{index // 3}") for index in range(90)),
    *(record(f"test{index}", "a", split="test") for index in range(5)),
)


def test_every_image_but_those_of_test_is_held_out_once_with_its_group():
    folds = make_folds(MANY, 5, seed=0)
    names = [name for fold in held_out(folds) for name in fold]
    assert sorted(names) == sorted(one.image_id for one in MANY.records if one.split != "test")
    for fold in folds:
        assert [one.image_id for one in fold.records] == [one.image_id for one in MANY.records]
        assert {one.image_id for one in fold.split("test")} == {f"test{n}" for n in range(5)}
        groups = [{one.group for one in fold.split(split)} - {""} for split in ("train", "val")]
        assert not groups[0] & groups[1]


def test_folds_have_equal_shares_of_all_kinds():
    for fold in make_folds(MANY, 5, seed=0):
        kinds = Counter(min(one.rles, default="good") for one in fold.split("val"))
        assert 6 <= kinds["a"] <= 10
        assert 1 <= kinds["b"] <= 2
        assert 15 <= kinds["good"] <= 21


def test_the_seed_and_the_images_decide_and_not_their_order():
    one, same, other = (held_out(make_folds(MANY, 4, seed=seed)) for seed in (0, 0, 1))
    assert one == same != other
    turned = dataset_of(*MANY.records[::-1])
    assert [sorted(fold) for fold in held_out(make_folds(turned, 4, seed=0))] == [
        sorted(fold) for fold in one
    ]


@given(
    groups=st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", ""])), min_size=2, max_size=40
    ),
    count=st.integers(2, 20),
    seed=st.integers(0, 9),
)
def test_each_fold_has_a_defective_image_or_so_many_folds_are_refused(groups, count, seed):
    records = [
        record(f"{number}-{index}", *kind, group=f"g{number}")
        for number, (size, kind) in enumerate(groups)
        for index in range(size)
    ]
    possible = max_folds(records)
    assert possible == sum(bool(kind) for _, kind in groups)
    if count > possible:
        with pytest.raises(ConfigError, match=f"--folds {count} needs as many groups"):
            make_folds(dataset_of(*records), count, seed=seed)
        return
    for fold in make_folds(dataset_of(*records), count, seed=seed):
        assert any(one.defective for one in fold.split("val"))


def test_too_many_folds_are_refused_with_the_number_that_is_possible():
    few = dataset_of(record("a", "a"), record("b", "a"), record("c", "a", group="g"),
                     record("d", "b", group="g"), record("good"))  # fmt: skip
    with pytest.raises(ConfigError, match=r"training and validation have 3\. Give at most --fo"):
        make_folds(few, 4, seed=0)
    assert len(make_folds(few, 3, seed=0)) == 3
    with pytest.raises(ConfigError, match=r"have 1\. Train without --folds"):
        make_folds(dataset_of(record("a", "a"), record("good")), 2, seed=0)


def test_no_fold_is_left_without_a_defective_image_for_the_sake_of_even_classes():
    sizes = {"a": (9, 9, 1), "b": (1,)}
    records = [
        record(f"{kind}{number}-{index}", kind, group=f"{kind}{number}")
        for kind, groups in sizes.items()
        for number, size in enumerate(groups)
        for index in range(size)
    ]
    for seed in range(20):
        for fold in make_folds(dataset_of(*records), 4, seed=seed):
            assert any(one.defective for one in fold.split("val"))


def test_they_are_as_even_as_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 8, 60)
    records = [
        record(f"{number}-{index}", *(["a"] if number % 5 == 0 else []), group=f"g{number}")
        for number, size in enumerate(sizes)
        for index in range(size)
    ]
    truth = np.array([one.defective for one in records])
    theirs = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(
        records, truth, [one.group for one in records]
    )

    def unevenness(shares: list[float]) -> float:
        return float(np.std(shares))

    ours = [
        np.mean([one.defective for one in fold.split("val")])
        for fold in make_folds(dataset_of(*records), 5, seed=0)
    ]
    assert unevenness(ours) <= unevenness([truth[held].mean() for _, held in theirs]) + 0.02


def test_the_time_is_that_of_all_trainings_together():
    config = load_config(None, ["train.folds=4", "train.max_time=100"])
    own = config_of_fold(config, validation_seconds=10.0)
    assert (own.train.folds, own.train.max_time) == (None, 16 + 10 / 4)
    last = config_of_last(config, validation_seconds=10.0, samples_per_epoch=150)
    assert (last.train.folds, last.train.max_time, last.train.samples_per_epoch) == (4, 26.0, 150)
    assert 4 * own.train.max_time + last.train.max_time == 100
    assert folds_reserve(10.0) == 20.0
    endless = load_config(None, ["train.folds=4", "train.epochs=7"])
    without = config_of_fold(endless, validation_seconds=10.0)
    assert (without.train.max_time, without.train.epochs) == (None, 7)


def test_what_is_to_be_known_names_the_number():
    assert "chosen by 4 other networks" in describe_folds(4)


def test_a_fold_is_trained_again_for_what_changes_its_training_alone():
    def settings(*changes: str) -> dict:
        return load_config(None, changes).model_dump(mode="json")

    assert trains_the_same(settings(), settings("device=cpu", "data.workers=3"))
    assert not trains_the_same(settings(), settings("train.epochs=99"))
    assert not trains_the_same({}, settings())


def test_a_fold_is_known_by_its_place(tmp_path):
    fold, record = tmp_path / "run" / "folds" / "fold-1", tmp_path / "run" / "run.json"
    fold.mkdir(parents=True)
    check_no_fold(fold)  # of nothing
    (tmp_path / "run" / "config.yaml").touch()
    for content in ([], {}, {"config": []}, {"config": {"train": {"folds": None}}}):
        write_json(record, add_seal(content) if content else content)
        check_no_fold(fold)  # of a run without folds, or of none that is known
    write_json(record, add_seal({"config": {"train": {"folds": 3}}}))
    check_no_fold(tmp_path / "run")
    for name in ("other", "fold-x", "fold-1b"):
        check_no_fold(fold.parent / name)
    message = rf"fold-1 is the training of a fold of {tmp_path}/run: .* Name {tmp_path}/run; out_of"
    with pytest.raises(DatasetError, match=message):
        check_no_fold(fold)
