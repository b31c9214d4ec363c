from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defectkit.approaches.build import build_approach
from defectkit.approaches.tile_samples import IGNORED, TileSamples
from defectkit.config import load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import write_png
from defectkit.errors import DefectkitWarning
from defectkit.labels import rle
from defectkit.regions import measure_regions

PLAIN = tuple(
    f"augment.{name}=0"
    for name in ("hflip", "vflip", "rot90", "affine", "brightness_contrast", "noise", "blur")
)
TILE, CONTEXT = 32, 16


def tile_samples(dataset: Dataset, *changes: str) -> TileSamples:
    settings = ["approach=patch", f"patch.tile={TILE}", "patch.stride=8", *changes]
    approach = build_approach(
        load_config(None, settings), classes=dataset.classes, channels=dataset.channels
    )
    samples = approach.samples(dataset, dataset.split("train"))
    assert isinstance(samples, TileSamples)
    return samples


def samples_of(folder: Path, *changes: str) -> TileSamples:
    return tile_samples(Dataset.load(folder), *changes)


def dataset_of(folder: Path, *masks: np.ndarray, channels: int = 1) -> Dataset:
    """A dataset of one class whose images show their masks in white on noise."""
    records = []
    for index, mask in enumerate(masks):
        path = folder / f"{index}.png"
        rng = np.random.default_rng(index)
        image = rng.integers(90, 130, (*mask.shape, channels), dtype=np.uint8)
        image[mask > 0] = 250
        write_png(path, image if channels == 3 else image[..., 0])
        records.append(
            ImageRecord(
                image_id=str(index), path=path, height=mask.shape[0], width=mask.shape[1],
                channels=channels, sha256="", group="", split="train",
                rles={"a": rle.encode(mask)} if mask.any() else {},
                regions=tuple(measure_regions(mask, "a")),
            )
        )  # fmt: skip
    return Dataset(folder, {"classes": ["a"]}, tuple(records))


def own(pixels: np.ndarray) -> np.ndarray:
    """What lies in the tile itself, of (S, S) or (K, S, S)."""
    return pixels[..., CONTEXT:-CONTEXT, CONTEXT:-CONTEXT]


def all_tiles(samples: TileSamples, count: int = 30, epoch: int = 1) -> list:
    return [tile for index in range(count) for tile in samples.tiles((epoch, index))]


def test_samples_are_tensors_of_tiles_and_labels_and_join_to_one_batch(dataset_folder):
    samples = samples_of(dataset_folder, "patch.tiles_per_image=6")
    assert samples.unit == "each 6 tiles of 32 x 32 pixels"
    images, labels = samples[1, 0]
    assert (images.shape, images.dtype) == ((6, 1, 64, 64), torch.uint8)
    assert (labels.shape, labels.dtype) == ((6, 2), torch.int8)
    inputs, targets = samples.collate([samples[1, 0], samples[1, 1]])
    assert (inputs.shape, targets.shape) == ((12, 1, 64, 64), (12, 2))
    assert torch.equal(inputs[:6], images)
    assert torch.equal(targets[:6], labels)


def test_tiles_depend_on_seed_epoch_and_index_alone(dataset_folder):
    samples, again = samples_of(dataset_folder), samples_of(dataset_folder)
    keys = [(1, 0), (1, 1), (2, 0)]
    first = [samples[key] for key in keys]
    second = [again[key] for key in reversed(keys)][::-1]
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
    assert not torch.equal(first[0][0], first[2][0])
    assert not torch.equal(samples_of(dataset_folder, "seed=1")[1, 0][0], first[0][0])
    assert samples.image_id((1, 0)) in {record.image_id for record in samples.records}


@pytest.mark.check(4)
def test_tiles_follow_the_split_of_the_image_that_they_are_cut_from(dataset_copy):
    before = all_tiles(samples_of(dataset_copy))
    dataset = Dataset.load(dataset_copy)
    others = [*dataset.split("val"), *dataset.split("test")]
    assert {record.group for record in others}.isdisjoint(
        record.group for record in dataset.split("train")
    )
    for record in others:
        record.path.unlink()
    after = all_tiles(samples_of(dataset_copy))
    assert [tile.image.tobytes() for tile in after] == [tile.image.tobytes() for tile in before]


def test_no_two_tiles_of_an_image_are_changed_alike(dataset_folder):
    tiles = all_tiles(samples_of(dataset_folder), 10)
    assert len({tile.image.tobytes() for tile in tiles}) > 0.95 * len(tiles)


@pytest.mark.parametrize("changes", [PLAIN, ()])
def test_labels_say_what_a_tile_shows(dataset_folder, changes):
    samples = samples_of(dataset_folder, *changes)
    tiles = all_tiles(samples)
    whole = 22 * 18  # the squares of the dataset, smaller than a tile
    for image, masks, labels in tiles:
        assert (image.shape, masks.shape) == ((64, 64, 1), (2, 64, 64))
        area = own(masks).sum(axis=(1, 2))
        if (labels == IGNORED).all():
            continue
        np.testing.assert_array_equal(labels, area > 0)
        if not changes:  # scaled, it may be smaller
            continue
        assert (area[labels == 1] >= whole * 2 / 3).all()
        np.testing.assert_array_equal(own(masks.any(axis=0)), own(image[..., 0]) >= 200)
    left_out = sum((labels == IGNORED).all() for _, _, labels in tiles)
    assert (left_out == 0) if changes else (0 < left_out < 0.15 * len(tiles)), left_out


def test_about_half_of_the_tiles_are_defective_and_some_good_ones_lie_beside_defects(
    dataset_folder,
):
    tiles = all_tiles(samples_of(dataset_folder, *PLAIN), 60)
    defective = np.mean([tile.labels.any() for tile in tiles])
    assert 0.3 < defective < 0.5
    beside = np.mean([tile.masks.any() and not tile.labels.any() for tile in tiles])
    assert beside > 0.05


def test_tiles_are_looked_for_where_defects_are(tmp_path):
    mask = np.zeros((400, 400), np.uint8)
    mask[200:204, 300:304] = 1
    samples = tile_samples(dataset_of(tmp_path, mask), "data.defect_fraction=1", *PLAIN)
    tiles = samples.tiles((1, 0))
    found = {tile.image.tobytes() for tile in tiles if tile.labels.any()}
    assert len(found) == 12  # three in four, of different places
    assert len(tiles) == 16


def test_defective_tiles_show_their_defect_anywhere(dataset_folder):
    tiles = [tile for tile in all_tiles(samples_of(dataset_folder, *PLAIN)) if tile.labels.any()]
    corners = [own(masks.any(axis=0))[[0, 0, -1, -1], [0, -1, 0, -1]] for _, masks, _ in tiles]
    assert np.any(corners, axis=0).all()
    assert not np.all(corners, axis=0).any()


def test_all_places_are_learned_from_those_at_the_border_too(tmp_path):
    """Each pixel has its own value, which tells where a tile was cut."""
    dataset = dataset_of(tmp_path, np.zeros((16, 16), np.uint8))
    place = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_png(dataset.records[0].path, place)
    samples = tile_samples(dataset, "patch.tile=16", "patch.context=0", *PLAIN)
    corners = set()
    for image, _, _ in all_tiles(samples, 60):
        around = np.pad(place, 16, mode="symmetric")
        views = np.lib.stride_tricks.sliding_window_view(around, (16, 16))
        (found,) = np.argwhere((views == image[..., 0]).all(axis=(2, 3)))
        corners.add(tuple(found - 16))
    assert {y for y, _ in corners} == {x for _, x in corners} == set(range(-8, 9))


@pytest.mark.parametrize("shape", [(1, 1), (20, 200), (40, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_smaller_than_a_tile_are_reflected(tmp_path, shape, channels):
    mask = np.zeros(shape, np.uint8)
    mask[:5, :5] = 1
    dataset = dataset_of(tmp_path, mask, channels=channels)
    samples = tile_samples(dataset, "data.defect_fraction=1", *PLAIN[3:])
    images, labels = samples[1, 0]
    assert images.shape == (16, channels, 64, 64)
    assert images.min() >= 90  # nothing black
    assert labels.max() == 1


LONG = np.zeros((100, 300), np.uint8)
LONG[50:53, 10:290] = 1  # no tile holds much of it


@pytest.mark.parametrize(("partial_tiles", "label"), [("good", 0), ("defective", 1)])
def test_partial_tiles_may_be_taken_for_good_or_defective(tmp_path, partial_tiles, label):
    dataset = dataset_of(tmp_path, LONG)
    samples = tile_samples(
        dataset, f"patch.partial_tiles={partial_tiles}", "data.defect_fraction=1", *PLAIN
    )
    touched = [tile for tile in all_tiles(samples, 5) if own(tile.masks).any()]
    assert len(touched) > 5
    assert {int(tile.labels[0]) for tile in touched} == {label}


def test_partial_tiles_are_left_out_by_default(tmp_path):
    samples = tile_samples(dataset_of(tmp_path, LONG), "data.defect_fraction=1", *PLAIN)
    tiles = all_tiles(samples, 5)
    assert len(tiles) == 80
    assert not any(own(tile.masks).any() for tile in tiles)
    assert {int(tile.labels[0]) for tile in tiles} == {0}


def test_where_all_tiles_are_partial_none_is_learned_from(tmp_path):
    stripes = np.zeros((100, 100), np.uint8)
    stripes[::2] = 1
    stripes[:, 0] = 1  # all one region, half of any tile
    samples = tile_samples(dataset_of(tmp_path, stripes), *PLAIN)
    assert {int(tile.labels[0]) for tile in all_tiles(samples, 3)} == {IGNORED}


def test_the_preview_shows_tiles_of_several_kinds(dataset_folder):
    samples = samples_of(dataset_folder)
    shown = samples.preview(6)
    for index, (image, masks) in enumerate(shown):
        tile = samples.tiles((1, index))[index]
        np.testing.assert_array_equal(image, tile.image)
        np.testing.assert_array_equal(masks, tile.masks)


# --- describe -----------------------------------------------------------------------------------


def test_what_each_rule_makes_is_told_by_class(tmp_path):
    mask = np.zeros((96, 96), np.uint8)
    mask[:40, :40] = 1  # tiles of 32 lie within
    mask[70:75, 70:75] = 1
    samples = tile_samples(dataset_of(tmp_path, mask), "patch.stride=32")
    assert samples.describe() == [
        "9 tiles of 32x32 pixels, one every 32:",
        "  class a: 1 defective by coverage, 1 by containing enough of a defect, "
        "3 partial (left out), 4 good",
    ]
    good = tile_samples(dataset_of(tmp_path, mask), "patch.stride=32", "patch.partial_tiles=good")
    assert "3 partial (taken as good)" in good.describe()[1]


def test_a_class_without_a_defective_tile_is_warned_of(tmp_path):
    with pytest.warns(
        DefectkitWarning, match=r"no training tile is defective of class a.*partial_tiles"
    ):
        tile_samples(dataset_of(tmp_path, LONG)).describe()
    tile_samples(dataset_of(tmp_path, LONG), "patch.partial_tiles=defective").describe()
    with pytest.warns(DefectkitWarning, match="no training tile is defective of class a"):
        tile_samples(dataset_of(tmp_path, np.zeros((50, 50), np.uint8))).describe()


def test_tiles_that_do_not_count_are_not_learned(tmp_path):
    mask = np.zeros((128, 256), np.uint8)
    mask[20:60, 20:60] = 1
    dataset = dataset_of(tmp_path, mask, np.zeros_like(mask))
    ignored = np.zeros(mask.shape, bool)
    ignored[:, 100:110] = True
    records = [
        replace(record, roi="0,0,200,128", ignored=rle.encode(ignored))
        for record in dataset.records
    ]
    dataset = replace(dataset, records=tuple(records))
    # The image shows where its pixels do not count.
    for record in records:
        image = record.read_image(1)[..., 0]
        image[ignored] = 0
        image[:, 200:] = 1
        write_png(record.path, image)
    tiles = all_tiles(tile_samples(dataset, *PLAIN))
    assert any(tile.labels[0] == 1 for tile in tiles)
    good = [own(tile.image[..., 0]) for tile in tiles if tile.labels[0] == 0]
    assert len(good) > 20
    assert not any((tile == 0).any() for tile in good)
    assert all((tile == 1).mean() <= 0.5 for tile in good)
