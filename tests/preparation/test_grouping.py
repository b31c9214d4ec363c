from pathlib import Path

import pytest

from defectkit.errors import DatasetError
from defectkit.preparation.grouping import group_images
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.worker_pool import open_worker_pool


def facts(image_id, digest, **rles):
    return ImageFacts(
        image_id=image_id, path=Path(image_id), height=9, width=9, sha256=digest, rles=rles
    )


def group(images, cells, group_by=None):
    with open_worker_pool(0, n_jobs=len(images)) as pool:
        return group_images(images, cells, group_by, pool)


def test_named_groups_are_joined_where_images_are_the_same():
    images = [facts("a", "x"), facts("b", "y"), facts("c", "x", c1="1 2"), facts("d", "z")]
    cells = {
        name: {"group": group} for name, group in zip("abcd", ["1", "2", "2", ""], strict=True)
    }
    found = group(images, {**cells, "refused": {"group": "3"}})
    assert found.named == {"a": "1", "b": "2", "c": "2", "d": "d"}
    assert found.joined == {"a": "1", "b": "1", "c": "1", "d": "d"}
    assert found.n_without_group == 1
    (leak,) = found.leaks
    assert (leak.image_id_a, leak.image_id_b, leak.joined) == ("a", "c", True)
    assert found.contradictions == [leak]  # only one of the copies is labeled


def test_copies_in_different_given_splits_stay_apart():
    images = [facts("a", "x"), facts("b", "x")]
    found = group(images, {"a": {"split": "train"}, "b": {"split": "test"}})
    assert found.given == {"a": "train", "b": "test"}
    assert found.joined == {"a": "a", "b": "b"}
    assert not found.leaks[0].joined
    assert found.contradictions == []


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(DatasetError, match="--group-by part is not a column"):
        group([facts("a", "x")], {"a": {}}, "part")
