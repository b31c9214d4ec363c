from pathlib import Path
from types import SimpleNamespace

import pytest

from defectkit.preparation.data_warnings import (
    MAX_NAMES,
    warn_about_boxes,
    warn_about_files,
    warn_about_leaks,
)
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.pairs import Leak

FOLDER = Path("images")


def facts(image_id, **changes):
    return ImageFacts(image_id=image_id, path=FOLDER / image_id, **changes)


def matching(unlisted=(), missing=()):
    """The part of a ``Matching`` that the warnings are about."""
    return SimpleNamespace(
        unlisted=[FOLDER / name for name in unlisted], missing=dict.fromkeys(missing, "no file")
    )


def leak(one, other, kind="exact", *, joined=True):
    return Leak(image_id_a=one, image_id_b=other, kind=kind, similarity=1.0, joined=joined)


def test_a_dataset_without_anything_unusual_has_no_warnings():
    assert warn_about_boxes("masks") == []
    assert warn_about_files(matching(), [facts("a")], used_unlisted=False) == []
    assert warn_about_leaks([facts("a")], {"a": "a"}, [], n_without_group=0) == []


def test_boxes_are_warned_of():
    (warning,) = warn_about_boxes("boxes")
    assert warning.startswith("the labels are boxes: they serve --approach box alone")


@pytest.mark.parametrize(
    ("used", "consequence"),
    [(True, "and count as good (--unlisted good)"), (False, "and are not used. If they are good")],
)
def test_images_that_nothing_lists_are_named(used, consequence):
    names = [f"{number}.png" for number in range(MAX_NAMES + 2)]
    (warning,) = warn_about_files(matching(unlisted=names), [], used_unlisted=used)
    assert warning.startswith(
        f"5 images in the folder are not listed (0.png, 1.png, 2.png, …) {consequence}"
    )


def test_missing_and_unreadable_images_are_named():
    bad = facts("b", problem="b.png is cut off")
    missing, unread = warn_about_files(
        matching(missing=["x", "y"]), [facts("a"), bad], used_unlisted=False
    )
    assert missing == "2 images that are listed as good have no file: x, y"
    assert unread == "1 images without rows cannot be read: b.png is cut off"


def test_leaks_are_counted_by_kind_unless_the_user_put_them_in_one_group():
    groups = {"a": "1", "b": "1", "c": "2", "d": "3", "e": "4"}
    leaks = [
        leak("a", "b"),
        leak("a", "c"),
        leak("c", "d", "near"),
        leak("c", "e", "near"),
        leak("d", "e", "overlap", joined=False),
    ]
    warnings = warn_about_leaks([facts(name) for name in groups], groups, leaks, n_without_group=2)
    assert warnings == [
        "2 images name no group and stand alone",
        "1 images are copies of another; leaks.csv names them",
        "2 pairs of images show the same thing in different files; leaks.csv names them",
        "1 pairs of images show the same thing in part; leaks.csv names them",
        "1 of these pairs are in different splits, as given",
    ]


def test_copies_with_different_masks_are_named():
    images = [facts("a", rles={"1": "1 3"}), facts("b", rles={"1": "1 4"})]
    warnings = warn_about_leaks(images, {"a": "a", "b": "b"}, [leak("a", "b")], n_without_group=0)
    assert warnings[-1] == "1 pairs of copies have different masks: a and b"
