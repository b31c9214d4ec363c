from types import SimpleNamespace

import pytest

from defectkit.deployment.data_to_evaluate import load_data_to_evaluate
from defectkit.deployment.load_model import load_model
from defectkit.files import read_csv
from defectkit.reporting import evaluation_progress
from defectkit.reporting.evaluation_folder import open_evaluation
from defectkit.reporting.evaluation_progress import (
    PIXELS,
    RECORDS,
    EvaluationProgress,
    judge_with_progress,
)

pytestmark = pytest.mark.check(63)


@pytest.fixture
def judge(run_copy, quiet):
    """Judge images until a number of them is done, and end as by a kill; return what it has."""
    model = load_model(run_copy, device="cpu")
    data = load_data_to_evaluate(run_copy, model, data=None, split="all", map_class=())

    def call(count: int) -> tuple[int, int]:
        with open_evaluation(run_copy, data, resume=True) as results:
            progress = EvaluationProgress(
                results, model, data, range(len(data.records)), overlays="none"
            )
            progress.begin({"a": "b"}, resume=True, console=quiet)

            def add(judged) -> None:
                progress.add(judged)
                if progress.rows == count:
                    # Nothing that follows is saved: it is as if the process were gone.
                    progress._save = lambda: None
                    raise KeyboardInterrupt

            with progress:
                judge_with_progress(
                    progress, model, all_regions=False, on_image=add, title="", console=quiet
                )
        raise AssertionError

    def run(count: int):
        with pytest.raises(KeyboardInterrupt):
            call(count)
        return run_copy / "evaluation" / "all"

    return run


def test_rows_behind_the_counts_are_judged_again(judge, monkeypatch):
    times = iter([0.0, 1.0, 2.0, 11.0, 12.0, 13.0, 14.0])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    with monkeypatch.context() as patch:
        patch.setattr(evaluation_progress, "time", clock)
        folder = judge(5)
    assert next(times, None) is None
    assert len(read_csv(folder / RECORDS)) == 5
    assert (folder / PIXELS).exists()
    folder = judge(4)  # Those of 3 images are counted.
    assert [int(row["place"]) for row in read_csv(folder / RECORDS)] == [0, 1, 2, 3]
