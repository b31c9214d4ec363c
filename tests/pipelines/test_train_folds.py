"""``train --folds``: images judged by networks that never saw them, and a model of all of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_training import TINY, train_tiny

import defectkit
from defectkit.approaches.crop_samples import CropSamples
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError, DatasetError
from defectkit.evaluation.operating_points import choose_thresholds
from defectkit.evaluation.threshold_rule import ThresholdRule
from defectkit.files import read_csv, read_json, write_json
from defectkit.seals import add_seal
from defectkit.training.history import read_history
from defectkit.training.loop import train_one_epoch

SMALL = ("model.architecture=pixel_net", "data.crop=32", "train.epochs=1")


@pytest.fixture(scope="module")
def folded(dataset_folder) -> Path:
    """A run of two folds. Do not change."""
    return train_tiny(dataset_folder, dataset_folder.parent / "folded", *SMALL[:2], folds=2).run


@pytest.fixture(scope="module")
def records(dataset_folder):
    return [one for one in Dataset.load(dataset_folder).records if one.split != "test"]


def test_each_image_is_scored_once_by_the_network_that_never_saw_it(folded, records):
    rows = read_csv(folded / "out_of_fold.csv")
    assert sorted(row["image_id"] for row in rows) == sorted(one.image_id for one in records)
    by_id = {one.image_id: one for one in records}
    mix = defectkit.load(folded, device="cpu").approach.tuning.image_mix
    models = {n: defectkit.load(folded / "folds" / f"fold-{n}", device="cpu") for n in (1, 2)}
    for row in rows:
        record = by_id[row["image_id"]]
        assert (row["defective"], row["group"]) == (f"{record.defective:d}", record.group)
        finding = models[int(row["fold"])].find(record.path)
        expected = mix.score(*finding.witnesses)
        assert float(row["score"]) == pytest.approx(expected, abs=1e-6)


def test_the_model_is_of_all_images_and_what_is_chosen_is_of_the_folds(folded, records):
    info = read_json(folded / "model" / "model.json")
    rows = read_csv(folded / "out_of_fold.csv")
    scores, defective = info["out_of_fold"]["scores"], info["out_of_fold"]["defective"]
    assert scores == [float(row["score"]) for row in rows]
    assert defective == [row["defective"] == "1" for row in rows]
    assert info["out_of_fold"]["groups"] == [row["group"] for row in rows]
    assert info["thresholds"] == choose_thresholds(scores, defective)[0].to_dict()
    assert info["validation"]["images"] == len(records)
    assert "was chosen by 2 other networks" in info["note"]
    assert read_json(folded / "run.json")["note"] == info["note"]
    assert [row["validated_images"] for row in read_history(folded / "history.csv")] == [0, 0]
    model = load_file(folded / "model" / "model.safetensors")
    last = load_file(folded / "checkpoints" / "epoch-0002.safetensors")
    assert all(torch.equal(model[key], last[f"ema.module.{key}"]) for key in model)


def test_the_configuration_is_the_one_that_was_asked_for(folded):
    asked = load_config(None, [*TINY, *SMALL[:2], "device=cpu", "train.folds=2"])
    assert load_config(folded / "config.yaml") == asked
    assert load_config(folded / "folds" / "fold-1" / "config.yaml").train.folds is None


def all_trainings(run: Path) -> list[Path]:
    return [run, *(run / "folds").glob("fold-*")]


def test_thresholds_are_chosen_again_by_the_folds_and_its_own_images_are_warned_of(
    folded, tmp_path, quiet
):
    info = read_json(folded / "model" / "model.json")
    kept = info["out_of_fold"]
    rule = ThresholdRule(max_escape_rate=0.8, confidence=0.6)
    expected, _ = choose_thresholds(kept["scores"], kept["defective"], rule, groups=kept["groups"])
    defectkit.evaluate(folded, max_escape_rate=0.8, confidence=0.6, device="cpu", console=quiet)
    assert defectkit.load(folded, device="cpu").thresholds == expected
    console = Console(file=io.StringIO(), width=2000)
    defectkit.evaluate(folded, split="val", best_f1=True, device="cpu", console=console)
    warning = "the model was trained on the images of val, so this result is too good"
    assert warning in console.file.getvalue()
    console = Console(file=io.StringIO(), width=2000)
    out = tmp_path / "comparison"
    table = defectkit.compare(folded, split="val", out=out, device="cpu", console=console)
    assert f"note: {folded.name}: {warning}" in console.file.getvalue()
    parts = [read_history(one / "history.csv")[-1]["seconds"] for one in all_trainings(folded)]
    assert table["train_seconds"][0] > sum(parts)
    restored = read_json(folded / "model" / "model.json")
    assert restored["thresholds"] == info["thresholds"]


def test_a_fold_is_no_run_of_its_own(folded, tmp_path, quiet):
    fold, data = folded / "folds" / "fold-1", {"device": "cpu", "console": quiet}
    for refused in (
        lambda: defectkit.evaluate(fold, **data),
        lambda: defectkit.compare(folded, fold, out=tmp_path / "comparison", **data),
        lambda: defectkit.suspects(fold, out=tmp_path / "suspects", **data),
        lambda: defectkit.train(out=fold, resume=True, **data),
    ):
        with pytest.raises(DatasetError, match=rf"of a fold of {folded}: .* Name {folded}; out_of"):
            refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stopped", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_stopped_in_a_fold_or_in_the_last_training_it_ends_with_the_same_model(
    stopped, dataset_folder, tmp_path, monkeypatch
):
    train_tiny(dataset_folder, tmp_path / "unbroken", *SMALL, folds=2)
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == stopped:
            raise KeyboardInterrupt
        return train_one_epoch(*arguments, **options)

    console = Console(file=io.StringIO(), width=2000)
    run = tmp_path / "run"
    with monkeypatch.context() as once:
        once.setattr("defectkit.training.loop.train_one_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset_folder, run, *SMALL, folds=2, console=console)
    assert f"continue with: defectkit train --resume --out {run}\n" in console.file.getvalue()
    assert read_json(run / "run.json")["status"] == "interrupted"
    summary = defectkit.train(out=run, resume=True, console=console)
    assert read_json(run / "run.json")["status"] == "finished"
    weights, expected = (
        load_file(folder / "model" / "model.safetensors") for folder in (run, tmp_path / "unbroken")
    )
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    infos = [read_json(one / "model" / "model.json") for one in (run, tmp_path / "unbroken")]
    assert infos[0]["thresholds"] == infos[1]["thresholds"]
    assert np.isclose(summary.dice, infos[1]["validation"]["dice"])


@pytest.mark.slow
def test_resumed_twice_with_more_epochs_no_fold_is_left_at_fewer(
    dataset_folder, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    train_tiny(dataset_folder, run, *SMALL, folds=2)
    with monkeypatch.context() as once:
        once.setattr("defectkit.training.loop.train_one_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):  # in the first fold
            defectkit.train(out=run, resume=True, epochs=2, console=Console(file=io.StringIO()))
    for finished_before in (0, 2):
        console = Console(file=io.StringIO(), width=2000)
        defectkit.train(out=run, resume=True, console=console)
        assert console.file.getvalue().count("finished before") == finished_before
        epochs = [len(read_history(one / "history.csv")) for one in all_trainings(run)]
        assert epochs == [2, 2, 2]


def test_what_cannot_be_is_refused_before_there_is_a_run(dataset_folder, tmp_path):
    with pytest.raises(ConfigError, match="--folds 20 needs as many groups with defective images"):
        train_tiny(dataset_folder, tmp_path / "run", folds=20)
    with pytest.raises(ConfigError, match="folds and patience cannot both be set"):
        train_tiny(dataset_folder, tmp_path / "run", "train.patience=2", folds=2)
    message = r"--max-time 0\.03s is too short for 3 trainings: .* Give at least --max-time \d+s"
    with pytest.raises(ConfigError, match=message):
        train_tiny(dataset_folder, tmp_path / "run", folds=2, max_time=0.03)
    assert list(tmp_path.iterdir()) == []


def test_what_a_later_fold_refuses_is_refused_before_there_is_a_run(
    dataset_folder, tmp_path, monkeypatch
):
    real, calls = CropSamples.__init__, []

    def refuse_the_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise DatasetError("refused")
        real(*arguments, **options)

    monkeypatch.setattr(CropSamples, "__init__", refuse_the_second)
    with pytest.raises(DatasetError, match="refused"):
        train_tiny(dataset_folder, tmp_path / "run", *SMALL, folds=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_resumed_run_keeps_its_identity_although_the_last_training_had_not_begun(
    dataset_folder, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as once:
        once.setattr("defectkit.training.loop.train_one_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset_folder, run, *SMALL, folds=2)
    info = read_json(run / "run.json")
    del info["seal"]
    write_json(run / "run.json", add_seal({**info, "identity": "recorded"}))
    defectkit.train(out=run, resume=True, console=Console(file=io.StringIO()))
    assert read_json(run / "model" / "model.json")["run"] == "recorded"
    assert read_json(run / "run.json")["identity"] == "recorded"
