import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_training import train_tiny

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.deployment import export as export_module
from defectkit.deployment.bundle import TrainedModel
from defectkit.deployment.cascade import Cascade
from defectkit.deployment.runtime import ExportedModel
from defectkit.errors import ConfigError, DatasetError, ExportError, OutputError
from defectkit.evaluation.verdicts import verdict
from defectkit.files import read_json

QUIET = Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory) -> Path:
    """The tiny run, exported. Do not change."""
    out = tmp_path_factory.mktemp("exported") / "line"
    return defectkit.export(run_folder, out=out, console=QUIET).out


@pytest.fixture
def fast(monkeypatch, exported) -> None:
    """Let an export take the files that lie there, instead of tracing the network again."""
    files = {name: (exported / name).read_bytes() for name in ("model.xml", "model.bin")}
    monkeypatch.setattr(export_module, "trace_to_onnx", lambda *_, **__: None)
    monkeypatch.setattr(export_module, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(export_module, "read_in_openvino", lambda *_: None)
    monkeypatch.setattr(export_module, "openvino_files", lambda *_: files)


@pytest.fixture
def darker(monkeypatch, fast) -> None:
    """As ``fast``, and the exported model sees darker images."""
    load = export_module.load_engine

    def load_darker(*arguments):
        engine = load(*arguments)
        return replace(engine, run=lambda batch: engine.run(batch // 2))

    monkeypatch.setattr(export_module, "load_engine", load_darker)


def test_an_exported_run_inspects_as_the_run_does(exported, run_folder, dataset_folder, tmp_path):
    paths = [record.path for record in Dataset.load(dataset_folder).split("test")]
    trained, line = defectkit.load(run_folder, device="cpu"), defectkit.load(exported)
    assert isinstance(line, ExportedModel)
    for path in paths:
        ours, theirs = trained.find(path), line.find(path)
        assert theirs.score == pytest.approx(ours.score, abs=1e-4)
        np.testing.assert_allclose(theirs.score_map, ours.score_map, atol=1e-4)
        near = np.abs(ours.defect_map - trained.tuning.pixel_threshold) < 1e-4
        np.testing.assert_array_equal(theirs.mask[~near], ours.mask[~near])
    for name, model in (("ours", run_folder), ("theirs", exported)):
        defectkit.inspect(model, *paths, out=tmp_path / name, console=QUIET)
    rows = [(tmp_path / name / "regions.csv").read_text() for name in ("ours", "theirs")]
    assert len(rows[0].splitlines()) == len(rows[1].splitlines())


def test_the_table_is_kept_with_the_model(exported, dataset_folder):
    info = read_json(exported / "model.json")
    parity = info["exported"]["parity"]
    assert parity["images"] == len(Dataset.load(dataset_folder).split("val"))
    assert parity["verdicts_that_flip"] == 0
    assert parity["largest_move_of_a_score"] <= 1e-4
    assert parity["allowed"] == {"verdicts": 0, "mask_pixels": 1e-4, "score": 1e-4}


@pytest.mark.check(21)
def test_what_answers_otherwise_is_not_written(darker, run_folder, tmp_path):
    with pytest.raises(ExportError, match=r"does not answer as .*Nothing was written.*onnx"):
        defectkit.export(run_folder, out=tmp_path / "line", console=QUIET)
    left = {path.name for path in (tmp_path / "line").rglob("*")}
    assert left <= {".defectkit.lock", ".defectkit.json"}


def test_an_earlier_export_is_kept_if_a_new_one_fails(darker, run_folder, exported, tmp_path):
    out = Path(shutil.copytree(exported, tmp_path / "line"))
    before = {path.name: path.read_bytes() for path in out.glob("model.*")}
    with pytest.raises(ExportError):
        defectkit.export(run_folder, out=out, console=QUIET)
    assert {path.name: path.read_bytes() for path in out.glob("model.*")} == before


def test_an_earlier_export_is_replaced_as_a_whole(fast, run_copy, monkeypatch):
    out = defectkit.export(run_copy, console=QUIET).out
    assert out == run_copy / "exported"
    monkeypatch.setattr(export_module, "openvino_files", lambda *_: {})
    monkeypatch.setattr(export_module, "onnx_bytes", lambda *_: b"onnx")
    before = ExportedModel.load(out).engine
    monkeypatch.setattr(export_module, "load_engine", lambda *_: before)
    defectkit.export(run_copy, format="onnx", console=QUIET)
    names = {path.name for path in out.iterdir()}
    assert {"model.onnx", "model.json"} <= names
    assert not {"model.xml", "model.bin", "unfinished"} & names


@pytest.mark.parametrize("name", ["model.json", "model.xml"])
def test_files_of_the_user_stay(fast, run_folder, tmp_path, name):
    own = tmp_path / "line" / name
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(OutputError, match="Move it away, or choose another folder"):
        defectkit.export(run_folder, out=own.parent, console=QUIET)
    assert own.read_text() == "mine"


def test_a_model_folder_of_a_training_stays(fast, run_copy):
    with pytest.raises(OutputError, match="another command"):
        defectkit.export(run_copy, out=run_copy / "model", console=QUIET)


def test_it_needs_the_images_of_the_run(fast, run_folder, tmp_path):
    with pytest.raises(DatasetError):
        defectkit.export(run_folder, data=tmp_path, out=tmp_path / "line", console=QUIET)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_need_openvino(run_folder, precision):
    with pytest.raises(ConfigError, match=f"precision {precision} needs OpenVINO"):
        defectkit.export(run_folder, format="onnx", precision=precision, console=QUIET)


def test_the_command_line(fast, cli, run_folder, tmp_path):
    done = cli("export", run_folder, "--out", tmp_path / "line")
    assert done.code == 0
    assert "on 5 validation images: no verdicts flip, 0 of" in done.err
    assert f"Next: defectkit inspect {tmp_path / 'line'}" in done.err
    assert "--format" in cli("export", "--help").out


@pytest.mark.slow
def test_a_run_is_its_own_first_model_in_8_bits(run_folder, dataset_folder, tmp_path, monkeypatch):
    # A network that has learned as little as this one ranks no image as it did, neither in 8 bits
    # nor from a part of its decoder.
    monkeypatch.setattr(export_module, "quantize", lambda model, _, **__: model)
    monkeypatch.setattr(export_module, "coarse_graph", lambda graph, _: graph)
    console = Console(file=io.StringIO(), width=500)
    out = defectkit.export(run_folder, first=run_folder, out=tmp_path / "line", console=console).out
    told = console.file.getvalue()
    assert "the first model passes" in told
    assert {path.name for path in (out / "first").iterdir()} == {
        *("model.xml", "model.bin", "model.json")
    }
    model, full = defectkit.load(out), defectkit.load(run_folder, device="cpu")
    assert isinstance(model, Cascade)
    assert model.first.exported.precision == "int8"
    assert model.first.found_classes == ("defect",)
    dataset = Dataset.load(dataset_folder)
    for record in dataset.split("val"):
        ours, theirs = model.find(record.path), full.find(record.path)
        if record.defective and theirs.score >= full.thresholds.low:
            assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        if theirs.score < full.thresholds.low:
            assert verdict(ours.score, model.thresholds) == "good"
    summary = defectkit.inspect(
        out, *[record.path for record in dataset.split("test")], out=tmp_path / "i", console=QUIET
    )
    assert summary.unreadable == 0


@pytest.mark.check(21)
def test_int8_is_calibrated_on_training_images_and_kept_if_no_verdict_flips(
    fast, run_folder, dataset_folder, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(export_module, "quantize", lambda _, parts, **__: seen.extend(parts))
    out = tmp_path / "line"
    defectkit.export(run_folder, precision="int8", out=out, console=QUIET)
    assert ExportedModel.load(out).exported.precision == "int8"
    records = Dataset.load(dataset_folder).split("train")
    for record, part in zip(records, seen, strict=True):
        np.testing.assert_array_equal(record.read_image(1), part[0])


@pytest.mark.check(21)
def test_an_int8_that_flips_a_verdict_is_not_kept(
    fast, run_folder, dataset_folder, tmp_path, monkeypatch
):
    trained = defectkit.load(run_folder, device="cpu")
    paths = [record.path for record in Dataset.load(dataset_folder).split("val")]
    largest = max(trained.find(path).score for path in paths)
    monkeypatch.setattr(export_module, "quantize", lambda *_, **__: None)
    load = export_module.load_engine
    # So little that only a verdict tells: the threshold lies at the largest score.
    model = replace(trained, thresholds=replace(trained.thresholds, low=largest, high=largest))
    monkeypatch.setattr(TrainedModel, "load", lambda *_, **__: model)

    def load_lower(*arguments):
        engine = load(*arguments)

        def run(batch):
            outputs = engine.run(batch)
            return {**outputs, "score_map": outputs["score_map"] * np.float32(0.999)}

        return replace(engine, run=run)

    monkeypatch.setattr(export_module, "load_engine", load_lower)
    with pytest.raises(ExportError, match=r"1 of 5 verdicts flip .*--precision f32"):
        defectkit.export(run_folder, precision="int8", out=tmp_path / "line", console=QUIET)


def test_a_run_that_scores_in_16_bits_is_exported_in_32(dataset_folder, tmp_path, cli):
    run = train_tiny(dataset_folder, tmp_path / "run", "infer.amp=bf16").run
    assert cli("evaluate", str(run), "--device", "cpu").code == 0
    [metrics] = run.rglob("metrics.json")
    assert read_json(metrics)["speed"]["device"].endswith(", bf16")
    said = cli("export", str(run), "--out", str(tmp_path / "line"))
    assert said.code == 0
    assert "scores images in bf16 (infer.amp), and its thresholds were chosen for that" in said.err
    parity = read_json(tmp_path / "line" / "model.json")["exported"]["parity"]
    assert parity["largest_move_of_a_score"] <= parity["allowed"]["score"] == 1e-4
