from pathlib import Path
from types import SimpleNamespace

import pytest

from defectkit.preparation.data_warnings import MAX_NAMES, collect_warnings
from defectkit.preparation.group_names import GroupProposal
from defectkit.preparation.grouping import Grouping
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.find import LeakSearch
from defectkit.preparation.leaks.pairs import Leak
from defectkit.preparation.unlisted_images import Unlisted

FOLDER = Path("images")


def facts(image_id, **changes):
    return ImageFacts(image_id=image_id, path=FOLDER / image_id, **changes)


def collect(
    images=(),
    *,
    unlisted=None,
    missing=(),
    lost=(),
    doubted=(),
    found=None,
    kind="masks",
    groups=(),
    use_unlisted=False,
    **grouping,
):
    matching = SimpleNamespace(  # The part of a ``Matching`` that the warnings are about.
        table=SimpleNamespace(kind=kind, notes=()),
        folder=SimpleNamespace(root=FOLDER),
        unlisted=unlisted or Unlisted(),
        lost=list(lost),
        doubted=list(doubted),
        withheld=use_unlisted and bool(lost),
        found_otherwise=found or {},
        missing=dict.fromkeys(missing, "no file"),
    )
    named = dict(groups)
    options = {
        "n_without_group": 0,
        "proposal": None,
        "leaks": [],
        "contradictions": [],
        **grouping,
    }
    options.setdefault("search", LeakSearch(leaks=()))
    made = Grouping(named=named, joined=named, given=dict.fromkeys(named, ""), **options)
    return collect_warnings(matching, images, made, use_unlisted=use_unlisted)


def leak(one, other, kind="exact", *, joined=True, similarity=1.0):
    return Leak(image_id_a=one, image_id_b=other, kind=kind, similarity=similarity, joined=joined)


def test_a_dataset_without_anything_unusual_has_no_warnings():
    assert collect([facts("a")], groups={"a": "a"}) == []


def test_boxes_are_warned_of():
    (warning,) = collect(kind="boxes")
    assert warning.startswith("the labels are boxes: they can be used with --approach box only")


@pytest.mark.parametrize(
    ("used", "consequence"),
    [(True, "and count as good (--unlisted good)"), (False, "and are not used. If they are good")],
)
def test_images_that_nothing_lists_are_named(used, consequence):
    names = [f"{number}.png" for number in range(MAX_NAMES + 2)]
    unlisted = Unlisted(images=tuple(FOLDER / name for name in names))
    (warning,) = collect(unlisted=unlisted, use_unlisted=used)
    assert warning.startswith(
        f"5 images in the folder are not listed (0.png, 1.png, 2.png, …) {consequence}"
    )


def test_no_unlisted_image_counts_as_good_while_a_labeled_one_is_lost():
    unlisted = Unlisted(images=(FOLDER / "good/0.png",))
    (warning,) = collect(unlisted=unlisted, lost=["bad.png"], use_unlisted=True)
    assert warning == (
        "1 images in the folder are not listed (good/0.png) and none counts as good, since 1 "
        "labeled images have no file and may be among them (bad.png): correct their names, or "
        "delete their rows"
    )


def test_images_that_may_be_labeled_ones_are_named():
    assert collect(lost=["IMG_1.png"], doubted=["IMG_0001.png"]) == [
        "1 images without labels (IMG_0001.png) do not count as good, since labeled images that "
        "have no file may be these (IMG_1.png)"
    ]


def test_masks_beside_images_and_good_folders_outside_are_named():
    unlisted = Unlisted(doubtful=(FOLDER / "0_mask.png",), beside=(Path("all/good"),))
    doubtful, beside = collect(unlisted=unlisted)
    assert doubtful == (
        "1 files beside images have the names of their masks or copies (0_mask.png) and are not "
        "used"
    )
    assert beside.startswith(f"{Path('all/good')} lies beside the image folder and seems to have")
    assert beside.endswith("--unlisted good with --images all takes them")


def test_images_under_another_name_are_counted():
    (warning,) = collect(found={"": 5, "another case": 2, "URL-encoded": 1})
    assert warning == (
        "3 images were found under another name than that in the labels (another case: 2, "
        "URL-encoded: 1); ledger.csv says it for each row"
    )


def test_missing_and_unreadable_images_are_named():
    bad = facts("b", problem="b.png is cut off")
    missing, unread = collect([facts("a"), bad], missing=["x", "y"])
    assert missing == "2 images that are listed as good have no file: x, y"
    assert unread == "1 images without rows cannot be read: b.png is cut off"


def test_leaks_are_counted_by_kind_unless_the_user_put_them_in_one_group():
    leaks = [
        leak("a", "b"),
        leak("a", "c"),
        leak("c", "d", "near"),
        leak("c", "e", "near"),
        leak("d", "e", "overlap", joined=False),
    ]
    groups = {"a": "1", "b": "1", "c": "2", "d": "3", "e": "4"}
    assert collect(groups=groups, leaks=leaks, n_without_group=2) == [
        "2 images have no group; each is a group of its own",
        "1 image is a copy of another; leaks.csv names them",
        "2 pairs of images show the same thing in different files; leaks.csv names them",
        "1 pair of images overlaps; leaks.csv names them",
        "1 of these pairs are in different splits: look at preview/leaks.png, and if "
        "they show the same thing, give both the same split",
    ]


def test_pairs_that_are_only_similar_are_told_from_nearly_identical_ones():
    leaks = [leak("a", "b", joined=False), leak("c", "d", "near", joined=False, similarity=0.9)]
    warning = collect(groups={name: name for name in "abcd"}, leaks=leaks)[-1]
    assert warning.startswith(
        "2 of these pairs are in different splits; 1 of them are similar rather than "
        "identical: look at preview/leaks.png"
    )


def test_what_the_search_for_copies_left_out_is_said():
    search = LeakSearch(leaks=(), n_sharing_a_part=40, n_pattern_pairs=7, blank=("x.png", "y.png"))
    part, pattern, blank = collect(groups={"a": "a"}, search=search)
    assert part.startswith("40 images show nearly the same part in nearly the same place")
    assert pattern.startswith("7 pairs agree in a regular pattern alone, such as a weave")
    assert blank.startswith(
        "2 images have too little detail (blank, saturated or small: x.png, y.png)"
    )


def test_groups_that_names_show_are_proposed_with_the_expression_to_copy():
    proposal = GroupProposal(r"^(\d+)_", 9, ("1_a.png", "1_b.png"))
    assert collect(groups={"a": "a"}, proposal=proposal) == [
        "the names of images look like several of each of 9 workpieces (1_a.png and 1_b.png): if "
        r"so, keep those of one in one split with --group-by '^(\d+)_'"
    ]


def test_copies_with_different_masks_are_named():
    pair = leak("a", "b")
    warnings = collect(groups={"a": "a", "b": "b"}, leaks=[pair], contradictions=[pair])
    assert warnings[-1] == "1 pairs of copies have different masks: a and b"


def test_unlisted_images_among_defective_ones_are_named():
    (warning,) = collect(unlisted=Unlisted(defective=(FOLDER / "NG/4.png",)), use_unlisted=True)
    assert warning == (
        "1 images that are not listed lie in folders of defective images (NG/4.png) and are not "
        "used: label them, or list them in --meta if they are good"
    )
