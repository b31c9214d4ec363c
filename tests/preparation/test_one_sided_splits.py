from pathlib import Path

import pytest

from defectkit.errors import DatasetError
from defectkit.preparation.one_sided_splits import StateCounts, refuse_one_sided

ALL = [True, True, True]
GOOD = StateCounts("good", [8, 2, 2], 12, 12)


@pytest.mark.check(60)
@pytest.mark.parametrize(
    ("defective", "given", "ways"),
    [
        (([1, 0, 0], 1, 1), False, "Add defective images."),
        (([1, 1, 0], 2, 2), False,
         "Add defective images or leave out a split, as with --split 0.8/0.2/0."),
        (([9, 0, 0], 1, 1), False, "Add defective images or use finer groups (--group-by)."),
        (([9, 0, 0], 1, 1), True, "Add defective images or change the split column."),
        (([9, 2, 0], 2, 2), False,
         "Add defective images, use finer groups (--group-by) or leave out a split, as with "
         "--split 0.8/0.2/0."),
        (([9, 0, 0], 1, 9), False,
         "There were 9 before those of images that show the same thing were joined (out/leaks.csv, "
         "out/preview/leaks.png): if these are different workpieces, as under a fixed camera, keep "
         "them apart with --allow-leaks. Otherwise add defective images."),
    ],
)  # fmt: skip
def test_a_split_without_a_state_is_refused_with_the_ways_that_lead_out(defective, given, ways):
    own = StateCounts("defective", *defective)
    split = "val" if not own.by_split[1] else "test"
    with pytest.raises(DatasetError) as refused:
        refuse_one_sided([own, GOOD], ALL, given=given, written=Path("out"))
    groups = f"{own.groups} group{'s' * (own.groups > 1)}"
    assert str(refused.value) == (
        f"the {split} split would have no defective images: the data have "
        f"{sum(own.by_split)}, in {groups}. {ways}"
    )


@pytest.mark.parametrize(
    ("by_split", "asked_for"),
    [([0, 0, 0], ALL), ([0, 1, 1], ALL), ([1, 1, 0], [True, True, False]), ([1, 1, 1], ALL)],
)
def test_data_of_one_state_and_splits_that_are_not_asked_for_are_not_refused(by_split, asked_for):
    own = StateCounts("defective", by_split, 3, 3)
    refuse_one_sided([own, GOOD], asked_for, given=False, written=Path())
