from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import DatasetError
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.table import LabelRow
from defectkit.preparation.examine import examine_image
from defectkit.preparation.grouping import group_images, mark_joined
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.worker_pool import open_worker_pool

CONVENTION = RleConvention(1, "column", "given")


def facts(folder: Path, name: str, seed: int, rle: str = ""):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    write_png(folder / name, pixels)
    rows = (LabelRow(2, name, "1", rle),)
    return examine_image(MatchedImage(name, str(folder / name), rows), convention=CONVENTION)


@pytest.fixture
def group(tmp_path):
    """Group four images, of which the first two are equal files with different labels."""

    def call(group_by=None, *, allow_leaks=False, **cells):
        images = [
            facts(tmp_path, "a.png", 0, "1 3"), facts(tmp_path, "b.png", 0, "9 3"),
            facts(tmp_path, "c.png", 1), facts(tmp_path, "d.png", 2),
        ]  # fmt: skip
        own = {image.image_id: cells.get(image.image_id[0], {}) for image in images}
        with open_worker_pool(0, n_jobs=4) as pool:
            return group_images(images, own, group_by, pool, allow_leaks=allow_leaks)

    return call


def test_images_that_show_the_same_join_their_groups(group):
    grouping = group()
    assert len(set(grouping.named.values())) == 4
    assert grouping.joined["a.png"] == grouping.joined["b.png"]
    assert len(set(grouping.joined.values())) == 3
    (leak,) = grouping.leaks
    assert {leak.image_id_a, leak.image_id_b} == {"a.png", "b.png"}
    assert list(grouping.contradictions) == [leak]


def test_groups_and_splits_are_those_that_the_user_gave(group):
    grouping = group(a={"group": "1", "split": "test"}, c={"group": "1"}, d={"split": "val"})
    assert grouping.named["a.png"] == grouping.named["c.png"] == "1"
    assert grouping.n_without_group == 2
    assert grouping.given == {"a.png": "test", "b.png": "", "c.png": "", "d.png": "val"}
    assert len(set(grouping.joined.values())) == 2


def test_a_group_that_is_no_column_is_refused(group):
    with pytest.raises(DatasetError, match="--group-by lto is not a column"):
        group("lto", a={"lot": "1"})


def test_equal_files_are_joined_also_where_leaks_are_allowed(group):
    grouping = group(allow_leaks=True)
    assert grouping.joined["a.png"] == grouping.joined["b.png"]


def test_the_final_splits_say_which_leaks_are_joined(group):
    grouping = group()
    splits = dict.fromkeys(grouping.named, "train")
    assert [leak.joined for leak in mark_joined(grouping, splits).leaks] == [True]
    (leak,) = mark_joined(grouping, {**splits, "b.png": "test"}).leaks
    assert not leak.joined
