import itertools
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from defectkit.errors import DatasetError
from defectkit.preparation.splits import SplitAssignment, assign_splits, parse_split
from defectkit.vocabulary import SPLITS

USUAL = (0.7, 0.15, 0.15)

images = st.lists(
    st.tuples(st.integers(0, 15).map(str), st.frozensets(st.sampled_from("abc"), max_size=2)),
    min_size=1,
    max_size=60,
)


def split(rows, *, fractions=USUAL, seed=0, user_splits=None) -> SplitAssignment:
    return assign_splits(
        groups=[group for group, _ in rows],
        classes=[classes for _, classes in rows],
        fractions=fractions,
        seed=seed,
        given=user_splits,
    )


def singletons(*, good: int, **per_class: int):
    classes = [frozenset()] * good
    for class_id, count in per_class.items():
        classes += [frozenset({class_id})] * count
    return [(f"g{index}", held) for index, held in enumerate(classes)]


def states_by_split(rows, splits) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {name: set() for name in SPLITS}
    for (_, classes), name in zip(rows, splits, strict=True):
        found[name].add(bool(classes))
    return found


@given(rows=images, seed=st.integers(0, 5))
def test_every_image_has_a_split_and_groups_stay_whole(rows, seed):
    try:
        plan = split(rows, seed=seed)
    except DatasetError:
        assume(False)
    assert len(plan.splits) == len(rows)
    assert set(plan.splits) <= set(SPLITS)
    by_group: dict[str, set[str]] = {}
    for (group, _), name in zip(rows, plan.splits, strict=True):
        by_group.setdefault(group, set()).add(name)
    assert all(len(names) == 1 for names in by_group.values())


@given(rows=images, data=st.data())
def test_neither_repetition_nor_the_order_of_images_changes_anything(rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    try:
        plan = split(rows)
    except DatasetError:
        assume(False)
    assert split(rows) == plan
    shuffled = split([rows[index] for index in order])
    assert shuffled.splits == tuple(plan.splits[index] for index in order)
    assert shuffled.warnings == plan.warnings


def test_the_seed_changes_the_split():
    rows = singletons(good=60, scratch=30)
    assert len({split(rows, seed=seed).splits for seed in range(5)}) == 5


@given(
    good=st.integers(20, 200),
    scratch=st.integers(20, 100),
    dent=st.integers(20, 60),
    seed=st.integers(0, 3),
)
@settings(max_examples=40)
def test_fractions_hold_overall_and_for_each_class_of_single_images(good, scratch, dent, seed):
    rows = singletons(good=good, scratch=scratch, dent=dent)
    plan = split(rows, seed=seed)
    for name, fraction in zip(SPLITS, USUAL, strict=True):
        part = [held for (_, held), found in zip(rows, plan.splits, strict=True) if found == name]
        assert abs(len(part) - fraction * len(rows)) <= 1.5 + 1e-9  # half an image of each kind
        counts = Counter(class_id for held in part for class_id in held)
        for class_id, total in (("scratch", scratch), ("dent", dent)):
            assert abs(counts[class_id] - fraction * total) <= 1.5 + 1e-9
    assert plan.warnings == ()


def test_fractions_hold_for_groups_of_uneven_sizes():
    rng = np.random.default_rng(3)
    rows = []
    for group in range(150):
        held = [frozenset("abc"[rng.integers(3)]) if rng.random() < 0.3 else frozenset()]
        rows += [(str(group), held[0])] * int(rng.integers(1, 12))
    plan = split(rows)
    for name, fraction in zip(SPLITS, USUAL, strict=True):
        part = [held for (_, held), found in zip(rows, plan.splits, strict=True) if found == name]
        assert len(part) / len(rows) == pytest.approx(fraction, abs=0.02)
        for class_id in "abc":
            total = sum(class_id in held for _, held in rows)
            count = sum(class_id in held for held in part)
            assert count / total == pytest.approx(fraction, abs=0.08)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5).map(str), st.sampled_from([frozenset(), frozenset("a")])),
        min_size=6,
        max_size=16,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_split_is_refused_that_can_be_made(rows):
    groups = sorted({group for group, _ in rows})
    possible = any(
        all(
            states == {True, False}
            for states in states_by_split(
                rows, [dict(zip(groups, names, strict=True))[group] for group, _ in rows]
            ).values()
        )
        for names in itertools.product(SPLITS, repeat=len(groups))
    )
    try:
        found = states_by_split(rows, split(rows).splits)
    except DatasetError:
        assert not possible
        return
    if len({bool(classes) for _, classes in rows}) == 2:
        assert found["val"] == found["test"] == {True, False}


@pytest.mark.parametrize(
    ("good", "defective", "missing"), [(30, 2, "defective"), (2, 30, "good"), (30, 1, "defective")]
)
def test_validation_or_test_without_a_state_that_the_data_have_is_refused(good, defective, missing):
    with pytest.raises(
        DatasetError,
        match=rf"the (val|test) split would have no {missing} images: the data have "
        rf"{min(good, defective)}, in {min(good, defective)} groups?\. Add {missing} images",
    ):
        split(singletons(good=good, a=defective))


@pytest.mark.parametrize("rows", [singletons(good=9), singletons(good=0, a=9)])
def test_one_sided_data_are_not_refused(rows):
    assert set(split(rows).splits) == set(SPLITS)


def test_a_split_with_fraction_0_stays_empty_and_is_not_missed():
    plan = split(singletons(good=20, a=10), fractions=(0.8, 0.2, 0.0))
    assert Counter(plan.splits) == {"train": 24, "val": 6}
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("rare", "reached", "missed"), [(1, {"train"}, "val and test"), (2, {"train", "test"}, "val")]
)
def test_a_class_that_cannot_reach_every_split_is_named(rare, reached, missed):
    rows = singletons(good=40, common=20, rare=rare)
    plan = split(rows)
    assert {
        name for (_, held), name in zip(rows, plan.splits, strict=True) if "rare" in held
    } == reached
    assert plan.warnings == (
        f"class rare is in {rare} images of {rare} groups and is missing in {missed}",
    )


def test_a_class_in_three_groups_reaches_every_split():
    rows = singletons(good=40, common=20, rare=3)
    assert split(rows).warnings == ()


def test_given_splits_are_kept_and_the_rest_is_filled_up_around_them():
    rows = singletons(good=60, a=40)
    user = ["test"] * 6 + [""] * 94
    plan = split(rows, user_splits=user)
    assert plan.splits[:6] == ("test",) * 6
    assert Counter(plan.splits) == {"train": 70, "val": 15, "test": 15}


def test_images_without_a_given_split_among_others_are_counted():
    arguments = {"classes": [["1"], []] * 6, "fractions": (0.5, 0.25, 0.25), "seed": 0}
    groups = [str(index) for index in range(12)]
    some = assign_splits(groups=groups, given=["train", *[""] * 11], **arguments)
    assert "11 images have no given split; --split assigns them" in some.warnings
    assert not assign_splits(groups=groups, **arguments).warnings


def test_images_follow_the_given_split_of_their_group():
    rows = [("part", frozenset("a")), ("part", frozenset()), *singletons(good=20, a=10)]
    plan = split(rows, user_splits=["val", *[""] * 31])
    assert plan.splits[:2] == ("val", "val")


def test_a_complete_given_split_is_taken_as_it_is():
    rows = singletons(good=4, a=4)
    user = ["train", "train", "train", "val"] * 2
    plan = split(rows, user_splits=user)
    assert plan.splits == tuple(user)
    assert plan.warnings == (
        "the given split has no test images: evaluate with --split val, whose results are too "
        "good, since the thresholds are chosen on it, or give some images the split test",
    )


def test_a_given_split_of_training_and_test_gets_its_validation_from_training_groups():
    rows = [(f"g{n // 2}", frozenset("a") if n % 4 < 2 else frozenset()) for n in range(120)]
    user = ["train"] * 80 + ["test"] * 40
    plan = split(rows, user_splits=user)
    assert plan.splits[80:] == ("test",) * 40
    assert Counter(plan.splits) == {"train": 66, "val": 14, "test": 40}
    by_group = dict(zip((group for group, _ in rows), plan.splits, strict=True))
    assert all(by_group[group] == name for (group, _), name in zip(rows, plan.splits, strict=True))
    assert states_by_split(rows, plan.splits)["val"] == {True, False}
    (warning,) = plan.warnings
    assert re.match(
        r"the given split has no val images: 14 of its 80 train images \(\d defective, \d good\), "
        r"in whole groups, were moved to val \(--split sets how many, --seed which\)",
        warning,
    )
    assert split(rows, user_splits=user, seed=1).splits != plan.splits
    other = split(rows, user_splits=user, fractions=(0.5, 0.5, 0))
    assert Counter(other.splits) == {"train": 40, "val": 40, "test": 40}
    kept = split(rows, user_splits=user, fractions=(1, 0, 0))
    assert kept.splits == tuple(user)


def test_a_given_training_split_with_one_defect_still_gets_its_validation():
    rows = [*singletons(good=30, a=1), ("t", frozenset("a")), ("u", frozenset())]
    plan = split(rows, user_splits=["train"] * 31 + ["test"] * 2)
    assert 3 <= Counter(plan.splits)["val"] <= 7
    assert plan.splits[30] == "train"
    assert any("class a is in 2 images" in warning for warning in plan.warnings)


def test_training_images_of_one_group_cannot_be_divided():
    rows = [("one", frozenset("a")), ("one", frozenset()), *singletons(good=2, a=2)]
    plan = split(rows, user_splits=["train"] * 2 + ["test"] * 4)
    assert plan.splits == ("train", "train", *["test"] * 4)
    assert plan.warnings == (
        "the given split has no val images, and no group of train images to spare",
    )


def test_a_given_split_without_training_is_said_to_be_of_no_use():
    plan = split(singletons(good=2, a=2), user_splits=["val", "test"] * 2)
    assert plan.warnings == ("the given split has no train images: nothing can be trained",)


def test_a_given_split_that_divides_a_group_is_refused():
    rows = [("part", frozenset("a")), ("part", frozenset()), *singletons(good=20, a=10)]
    with pytest.raises(
        DatasetError,
        match=r"the given split divides 1 of 31 groups; the first, 'part', has images in test and "
        r"train\. Images of one group look alike",
    ):
        split(rows, user_splits=["train", "test", *[""] * 30])


def test_an_unknown_given_split_is_refused():
    with pytest.raises(DatasetError, match=r"unknown split 'valid'\. Write train, val or test"):
        split(singletons(good=2), user_splits=["train", "valid"])


def test_no_image_gives_an_empty_plan():
    assert split([]) == SplitAssignment((), ())


def test_many_images_are_split_in_seconds():
    rng = np.random.default_rng(0)
    rows = [
        (str(index), frozenset("abcd"[k] for k in np.flatnonzero(rng.random(4) < 0.05)))
        for index in range(20_000)
    ]
    assert Counter(split(rows).splits) == {"train": 14_000, "val": 3_000, "test": 3_000}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.7/0.15/0.15", (0.7, 0.15, 0.15)), ("80/20/0", (0.8, 0.2, 0)), ("0/0/1", (0, 0, 1))],
)
def test_fractions_are_read(text, expected):
    assert parse_split(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.7/0.3", "is not three numbers"),
        ("a/b/c", "is not three numbers"),
        ("", "is not three numbers"),
        ("1.2/-0.1/-0.1", "is not three numbers from 0 up"),
        ("nan/0.5/0.5", "is not three numbers"),
        ("0.7/0.2/0.2", "sums to 1.1, not to 1"),
        ("0/0/0", "sums to 0, not to 1"),
    ],
)
def test_bad_fractions_are_refused(text, problem):
    with pytest.raises(DatasetError, match=rf"--split {text} {problem}.*such as 0\.7/0\.15/0\.15"):
        parse_split(text)
