from pathlib import Path

import pytest

from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.prepared_image import split_images

HALVES = (0.5, 0.25, 0.25)


def facts(name, *classes):
    return ImageFacts(image_id=name, path=Path(name), rles=dict.fromkeys(classes, "1 1"))


def split(images, *, groups=None, given=None):
    names = [image.image_id for image in images]
    return split_images(
        images,
        groups or {name: name for name in names},
        {**dict.fromkeys(names, ""), **(given or {})},
        fractions=HALVES,
        seed=0,
    )


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
