from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectkit.config import AugmentConfig
from defectkit.data.injection import (
    MARGIN,
    Patch,
    cut_patch,
    find_place,
    mask_of_region,
    paste,
    turn_patch,
)
from defectkit.regions import label_regions, measure_regions

ALL_COUNT = np.zeros((0, 120, 140), np.uint8)
STILL = AugmentConfig(hflip=0.0, vflip=0.0, rot90=0.0)


def surface(seed: int, *, light: float = 120, channels: int = 1) -> np.ndarray:
    """A noisy surface, (120, 140, C)."""
    noise = np.random.default_rng(seed).normal(light, 6, (120, 140, channels))
    return np.clip(noise, 0, 255).astype(np.uint8)


def scratched(box: tuple[int, int, int, int] = (40, 50, 12, 8), **options: Any) -> Any:
    """A surface with a dark defect of the second of two classes; its masks and its region."""
    image, masks = surface(1, **options), np.zeros((2, 120, 140), np.uint8)
    x, y, width, height = box
    masks[1, y : y + height, x : x + width] = 1
    image[masks[1] > 0] //= 3
    return image, masks, measure_regions(masks[1])[0]


def patch_of(*box: int, **options: Any) -> Patch:
    image, masks, region = scratched(*([box] if box else []), **options)
    patch = cut_patch(image, masks, ALL_COUNT, 1, region)
    assert patch is not None
    return patch


@settings(max_examples=60)
@given(st.data())
def test_a_pasted_defect_is_where_its_mask_is_and_nothing_else_changes(data):
    seed = data.draw(st.integers(0, 10**6), label="seed")
    rng = np.random.default_rng(seed)
    image, masks, _ = scratched(channels=data.draw(st.sampled_from([1, 3])))
    masks[0] = rng.random((120, 140)) > 0.9995  # spots of the other class, some within the margin
    for _ in range(3):
        y, x = rng.integers(0, (100, 120))
        masks[1, y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = 1
    region = data.draw(st.sampled_from(measure_regions(masks[1])), label="region")
    counted = (rng.random((1, 120, 140)) > 0.00005).astype(np.uint8)
    patch = cut_patch(image, masks, counted, 1, region)
    if patch is None:
        return
    area = int(patch.masks.sum())
    assert area >= region.area
    patch = turn_patch(patch, AugmentConfig(), rng)
    host, free = surface(2, channels=image.shape[2]), rng.random((120, 140)) > 0.0005
    truth = (~free).view(np.uint8)[None] * np.array([1, 0, 1], np.uint8)[:, None, None]
    place = find_place(patch, host, free, rng)
    if place is None:
        return
    pasted, labels = paste(patch, host, truth, place)
    new = labels != truth
    assert free[new.any(axis=0)].all()
    assert int(labels[:2].sum()) == int(truth[:2].sum()) + area
    np.testing.assert_array_equal(labels[2], truth[2])  # whatever else there is
    changed = (pasted != host).any(axis=2)
    assert free[changed].all()
    rows, columns = np.nonzero(changed)
    size = patch.alpha.shape
    assert place[0] <= rows.min() <= rows.max() < place[0] + size[0]
    assert place[1] <= columns.min() <= columns.max() < place[1] + size[1]


def test_the_defect_is_the_same_and_the_seam_is_not_seen():
    patch, host = patch_of(), surface(2, light=110)
    place = find_place(patch, host, np.ones((120, 140), bool), np.random.default_rng(0))
    assert place
    pasted, labels = paste(patch, host, np.zeros((2, 120, 140), np.uint8), place)
    assert not labels[0].any()
    assert (
        measure_regions(labels[1])[0].box_xywh[2:] == (12 + 4, 8 + 4)[:2] or labels[1].sum() >= 96
    )
    inside = labels[1] > 0
    assert pasted[inside].mean() < 70
    ring = ~inside & (pasted != host).any(axis=2)
    assert ring.sum() > 200
    assert pasted[ring].mean() == pytest.approx(host[ring].mean(), abs=8)
    assert host[0, 0] == surface(2, light=110)[0, 0]  # not written to


@pytest.mark.parametrize(("light", "found"), [(120, True), (90, True), (30, False)])
def test_a_place_has_about_the_same_light(light, found):
    everywhere = np.ones((120, 140), bool)
    place = find_place(patch_of(), surface(2, light=light), everywhere, np.random.default_rng(0))
    assert (place is not None) == found


def test_a_place_looks_like_the_surroundings_of_the_defect():
    """Left is smooth, right has stripes as wide as the ring: nothing of the left is put there."""
    host = surface(2)
    host[:, 70:] = np.where(np.arange(70) // 12 % 2, 60, 180)[None, :, None]
    for seed in range(20):
        place = find_place(patch_of(), host, np.ones((120, 140), bool), np.random.default_rng(seed))
        assert place
        assert place[1] + 12 + 2 * MARGIN <= 70 + 4
    host[:] = np.random.default_rng(3).choice([90, 150], size=host.shape)  # the same, but rough
    assert find_place(patch_of(), host, np.ones((120, 140), bool), np.random.default_rng(0)) is None


def test_places_differ_and_follow_the_generator():
    host, everywhere = surface(2), np.ones((120, 140), bool)
    places = [
        find_place(patch_of(), host, everywhere, np.random.default_rng(seed))
        for seed in (0, 0, *range(1, 10))
    ]
    assert places[0] == places[1]
    assert len(set(places)) > 3


@pytest.mark.parametrize(
    "box", [(40, 0, 12, 8), (40, 107, 12, 8), (3, 50, 12, 8), (126, 110, 14, 10), (40, 50, 12, 8)]
)
def test_a_defect_at_a_border_stays_at_it_and_others_stay_away(box):
    patch = patch_of(*box)
    for seed in range(5):
        place = find_place(
            patch, surface(2), np.ones((120, 140), bool), np.random.default_rng(seed)
        )
        assert place
        _, labels = paste(patch, surface(2), np.zeros((2, 120, 140), np.uint8), place)
        (region,) = measure_regions(labels[1])
        x, y, width, height = region.box_xywh
        starts, ends = (y, x), (120 - y - height, 140 - x - width)
        before, after = (box[1], box[0]), (120 - box[1] - box[3], 140 - box[0] - box[2])
        for axis in (0, 1):
            for distance, own in ((starts, before), (ends, after)):
                assert distance[axis] == own[axis] or min(distance[axis], own[axis]) >= MARGIN


def test_borders_turn_with_their_patch():
    patch = patch_of(40, 0, 12, 8)
    seen = set()
    for seed in range(30):
        turned = turn_patch(patch, AugmentConfig(), np.random.default_rng(seed))
        (side,) = map(tuple, np.argwhere(turned.sides))
        edge = {(0, 1): turned.masks[1][0], (2, 1): turned.masks[1][-1],
                (1, 0): turned.masks[1][:, 0], (1, 2): turned.masks[1][:, -1]}[side]  # fmt: skip
        assert edge.sum() >= 12
        seen.add(side)
    assert len(seen) == 4
    same = turn_patch(patch, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(same.image, patch.image)


def test_there_is_no_place_in_what_is_too_small_or_not_free():
    rng = np.random.default_rng(0)
    assert find_place(patch_of(), surface(2)[:20], np.ones((20, 140), bool), rng) is None
    free = np.ones((120, 140), bool)
    free[::16, ::16] = False
    assert find_place(patch_of(), surface(2), free, rng) is None


def test_the_last_place_of_the_reduced_image_is_checked_where_it_really_is():
    """Of 118 rows a patch of 28 starts at row 90 at most, but in the reduced image at row 92."""
    host, free = surface(2)[:118], np.ones((118, 140), bool)
    free[:92] = False
    assert find_place(patch_of(), host, free, np.random.default_rng(0)) is None
    free[90:92] = True
    place = find_place(patch_of(), host, free, np.random.default_rng(0))
    assert place
    assert place[0] == 90


def test_pixels_that_do_not_count_are_not_carried_over():
    image, masks, region = scratched()
    counted = np.ones((1, 120, 140), np.uint8)
    counted[0, 50 - MARGIN // 2, 45] = 0
    assert cut_patch(image, masks, counted, 1, region) is None
    counted[0, 50 - MARGIN // 2, 45] = 1
    assert cut_patch(image, masks, counted, 1, region)
    masks[0] = 1 - masks[1]  # defects all around
    assert cut_patch(image, masks, counted, 1, region) is None


def test_the_mask_of_a_region_has_nothing_of_others_in_its_box():
    mask = np.zeros((60, 60), np.uint8)
    mask[5:40, 5:40] = 1
    mask[8:37, 8:37] = 0
    mask[20, 20] = mask[10:20, 30:34] = mask[0:30, 50] = 1
    labels, regions = label_regions(mask)
    for number, region in enumerate(regions, 1):
        np.testing.assert_array_equal(mask_of_region(mask, region), labels[region.window] == number)
