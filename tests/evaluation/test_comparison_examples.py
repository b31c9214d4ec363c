"""The pictures must show every class, what is disputed, what is plain, and good images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from defectkit.evaluation.comparison_examples import choose_examples
from defectkit.evaluation.evaluation_result import EvaluationResult


def result(hits, outcomes, *, true=None):
    count = len(hits)
    true = np.full(count, 10) if true is None else true
    nothing = np.zeros(count, np.int64)
    return EvaluationResult(
        name="",
        metrics={},
        image_ids=tuple(f"{n:03d}" for n in range(count)),
        groups=tuple(f"{n:03d}" for n in range(count)),
        defective=true > 0,
        scores=np.zeros(count),
        outcomes=tuple(outcomes),
        pixels=np.array([true, true, np.asarray(hits)]),
        regions=np.array([nothing, nothing]),
        false_alarms=nothing,
    )


def pair(count, disputed=()):
    """Two runs that agree but on the images in ``disputed``, which are split in verdict."""
    hits = np.full(count, 5)
    other = ["escape" if n in disputed else "hit" for n in range(count)]
    return [result(hits, ["hit"] * count), result(hits, other)]


def test_all_classes_and_good_images_are_shown():
    classes = {f"{n:03d}": [str(n % 3)] if n % 4 else [] for n in range(60)}
    chosen = choose_examples(pair(60), classes)
    assert len(set(chosen)) == 12
    kinds = [classes[name] for name in chosen]
    assert [kinds.count(kind) for kind in ([], ["0"], ["1"], ["2"])] == [3, 3, 3, 3]
    assert kinds == sorted(kinds, key=lambda kind: kind or ["9"]), "good ones come last"


def test_a_rare_class_is_not_lost():
    classes = {f"{n:03d}": ["common"] for n in range(50)} | {"049": ["rare"]}
    assert "049" in choose_examples(pair(50), classes)


def test_half_of_the_examples_are_images_on_which_the_runs_disagree():
    disputed = {3, 11, 29, 30, 31, 33, 35, 37}
    classes = {f"{n:03d}": ["1"] for n in range(40)}
    chosen = {int(name) for name in choose_examples(pair(40, disputed), classes)}
    assert len(chosen) == 12
    assert len(chosen & disputed) == 6


def test_a_difference_in_dice_is_a_disagreement_too():
    hits = np.full(30, 5)
    other = hits.copy()
    other[17] = 9
    runs = [result(hits, ["hit"] * 30), result(other, ["hit"] * 30)]
    classes = {f"{n:03d}": ["1"] for n in range(30)}
    assert choose_examples(runs, classes, count=1) == ["017"]


def test_where_there_are_few_defective_images_good_ones_take_their_place_and_the_reverse():
    few = {f"{n:03d}": ["1"] if n < 2 else [] for n in range(30)}
    assert sum(bool(few[name]) for name in choose_examples(pair(30), few)) == 2
    all_defective = {name: ["1"] for name in few}
    assert len(choose_examples(pair(30), all_defective)) == 12
    assert choose_examples(pair(3), {f"{n:03d}": [] for n in range(3)}) == ["000", "002", "001"]


@given(
    st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=30),
    st.integers(1, 14),
    st.sets(st.integers(0, 29)),
)
def test_no_image_is_chosen_twice_and_as_many_as_asked_for(kinds, count, disputed):
    classes = {f"{n:03d}": sorted(kind) for n, kind in enumerate(kinds)}
    runs = pair(len(kinds), disputed)
    chosen = choose_examples(runs, classes, count=count)
    assert len(chosen) == len(set(chosen)) == min(count, len(kinds))
    assert chosen == choose_examples(runs, classes, count=count)
