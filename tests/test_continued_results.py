from contextlib import suppress

import pytest
from file_hashes import hashes_of_results

from defectkit.continued_results import bring_back, keep_alone
from defectkit.files import write_text
from defectkit.results_folder import write_results

pytestmark = pytest.mark.check(63)


def brought_back(out):
    """Go on with unfinished results, if there are; return what lies where they are written."""
    with write_results(
        out, kind="inspection", head="head.csv", names=NAMES[:2], keep=True
    ) as results:
        is_there = bring_back(results, "progress.csv")
        return is_there, sorted(hashes_of_results(results.folder))


NAMES = ("progress.csv", "a/x.txt", "y.txt")


def leave(out, *, complete=False):
    """Write results and fail, or succeed."""
    with (
        suppress(KeyboardInterrupt),
        write_results(out, kind="inspection", head="head.csv", names=NAMES) as results,
    ):
        for name in NAMES:
            write_text(results.folder / name, name)
        if not complete:
            raise KeyboardInterrupt
        write_text(results.folder / "head.csv", "head")


def test_what_a_failure_put_in_place_is_brought_back(tmp_path):
    assert brought_back(tmp_path / "new") == (False, [])
    leave(tmp_path / "out")
    assert (tmp_path / "out" / "progress.csv").is_file()
    (tmp_path / "out" / "y.txt").write_text("changed by the user")
    assert brought_back(tmp_path / "out") == (True, ["a/x.txt", "progress.csv"])
    assert (tmp_path / "out" / "y.txt").read_text() == "changed by the user"


def test_complete_results_are_not_brought_back(tmp_path):
    leave(tmp_path, complete=True)
    assert brought_back(tmp_path) == (False, [])


def test_one_file_is_kept_alone(tmp_path):
    leave(tmp_path)
    with write_results(tmp_path, kind="inspection", head="head.csv", names=NAMES) as results:
        bring_back(results, "progress.csv")
        keep_alone(results, "progress.csv")
        assert sorted(hashes_of_results(results.folder)) == ["progress.csv"]
