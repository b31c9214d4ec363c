from dataclasses import replace
from pathlib import Path

import pytest

from defectkit.data.image_measures import ImageMeasures
from defectkit.errors import DatasetError
from defectkit.preparation.grouping import Grouping
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.find import LeakSearch
from defectkit.preparation.prepared_image import measure_dataset, split_images

HALVES = (0.5, 0.25, 0.25)


def facts(name, *classes):
    return ImageFacts(image_id=name, path=Path(name), rles=dict.fromkeys(classes, "1 1"))


def split(images, *, groups=None, given=None, fractions=HALVES):
    named = {image.image_id: image.image_id for image in images}
    grouping = Grouping(
        named=named,
        n_without_group=0,
        proposal=None,
        given={**dict.fromkeys(named, ""), **(given or {})},
        search=LeakSearch(leaks=()),
        leaks=[],
        contradictions=[],
        joined=groups or named,
    )
    return split_images(images, grouping, fractions=fractions, seed=0)


MIXED = [facts(f"{n}", *(["1"] if n % 2 else [])) for n in range(40)]


def test_every_image_gets_its_group_and_a_split():
    prepared, warnings = split(MIXED)
    assert [one.facts for one in prepared] == MIXED
    assert [one.group for one in prepared] == [image.image_id for image in MIXED]
    counts = [[one.split for one in prepared].count(name) for name in ("train", "val", "test")]
    assert counts == [20, 10, 10]
    assert warnings == []


def test_a_group_stays_together_and_a_given_split_is_kept():
    groups = {image.image_id: str(int(image.image_id) // 4) for image in MIXED}
    prepared, _ = split(MIXED, groups=groups, given={"0": "test"})
    by_group = {}
    for one in prepared:
        by_group.setdefault(one.group, set()).add(one.split)
    assert all(len(splits) == 1 for splits in by_group.values())
    assert by_group["0"] == {"test"}


@pytest.mark.parametrize(("classes", "missing"), [(["1"], "good"), ([], "defective")])
def test_images_of_one_kind_alone_are_warned_of(classes, missing):
    _, warnings = split([facts(f"{n}", *classes) for n in range(12)])
    assert warnings[0] == f"the data have no {missing} images"


@pytest.mark.parametrize(
    ("fractions", "absent"),
    [((0, 0, 1), "train or val"), ((1, 0, 0), "val"), ((0, 1, 0), "train"), ((0.5, 0.5, 0), "")],
)
def test_splits_without_which_nothing_can_be_trained_are_warned_of(fractions, absent):
    _, warnings = split(MIXED, fractions=fractions)
    expected = [f"no image is in {absent}: nothing can be trained"] if absent else []
    assert warnings == expected


@pytest.mark.check(60)
def test_a_refused_split_knows_of_the_groups_that_were_joined():
    everything = dict.fromkeys((image.image_id for image in MIXED), "one")
    with pytest.raises(DatasetError, match=r"in 1 group\. There were 20 before .* --allow-leaks"):
        split(MIXED, groups=everything)


def test_facts_are_those_of_the_images_with_their_splits_and_none_without_training_images():
    prepared, _ = split(MIXED)
    size = {"height": 4, "width": 6, "measures": ImageMeasures(layout=bytes(256))}
    sized = [replace(one, facts=replace(one.facts, **size)) for one in prepared]
    facts = measure_dataset(sized)
    assert facts.splits["train"].images == 20
    assert facts.classes["1"]["train"] == facts.splits["train"].defective == 10
    assert facts.width.p50 == 6
    assert measure_dataset([replace(one, split="test") for one in sized]) is None
