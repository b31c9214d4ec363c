from pathlib import Path

import numpy as np
import pytest

from defectkit.synthesis.generator import AREA, LINE, MIN_SIZE, synthesize, texture_and_defects
from defectkit.synthesis.textures import FAMILIES

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
INDEX_OF_FAMILY = [
    next(i for i in range(24) if texture_and_defects(i, textures=6)[0] == family)
    for family in range(6)
]
FAMILY_INDEXES = pytest.mark.parametrize(
    "index", INDEX_OF_FAMILY, ids=[family.__name__ for family in FAMILIES]
)


@FAMILY_INDEXES
def test_two_images_of_a_family_are_unlike(index):
    first = synthesize(index, size=256, defects=()).image.ravel().astype(float)
    second = synthesize(index + 24, size=256, defects=()).image.ravel().astype(float)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


@FAMILY_INDEXES
@pytest.mark.parametrize("size", [MIN_SIZE, 257, 512])
def test_texture_has_contrast_and_is_not_clipped(index, size):
    drawn = synthesize(index, size=size, defects=())
    assert drawn.texture == FAMILIES[texture_and_defects(index, textures=6)[0]].__name__
    assert drawn.image.shape == (size, size)
    assert drawn.image.dtype == np.uint8
    assert drawn.masks == {}
    assert 10 <= drawn.image.std() <= 60
    assert np.isin(drawn.image, (0, 255)).mean() < 0.03


@FAMILY_INDEXES
@pytest.mark.parametrize("class_id", [AREA, LINE])
def test_defect_changes_the_mask_and_nothing_else(index, class_id):
    flawed = synthesize(index, defects=(class_id,), difficulty=0)
    good = synthesize(index, defects=())
    (mask,) = flawed.masks.values()
    assert list(flawed.masks) == [class_id]
    change = np.abs(flawed.image.astype(int) - good.image)
    assert change[~mask].max() == 0
    # A loose mask: a line leaves much of it untouched, a patch some.
    touched = (change[mask] > 8).mean()
    assert 0.05 < touched < (0.95 if class_id == AREA else 0.7)
    assert 0.002 < mask.mean() < 0.06


@FAMILY_INDEXES
@pytest.mark.parametrize("class_id", [AREA, LINE])
def test_difficulty_fades_the_defect_alone(index, class_id):
    good = synthesize(index, defects=()).image.astype(int)
    drawn = [synthesize(index, defects=(class_id,), difficulty=d) for d in (0, 0.3, 0.7, 1)]
    (mask, *others) = [image.masks[class_id] for image in drawn]
    assert all((mask == other).all() for other in others)
    changes = [np.abs(image.image - good)[mask].mean() for image in drawn]
    assert all(np.diff(changes) < 0)
    assert 0 < changes[-1] < 0.4 * changes[0]


def test_several_defects_lie_apart():
    both = 0
    for index in range(24):
        masks = synthesize(index, size=MIN_SIZE, defects=(LINE, AREA)).masks
        assert not (masks[LINE] & masks.get(AREA, False)).any()
        both += AREA in masks
    assert both > 12  # So small an image may lack the room.


def test_defects_of_one_class_share_a_mask():
    one, two = (synthesize(0, defects=(LINE,) * count).masks[LINE] for count in (1, 2))
    assert (two & one).sum() == one.sum()
    assert two.sum() > 1.2 * one.sum()


def test_defects_without_room_are_left_out():
    drawn = synthesize(0, size=MIN_SIZE, defects=(AREA,) * 40)
    assert 0.02 < drawn.masks[AREA].mean() < 0.9


def test_some_images_bear_two_defects():
    planned = [i for i in range(240) if texture_and_defects(i, textures=6)[1]]
    lone = sum(len(synthesize(i, size=MIN_SIZE).masks) == 1 for i in planned)
    assert 0.05 < 1 - lone / len(planned) < 0.2  # Half of the second defects have another class.


@pytest.mark.parametrize("textures", range(1, 7))
def test_plan_balances_families_and_classes(textures):
    for start in (0, 5):
        block = [
            texture_and_defects(i, textures=textures) for i in range(start, start + 4 * textures)
        ]
        expected = [(f, c) for f in range(textures) for c in ((), (), (AREA,), (LINE,))]
        assert sorted(block) == sorted(expected)


def test_levels_limit_the_gray_values():
    assert set(np.unique(synthesize(0, levels=16).image)) <= set(range(0, 256, 17))
    assert set(np.unique(synthesize(2, levels=2).image)) == {0, 255}
