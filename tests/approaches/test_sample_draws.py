from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.approaches.sample_draws import HardPlace, SampleDraws, in_turn
from defectkit.config import load_config
from defectkit.data.dataset import ImageRecord
from defectkit.regions import Region


def records_of(**counts: int) -> list[ImageRecord]:
    """So many images of each class, each with two defects; those of ``none`` are good."""
    return [
        ImageRecord(
            image_id=f"{name}-{number}", path=Path("nowhere"), height=9, width=9, channels=1,
            sha256="", group="", split="train",
            rles={} if name == "none" else {name: "1 1 9 1"},
            regions=() if name == "none" else tuple(
                Region(box_xywh=(x, 0, 1, 1), area=1, class_id=name) for x in (0, 8)
            ),
        )
        for name, count in counts.items()
        for number in range(count)
    ]  # fmt: skip


def draws_of(records, *settings: str, per_epoch: int = 40) -> SampleDraws:
    return SampleDraws(load_config(None, settings), records, ("a", "b"), per_epoch=per_epoch)


def drawn(draws: SampleDraws, count: int):
    return [draws.draw(divmod(number, draws.per_epoch)) for number in range(count)]


@given(count=st.integers(1, 60), cycles=st.integers(1, 4), seed=st.integers(0, 5))
def test_all_come_once_before_any_comes_again(count, cycles, seed):
    turns = [in_turn(number, count, (seed,)) for number in range(cycles * count)]
    for cycle in range(cycles):
        own = turns[cycle * count : (cycle + 1) * count]
        assert {turn[0] for turn in own} == {cycle}
        assert sorted(turn[1] for turn in own) == list(range(count))


def test_the_order_is_another_each_time_and_follows_the_key():
    turns = [in_turn(number, 50, (1,))[1] for number in range(150)]
    assert turns[:50] != turns[50:100] != turns[100:]
    assert turns == [in_turn(number, 50, (1,))[1] for number in range(150)]
    assert turns != [in_turn(number, 50, (2,))[1] for number in range(150)]
    assert np.corrcoef(turns[:50], range(50))[0, 1] < 0.5


def test_images_come_equally_often_over_epochs_both_near_defects_and_anywhere():
    records = records_of(a=7, none=13)
    draws = draws_of(records, per_epoch=8)
    for epochs in (5, 50):
        all_of_them = drawn(draws, 8 * epochs)
        for near in (True, False):
            own = [draw for draw in all_of_them if (draw.class_id is not None) == near]
            images = Counter(draw.record.image_id for draw in own)
            assert len(own) == 4 * epochs
            assert len(images) == (7 if near else 20)
            assert max(images.values()) - min(images.values()) <= 1
            for image_id in images:
                visits = [draw.visit for draw in own if draw.record.image_id == image_id]
                assert visits == list(range(len(visits)))


@given(st.floats(0, 1), st.integers(1, 300))
def test_the_asked_fraction_is_near_a_defect_within_one_sample(fraction, count):
    draws = draws_of(records_of(a=3, none=4), f"data.defect_fraction={fraction}")
    near = sum(draw.class_id is not None for draw in drawn(draws, count))
    assert abs(near - fraction * count) < 1


@pytest.mark.parametrize(("balance", "share"), [(0, 0.1), (0.5, 0.25), (1, 0.5)])
def test_rare_classes_come_as_often_as_wanted(balance, share):
    draws = draws_of(
        records_of(a=90, b=10), "data.defect_fraction=1", f"data.class_balance={balance:.1f}"
    )
    rare = [draw.class_id == "b" for draw in drawn(draws, 1002)]
    assert np.mean(rare) == pytest.approx(share, abs=0.002)
    # Not all at once.
    assert np.mean(rare[:500]) == pytest.approx(share, abs=0.06)


def test_each_defect_of_an_image_and_each_part_comes_equally_often():
    draws = draws_of(records_of(a=3), "data.defect_fraction=0.5")
    all_of_them = drawn(draws, 240)
    regions = Counter(
        (draw.record.image_id, draw.region.box_xywh)
        for draw in all_of_them
        if draw.class_id is not None
    )
    assert set(regions.values()) == {20}
    assert len(regions) == 6
    parts = Counter(
        (draw.record.image_id, draw.turn(4)) for draw in all_of_them if draw.class_id is None
    )
    assert set(parts.values()) == {10}
    assert len(parts) == 12


def test_the_seed_changes_what_is_drawn():
    records = records_of(a=9, none=30)
    ids = [
        [draw.record.image_id for draw in drawn(draws_of(records, f"seed={seed}"), 60)]
        for seed in (0, 0, 1)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_classes_without_an_image_and_data_without_a_defect_are_no_fault():
    near = {draw.class_id for draw in drawn(draws_of(records_of(b=2, none=2)), 20)}
    assert near == {"b", None}
    near = {draw.class_id for draw in drawn(draws_of(records_of(none=3)), 20)}
    assert near == {None}


def test_hard_places_take_no_image_its_turn():
    records = records_of(a=4, none=9)
    draws = draws_of(records, "data.hard_negatives=0.5", "data.defect_fraction=0")
    place = HardPlace("a-0", 1, 1, 0.5)
    for keys in (
        [(*divmod(number, 40), place) for number in range(2 * 13)],  # half of them there
        [divmod(number, 40) for number in range(2 * 13)],  # before a place is known
    ):
        plain = [draw for draw in map(draws.draw, keys) if draw.place is None]
        kinds = [plain] if len(plain) == 13 else [plain[::2], plain[1::2]]
        for kind in kinds:
            assert len({draw.record.image_id for draw in kind}) == len(kind) == 13


@pytest.mark.parametrize(
    "settings",
    [
        ["approach=patch"],
        ["data.resize=64"],
        ["approach=box", "model.architecture=localizer"],
    ],
)
def test_samples_that_are_no_crops_have_no_places_and_no_injected_defect(settings):
    more = ("data.hard_negatives=0.5", "data.injection=0.5", "data.defect_fraction=0")
    draws, plain = (draws_of(records_of(a=4, none=9), *settings, *m) for m in (more, more[2:]))
    place = HardPlace("a-0", 1, 1, 0.5)
    keys = [(*divmod(number, 40), place) for number in range(40)]
    assert [draws.draw(key) for key in keys] == [plain.draw(key) for key in keys]
