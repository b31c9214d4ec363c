from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.preparation.leaks.pairs import (
    Leak,
    equal_files_with_different_labels,
    find_equal_files,
    join_groups,
)

names = st.integers(0, 12).map(str)


def leak(a: str, b: str, *, joined: bool = True) -> Leak:
    return Leak(image_id_a=a, image_id_b=b, kind="exact", similarity=1.0, joined=joined)


def test_each_copy_is_paired_with_the_first_of_its_kind():
    assert find_equal_files(zip("abcde", ["aa", "bb", "aa", "aa", "bb"], strict=True)) == [
        leak("a", "c"),
        leak("a", "d"),
        leak("b", "e"),
    ]
    assert find_equal_files([]) == []


def test_groups_of_copies_become_one_under_the_first_name_however_long_the_chain():
    groups = {"a": "g1", "b": "g2", "c": "g3", "d": "g3", "e": "g4"}
    leaks = [leak("a", "b"), leak("b", "c")]
    joined = {"a": "g1", "b": "g1", "c": "g1", "d": "g1", "e": "g4"}
    assert join_groups(groups, leaks) == (joined, leaks)


@pytest.mark.check(4)
def test_groups_in_different_given_splits_are_not_joined_by_whatever_way():
    groups = {name: name for name in "abcd"}
    given = {"a": "", "b": "train", "c": "test", "d": ""}
    leaks = [leak("a", "b"), leak("a", "c"), leak("c", "d"), leak("b", "d")]
    joined, leaks_after = join_groups(groups, leaks, given)
    assert joined == {"a": "a", "b": "a", "c": "c", "d": "c"}
    assert [one.joined for one in leaks_after] == [True, False, True, False]


def test_only_the_groups_of_some_kinds_may_be_joined():
    groups = {name: name for name in "abc"}
    near = replace(leak("b", "c"), kind="near")
    joined, leaks = join_groups(groups, [leak("a", "b"), near], kinds=["exact"])
    assert joined == {"a": "a", "b": "a", "c": "c"}
    assert [one.joined for one in leaks] == [True, False]


@given(
    groups=st.dictionaries(names, st.sampled_from("abcdefgh"), min_size=1),
    pairs=st.lists(st.tuples(names, names)),
)
def test_joined_groups_are_the_closure_of_groups_and_pairs(groups, pairs):
    leaks = [leak(a, b) for a, b in pairs if a in groups and b in groups]
    expected = dict(groups)
    for _ in expected:  # by hand: relabel until nothing changes
        for pair in leaks:
            old, new = expected[pair.image_id_b], expected[pair.image_id_a]
            expected = {key: new if name == old else name for key, name in expected.items()}
    joined, _ = join_groups(groups, leaks)
    for a in groups:
        for b in groups:
            assert (joined[a] == joined[b]) == (expected[a] == expected[b])


def test_copies_with_different_labels_are_found():
    leaks = [leak("a", "b"), leak("a", "c")]
    assert equal_files_with_different_labels(
        leaks, {"a": {"1": "1 2"}, "b": {"1": "1 2"}, "c": {}}
    ) == [leaks[1]]
