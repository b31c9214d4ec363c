import re
from contextlib import suppress

import pytest
from file_hashes import hashes_of_results
from locked_files import lock

from defectkit.continued_results import bring_back, check_state, keep_alone, write_state
from defectkit.errors import ConfigError
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


def test_what_goes_on_must_be_the_same(tmp_path):
    path = tmp_path / "state.json"
    write_state(path, {"images": "3", "--overlays": "all"})
    asked = {"what": "evaluation", "way_out": "Begin again."}
    check_state(path, {"--overlays": "all", "images": "3"}, **asked)
    for same, told in (
        ({"images": "4", "--overlays": "all"}, "images was '3', and now is '4'"),
        ({"images": "3"}, "--overlays was 'all', and now is ''"),
        ({"images": "3", "--overlays": "all", "more": "1"}, "more was '', and now is '1'"),
    ):
        with pytest.raises(ConfigError, match=f"cannot go on: {told}. .*, or begin again.$"):
            check_state(path, same, **asked)
    path.write_text(path.read_text().replace("all", "none"))
    with pytest.raises(ConfigError, match="was changed after it was written. Begin again.$"):
        check_state(path, {"images": "3", "--overlays": "none"}, **asked)


def test_what_is_not_json_is_told_with_its_name(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("")
    message = r"cannot go on: state\.json is not JSON \(.*\)\. Begin again\.$"
    with pytest.raises(ConfigError, match=message):
        check_state(path, {}, what="evaluation", way_out="Begin again.")


def test_what_may_not_be_read_is_told_as_that(tmp_path, monkeypatch):
    write_state(tmp_path / "state.json", {})
    told = lock(monkeypatch, tmp_path / "state.json")
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
        check_state(tmp_path / "state.json", {}, what="evaluation", way_out="Begin again.")
