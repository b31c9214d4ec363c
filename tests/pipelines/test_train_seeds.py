"""``train --seeds``: runs that differ in their seed alone, and how far their results do."""

import io
import shutil

import pytest
from rich.console import Console
from tiny_training import train_tiny

import defectkit
from defectkit.config import load_config
from defectkit.errors import ConfigError, OutputError, TrainingError
from defectkit.files import read_csv, sha256_file

SMALL = ("model.architecture=pixel_net", "data.crop=32", "train.epochs=1")


def weights(run) -> str:
    return sha256_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def trained(dataset_folder, tmp_path_factory):
    """Runs of the seeds 3 and 4, in one folder, and what was printed. Do not change."""
    folder = tmp_path_factory.mktemp("seeds") / "runs"
    console = Console(file=io.StringIO(), width=200)
    summary = train_tiny(dataset_folder, folder, *SMALL, seed=3, seeds=2, console=console)
    return summary, console.file.getvalue()


def test_each_seed_has_an_ordinary_run_and_a_table_tells_mean_and_deviation(
    trained, dataset_folder, tmp_path
):
    summary, told = trained
    runs = [summary.run / f"seed-{seed}" for seed in (3, 4)]
    assert (summary.run.name, summary.epochs) == ("runs", 2)
    assert [one.run for one in summary.seeds] == runs
    assert [load_config(run / "config.yaml").seed for run in runs] == [3, 4]
    alone = train_tiny(dataset_folder, tmp_path / "alone", *SMALL, seed=4)
    assert weights(alone.run) == weights(runs[1]) != weights(runs[0])

    rows = read_csv(summary.run / "seeds.csv")
    assert [row["seed"] for row in rows] == ["3", "4", "mean", "deviation"]
    ours = [one.dice for one in summary.seeds]
    assert [float(row["dice"]) for row in rows[:2]] == ours
    assert float(rows[2]["dice"]) == pytest.approx(sum(ours) / 2) == summary.dice
    assert float(rows[3]["dice"]) == pytest.approx(abs(ours[0] - ours[1]) / 2**0.5)
    assert "seed 4, 2 of 2" in told
    assert f"next: defectkit compare {summary.run / 'seed-*'}" in told


def test_resumed_finished_runs_stay_and_missing_ones_are_trained(trained, dataset_folder, tmp_path):
    out = shutil.copytree(trained[0].run, tmp_path / "runs")
    names = ("seed-3", "seed-4")
    before = [weights(out / name) for name in names]
    shutil.rmtree(out / "seed-4")
    console = Console(file=io.StringIO(), width=2000)
    defectkit.train(data=dataset_folder, out=out, seed=3, seeds=2, resume=True, console=console)
    assert "seed-3 is finished after 1 epoch" in console.file.getvalue()
    assert [weights(out / name) for name in names] == before
    assert load_config(out / "seed-4" / "config.yaml").seed == 4


def test_what_cannot_be_is_refused_before_anything_is_trained(dataset_folder, tmp_path):
    with pytest.raises(ConfigError, match="--seeds must be from 1 to 100 but is 0"):
        train_tiny(dataset_folder, tmp_path / "runs", seeds=0)
    with pytest.raises(ConfigError, match="--seeds with --resume needs the folder"):
        train_tiny(dataset_folder, None, seeds=2, resume=True)
    with pytest.raises(ConfigError, match="seed"):
        train_tiny(dataset_folder, tmp_path / "runs", seed=2**32 - 1, seeds=2)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "seeds.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"seeds\.csv stands where training writes\. Move it"):
        train_tiny(dataset_folder, tmp_path / "mine", seeds=2)
    (tmp_path / "runs" / "seed-1").mkdir(parents=True)
    (tmp_path / "runs" / "seed-1" / "config.yaml").touch()
    with pytest.raises(TrainingError, match="seed-1 already has a run"):
        train_tiny(dataset_folder, tmp_path / "runs", seeds=2)
    assert not (tmp_path / "runs" / "seed-0").exists()


def test_after_an_interruption_it_tells_how_all_runs_are_resumed(
    dataset_folder, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    console = Console(file=io.StringIO(), width=2000)
    monkeypatch.setattr("defectkit.training.loop.train_one_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(dataset_folder, tmp_path / "runs", *SMALL, seeds=2, console=console)
    (told,) = [line for line in console.file.getvalue().splitlines() if "continue with" in line]
    assert told == f"continue with: defectkit train --resume --out {tmp_path / 'runs'} --seeds 2"
