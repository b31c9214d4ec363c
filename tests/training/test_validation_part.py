from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectkit.data.dataset import ImageRecord
from defectkit.training.validation_part import (
    ALWAYS_ALLOWED,
    FEWEST_OF_A_KIND,
    MAX_SHARE,
    ValidationPlan,
    choose_part,
    plan_validation,
)


def record(name: str, *classes: str, group: str = "") -> ImageRecord:
    return ImageRecord(
        image_id=name, path=Path(name), height=9, width=9, channels=1, sha256="", group=group,
        split="val", rles=dict.fromkeys(classes, "1 1"), regions=(),
    )  # fmt: skip


def split(defective: int, good: int) -> list[ImageRecord]:
    return [
        *(record(f"a{index}", "a") for index in range(defective)),
        *(record(f"good{index}") for index in range(good)),
    ]


def total(plan: ValidationPlan, records: list[ImageRecord], image_seconds: float, epochs: int):
    """The seconds of all validations of a training, the last one of all images included."""
    due = {epoch for epoch in range(1, epochs + 1) if plan.is_due(epoch)} | {epochs}
    whole = len(records) * image_seconds * (plan.images < len(records))
    return len(due) * plan.images * image_seconds + whole


def test_where_it_costs_little_all_images_are_validated_after_each_epoch():
    records = split(30, 70)
    plan = plan_validation(records, image_seconds=0.01, epoch_seconds=20.0, epochs=30)
    assert plan == ValidationPlan(images=100, every=1)
    short = plan_validation(records, image_seconds=0.02, epoch_seconds=0.5, epochs=4)
    assert short == ValidationPlan(images=100, every=1)  # 8 of 10 seconds that are always allowed
    only = plan_validation(records, image_seconds=9.0, epoch_seconds=9.0, epochs=1)
    assert only == ValidationPlan(images=100, every=1)  # it is the last one, too


def test_else_a_part_is_and_if_that_is_too_much_after_some_epochs():
    records = split(30, 70)
    # 60 of 600 seconds, 10 of them for all images at the end, and 30 epochs.
    part = plan_validation(records, image_seconds=0.1, epoch_seconds=20.0, epochs=30)
    assert part == ValidationPlan(images=16 + 4, every=1 + 1)
    longer = plan_validation(records, image_seconds=0.1, epoch_seconds=30.0, epochs=30)
    assert longer == ValidationPlan(images=26, every=1)
    rare = plan_validation(records, image_seconds=1.0, epoch_seconds=20.0, epochs=30)
    assert rare == ValidationPlan(images=20, every=29)
    assert [epoch for epoch in range(1, 31) if rare.is_due(epoch)] == [1, 30]


@given(
    defective=st.integers(0, 40), good=st.integers(0, 300), image=st.floats(1e-4, 10.0),
    epoch=st.floats(0.01, 1000.0), epochs=st.integers(1, 200),
)  # fmt: skip
def test_validation_takes_no_more_than_its_share_where_two_of_the_smallest_parts_fit(
    defective, good, image, epoch, epochs
):
    records = split(defective, good)
    if not records:
        return
    plan = plan_validation(records, image_seconds=image, epoch_seconds=epoch, epochs=epochs)
    smallest = min(defective, FEWEST_OF_A_KIND) + min(good, FEWEST_OF_A_KIND)
    assert smallest <= plan.images <= len(records)
    assert plan.every >= 1
    allowed = max(MAX_SHARE * epochs * epoch, ALWAYS_ALLOWED)
    least = (len(records) + 2 * smallest) * image
    assert total(plan, records, image, epochs) <= max(allowed, least) * (1 + 1e-9)


@given(
    defective=st.integers(0, 40), good=st.integers(0, 60), images=st.integers(1, 100),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_a_part_has_its_size_and_enough_of_both_kinds(defective, good, images, seed):
    records = split(defective, good)
    fewest = min(defective, FEWEST_OF_A_KIND), min(good, FEWEST_OF_A_KIND)
    images = min(max(images, sum(fewest), 1), len(records))
    if not records:
        return
    part = choose_part(records, images, seed=seed)
    assert len(part) == images
    kinds = Counter(one.defective for one in part)
    assert kinds[True] >= fewest[0]
    assert kinds[False] >= fewest[1]
    assert part == [one for one in records if one in part], "in the order of the split"
    assert part == choose_part(records[::-1], images, seed=seed)[::-1], "by ids, not by order"


def test_the_seed_decides_and_the_shares_are_those_of_the_split():
    records = split(50, 150)
    one, same, other = (choose_part(records, 80, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert sum(record.defective for record in one) == 20


def test_rare_classes_and_all_groups_are_in_a_part():
    records = [
        *(record(f"a{index}", "a") for index in range(40)),
        *(record(f"b{index}", "b") for index in range(3)),
        record("both", "a", "b"),
        *(record(f"many{index}", group="many") for index in range(60)),
        *(record(f"single{index}", group=f"single{index}") for index in range(10)),
    ]
    part = choose_part(records, 21, seed=0)
    names = {one.image_id for one in part}
    assert {"b0", "b1", "b2"} <= names
    assert sum(name.startswith("many") for name in names) == 1
    assert sum(name.startswith("single") for name in names) == 10


@pytest.mark.parametrize("kind", [True, False])
def test_a_split_of_one_kind_has_a_part_too(kind):
    records = split(40, 0) if kind else split(0, 40)
    assert len(choose_part(records, 10, seed=0)) == 10
