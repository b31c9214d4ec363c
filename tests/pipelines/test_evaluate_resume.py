"""An evaluation that was interrupted goes on where it was, and ends as if nothing had been."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from file_hashes import hashes_of_results
from killing import is_killed
from locked_files import lock
from resealing import reseal
from rich.console import Console
from steady_clock import SteadyClock

import defectkit
from defectkit.errors import ConfigError, ImageError
from defectkit.evaluation import prediction
from defectkit.files import TEMP_MARK, read_csv, read_json
from defectkit.reporting import evaluation_pictures, evaluation_progress
from defectkit.reporting.evaluation_progress import (
    PIXELS,
    RECORDS,
    STATE,
    EvaluationProgress,
)

pytestmark = [
    pytest.mark.check(63),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]
NEVER = 10**9


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """Each image takes a quarter of a second; few of an outcome are drawn; all is saved at once."""

    monkeypatch.setattr(prediction, "time", SteadyClock())
    monkeypatch.setattr(evaluation_pictures, "SAMPLE", 2)
    monkeypatch.setattr(evaluation_progress, "SECONDS", 0.0)


@pytest.fixture
def run(run_copy) -> Path:
    """A run in which some images are reviewed, so that all outcomes occur."""
    reseal(run_copy / "model" / "model.json", thresholds={"low": 0.3, "high": 0.6, "rule": "f1"})
    return run_copy


@pytest.fixture
def said() -> Console:
    return Console(file=io.StringIO(), width=1000)


@pytest.fixture
def evaluate(run, said) -> Callable[..., object]:
    """Evaluate all images of the run."""

    def call(**options):
        own = {"split": "all", "device": "cpu", "console": said}
        return defectkit.evaluate(run, **{**own, **options})

    return call


def results_in(folder: Path) -> dict[str, str]:
    """The results in a folder, without the unfinished files of killed writes."""
    files = hashes_of_results(folder).items()
    return {name: value for name, value in files if TEMP_MARK not in name}


@pytest.fixture
def kill_after(evaluate, monkeypatch) -> Callable[..., None]:
    """Evaluate until a number of images is kept; kill -9 ends it then."""

    def call(count: int, **options) -> None:
        add = EvaluationProgress.add

        def add_and_die(progress, judged) -> None:
            add(progress, judged)
            if progress.rows == count:
                os.kill(os.getpid(), signal.SIGKILL)

        with monkeypatch.context() as patch:
            patch.setattr(EvaluationProgress, "add", add_and_die)
            assert is_killed(lambda: evaluate(**options), at=NEVER)

    return call


@pytest.fixture
def whole(evaluate, run) -> dict[str, str]:
    """The files of an evaluation that nothing interrupts; it is not there any longer."""
    assert not is_killed(evaluate, at=NEVER)
    results = results_in(run / "evaluation" / "all")
    assert {"metrics.json", "report.html", "images.csv"} <= set(results)
    shutil.rmtree(run / "evaluation")
    return results


def kept_in(folder: Path) -> int:
    """How many images an evaluation has kept."""
    path = folder / "unfinished" / RECORDS
    return len(read_csv(path)) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True])
def test_a_kill_at_any_point_loses_nothing_and_it_ends_as_a_whole_one(
    evaluate, whole, run, tally, earlier
):
    folder = run / "evaluation" / "all"
    if earlier:
        evaluate(all_regions=True)
    before = results_in(folder) if earlier else {}
    seen = []
    at = 9
    while is_killed(lambda: evaluate(resume=True), at=at):
        with tally.case(at):
            now = results_in(folder)
            if before and now.get("metrics.json") == before["metrics.json"]:
                assert {name: now.get(name) for name in before} == before
            seen.append(kept_in(folder))
        at += 13
    assert len(seen) > 5
    assert max(seen) > 10
    assert results_in(folder) == whole


@pytest.mark.slow
def test_no_image_is_judged_twice_and_the_shards_of_it_go_on_too(
    evaluate, kill_after, whole, run, tmp_path, monkeypatch
):
    judged = tmp_path / "judged.txt"
    write = evaluation_pictures.write_page_image

    def write_and_tell(folder, one, *others, **options):
        with judged.open("a") as file:
            print(one.record.image_id, file=file)
        return write(folder, one, *others, **options)

    monkeypatch.setattr(evaluation_pictures, "write_page_image", write_and_tell)
    folder = run / "evaluation" / "all"
    for options in ({}, {"shard": "2/3"}):
        place = folder / "shards" / "2-of-3" if options else folder
        judged.unlink(missing_ok=True)
        kill_after(3, **options)
        begun = judged.read_text().split()
        assert len(begun) == kept_in(place) == 3
        judged.unlink()
        assert not is_killed(lambda options=options: evaluate(resume=True, **options), at=NEVER)
        again = judged.read_text().split()
        assert len({*begun, *again}) == len(begun) + len(again) > 5
        assert not (place / STATE).exists()
        if not options:
            assert not (place / RECORDS).exists()
            assert results_in(folder) == whole
            shutil.rmtree(folder)
    for number in (1, 2, 3):
        judged.unlink(missing_ok=True)
        evaluate(resume=True, shard=f"{number}/3")
        assert judged.exists() == (number != 2)
    defectkit.merge(folder, console=Console(quiet=True))
    assert results_in(folder) == whole


def test_a_finished_shard_returns_its_evaluation(evaluate, said):
    first = evaluate(shard="2/3")
    again = evaluate(shard="2/3", resume=True)
    assert "shard 2/3 is finished already, in " in said.file.getvalue()
    assert again.metrics == first.metrics
    assert again.images.equals(first.images)
    assert again.regions.equals(first.regions)
    assert again.folder == first.folder
    assert evaluate(shard="2/3", resume=True, all_regions=True).metrics != first.metrics


def test_an_error_and_an_interruption_lose_nothing(evaluate, whole, run, said, monkeypatch):
    monkeypatch.setattr(evaluation_progress, "SECONDS", 1e9)  # Their end alone saves.
    predict = evaluation_progress.predict_by
    folder = run / "evaluation" / "all"

    def fail_after(count: int, error: BaseException) -> None:
        def failing(model, records):
            for number, one in enumerate(predict(model, records)):
                if number == count:
                    raise error
                yield one

        with monkeypatch.context() as patch:
            patch.setattr(evaluation_progress, "predict_by", failing)
            with pytest.raises(type(error)):
                evaluate(resume=True)

    fail_after(0, KeyboardInterrupt())
    assert "nothing is there to be continued: evaluates from the start" in said.file.getvalue()
    fail_after(4, ImageError("it was lost."))
    assert len(read_csv(folder / "images.csv")) == 4
    told = said.file.getvalue()
    assert (
        f"the rows so far are in {folder}. 'defectkit evaluate' with the same options and" in told
    )
    fail_after(3, KeyboardInterrupt())
    assert "continues behind 4 images that are done" in said.file.getvalue()
    assert len(read_csv(folder / "images.csv")) == 7
    assert not is_killed(lambda: evaluate(resume=True), at=NEVER)
    assert results_in(folder) == whole


@pytest.mark.slow
def test_what_fails_behind_the_last_image_goes_on(evaluate, whole, run, monkeypatch):
    from defectkit.reporting.html import report

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_text", fail)
        with pytest.raises(KeyboardInterrupt):
            evaluate()
    assert not is_killed(lambda: evaluate(resume=True), at=NEVER)
    assert results_in(run / "evaluation" / "all") == whole


@pytest.mark.slow
def test_thresholds_are_chosen_again_alike(evaluate, kill_after, run, said):
    options = {"split": "test", "best_f1": True}
    assert not is_killed(lambda: evaluate(**options), at=NEVER)
    whole = results_in(run / "evaluation" / "test")
    shutil.rmtree(run / "evaluation")
    kill_after(2, **options)
    assert not is_killed(lambda: evaluate(resume=True, **options), at=NEVER)
    assert results_in(run / "evaluation" / "test") == whole


def test_without_resume_it_begins_again(evaluate, kill_after, whole, run):
    kill_after(2)
    assert kept_in(run / "evaluation" / "all") == 2
    assert not is_killed(evaluate, at=NEVER)
    assert results_in(run / "evaluation" / "all") == whole


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as told:
        work()
    return str(told.value)


def test_rows_that_may_not_be_read_are_told_as_that(evaluate, kill_after, run, monkeypatch):
    kill_after(2)
    told = lock(monkeypatch, run / "evaluation" / "all" / "unfinished" / RECORDS)
    assert refused(lambda: evaluate(resume=True)) == told


def test_another_evaluation_is_not_continued(
    evaluate, kill_after, run, source_csv, tmp_path, quiet
):
    kill_after(2)
    for option in ({"overlays": "none"}, {"all_regions": True}):
        (name,) = option
        told = refused(lambda option=option: evaluate(resume=True, **option))
        assert f"--{name.replace('_', '-')} was" in told
    model = run / "model" / "model.json"
    thresholds = read_json(model)["thresholds"]
    reseal(model, thresholds={"low": 0.1, "high": 0.1, "rule": "f1"})
    told = refused(lambda: evaluate(resume=True))
    assert re.search("cannot go on: the model was '[0-9a-f]+', and now is '[0-9a-f]+'", told)
    assert told.endswith("model and options, or evaluate from the start, without --resume.")
    reseal(model, thresholds=thresholds)
    defectkit.prepare(source_csv, out=tmp_path / "lot", split="0.4/0.3/0.3", console=quiet)
    lot = {"data": tmp_path / "lot", "map_class": ["1=2", "2=1"]}
    kill_after(2, **lot)
    told = refused(lambda: evaluate(resume=True, **{**lot, "map_class": ["1=1", "2=2"]}))
    assert "what is evaluated was" in told


@pytest.mark.slow
def test_damage_is_told(evaluate, kill_after, run, tmp_path):
    kill_after(4)
    out = run / "evaluation" / "all"
    folder = out / "unfinished"
    kept = shutil.copytree(folder, tmp_path / "kept")

    def is_told(reason: str) -> None:
        assert re.search(reason, refused(lambda: evaluate(resume=True)))
        shutil.rmtree(out)
        shutil.copytree(kept, folder)

    def change(name: str, old: bytes, new: bytes) -> None:
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new, 1))

    changed = f"{PIXELS} or {RECORDS} was changed since it was written"
    change(RECORDS, b'""seconds"": 0.', b'""seconds"": 1.')
    is_told(changed)
    content = (folder / PIXELS).read_bytes()
    (folder / PIXELS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    is_told("cannot go on: ")
    (folder / RECORDS).write_bytes((folder / RECORDS).read_bytes().partition(b"\n")[0] + b"\n")
    is_told(changed)
    change(STATE, b"flagged", b"all")
    is_told("progress.json was changed after it was written")
    next((folder / "report_pictures").iterdir()).unlink()
    is_told("report_pictures/.* is missing. Evaluate from the start, without --resume.")
    next((folder / "overlays").glob("*.png")).unlink()
    is_told("overlays/.* is missing")


@pytest.mark.slow
def test_a_real_process_that_is_killed_goes_on(run):
    words = ["evaluate", str(run), "--split", "all", "--device", "cpu"]
    script = (
        "from defectkit import cli; from defectkit.reporting import evaluation_progress; "
        "evaluation_progress.SECONDS = 0.0; cli.main()"
    )
    folder = run / "evaluation" / "all"
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stderr=subprocess.DEVNULL, env=os.environ
    ) as process:
        while kept_in(folder) < 5:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    command = [sys.executable, "-m", "defectkit.cli", *words]
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert re.search(r"note: continues behind \d+ images that are done", again.stderr)
    now = results_in(folder)
    subprocess.run(command, capture_output=True, check=True)
    whole = results_in(folder)
    differing = {name for name in whole if whole[name] != now.get(name)}
    assert differing <= {"metrics.json", "report.html"}
    assert whole.keys() == now.keys()
