import io

import pytest
from rich.console import Console

from defectkit.reporting.stopped import tell_if_stopped
from defectkit.results_folder import write_results


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_stopped_command_says_where_its_rows_are(tmp_path, begun, earlier):
    console = Console(file=io.StringIO(), width=1000)

    def work(*, stopped):
        with (
            write_results(tmp_path, kind="inspection", head="head.csv") as results,
            tell_if_stopped(console, results, "rows.csv"),
        ):
            if begun or not stopped:
                (results.folder / "rows.csv").write_text("so far")
            if stopped:
                raise KeyboardInterrupt
            (results.folder / "head.csv").write_text("")

    if earlier:
        work(stopped=False)
    assert not console.file.getvalue()
    with pytest.raises(KeyboardInterrupt):
        work(stopped=True)
    told = console.file.getvalue()
    assert bool(told) == begun
    if begun:
        place = tmp_path / "unfinished" if earlier else tmp_path
        assert f"rows so far are in {place}" in told.splitlines()[0]
        assert (place / "rows.csv").is_file()
        assert ("until the next inspection removes them" in told) == earlier
