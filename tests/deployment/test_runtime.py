import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from exported_models import write_exported
from found_sparsely import assert_same
from resealing import reseal

import defectkit
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.passes import Passes
from defectkit.approaches.tuning import Tuning
from defectkit.deployment import runtime
from defectkit.deployment.runtime import ExportedModel
from defectkit.errors import (
    ConfigError,
    ImageError,
    MissingPackageError,
    ModelError,
    NotFiniteError,
)
from defectkit.files import read_json
from defectkit.findings import Finding, SparseFinding
from defectkit.labels.scope import Scope

RNG = np.random.default_rng(5)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)
KINDS = pytest.mark.parametrize("kind", ["openvino", "onnx"])
HEAVY = {"torch", "pandas", "matplotlib", "scipy", "skimage", "sklearn", "openvino_telemetry"}


def spotted(shape=(40, 60, 3)) -> np.ndarray:
    """A black image with a blue spot of 6x8 pixels."""
    image = np.zeros(shape, np.uint8)
    image[10:16, 20:28, 2] = 204
    return image


@KINDS
def test_the_scores_are_those_of_the_graph(tmp_path, kind):
    model = ExportedModel.load(write_exported(tmp_path / "m", kind=kind))
    finding = model.find(IMAGE)
    np.testing.assert_allclose(finding.score_map[0], IMAGE[..., 2] / 255, atol=1e-6)
    assert finding.witnesses == (finding.score, None)
    [region] = model.find(spotted()).regions
    assert region.box_xywh == (20, 10, 8, 6)
    assert region.class_id == "scratch"
    assert region.score == pytest.approx(0.8)
    assert model.device_name.startswith("cpu (")


@KINDS
def test_images_of_several_sizes_are_taken_together(tmp_path, kind):
    model = ExportedModel.load(write_exported(tmp_path / "m", kind=kind))
    images = [IMAGE, IMAGE[:17], spotted(), IMAGE[::-1]]
    for image, finding in zip(images, model.find_all(images), strict=True):
        np.testing.assert_allclose(finding.score_map[0], image[..., 2] / 255, atol=1e-6)


def test_findings_of_earlier_images_stay_as_they_are(tmp_path):
    model = ExportedModel.load(write_exported(tmp_path / "m"))
    earlier = model.find(spotted())
    before = earlier.score_map.copy()
    model.find(np.full((40, 60, 3), 255, np.uint8))
    np.testing.assert_array_equal(earlier.score_map, before)


def test_large_images_go_through_in_tiles(tmp_path):
    seen = []
    passes = Passes(tile=32, overlap=8)
    model = ExportedModel.load(write_exported(tmp_path / "m", passes=passes))
    run = model.engine.run
    watched = replace(model.engine, run=lambda batch: seen.append(batch.shape) or run(batch))
    finding = replace(model, engine=watched).find(IMAGE)
    np.testing.assert_allclose(finding.score_map[0], IMAGE[..., 2] / 255, atol=1e-6)
    assert len(seen) > 1
    assert {shape[1:3] for shape in seen} == {(32, 32)}


@KINDS
def test_a_judgment_of_the_whole_image_is_mixed_in(tmp_path, kind):
    mix = ImageMix(map_weight=0.0, image_weight=1.0)
    folder = write_exported(tmp_path / "m", kind=kind, logit=2.0, tuning=Tuning(image_mix=mix))
    finding = ExportedModel.load(folder).find(spotted())
    assert finding.score == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert finding.witnesses == (pytest.approx(0.8), pytest.approx(2.0))


def test_nothing_is_found_outside_of_the_scope(tmp_path):
    roi = {"shape": "0,0,10,10", "height": 40, "width": 60}
    model = ExportedModel.load(write_exported(tmp_path / "m", roi=roi))
    assert model.find(spotted()).regions == ()
    everywhere = Scope(roi=np.ones((40, 60), bool))
    assert len(model.find(spotted(), everywhere).regions) == 1


@pytest.mark.parametrize("logit", [None, 2.0])
@pytest.mark.parametrize("tile", [1024, 48])
def test_a_look_gives_the_score_of_the_finding(tmp_path, logit, tile):
    mix = ImageMix(map_weight=0.7, image_weight=0.5, bias=-0.4, alone_weight=0.9, alone_bias=0.2)
    model = ExportedModel.load(
        write_exported(
            tmp_path / "line",
            logit=logit,
            passes=Passes(tile=tile, overlap=16),
            tuning=Tuning(image_mix=mix),
        )
    )
    image = IMAGE
    ignored = np.zeros(image.shape[:2], bool)
    ignored[:, :30] = True
    scopes = [Scope(), Scope(ignored=ignored)]
    expected = [model.find(image, scope).score for scope in scopes]
    assert [model.look(image, scope) for scope in scopes] == expected
    assert model.look_all([image, image], scopes) == expected
    assert len(set(expected)) == 2


def test_what_was_tuned_is_used(tmp_path):
    folder = write_exported(tmp_path / "m", tuning=Tuning(pixel_threshold=0.9))
    assert ExportedModel.load(folder).find(spotted()).regions == ()
    folder = write_exported(tmp_path / "n", tuning=Tuning(min_area=49))
    assert ExportedModel.load(folder).find(spotted()).regions == ()


@KINDS
@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(tmp_path, kind, scale):
    model = ExportedModel.load(write_exported(tmp_path / "m", kind=kind, scale=scale))
    with pytest.raises(NotFiniteError, match="m gives scores that are not finite.*train.lr"):
        model.find(spotted())


def test_a_logit_that_is_not_finite_is_refused(tmp_path):
    model = ExportedModel.load(write_exported(tmp_path / "m", logit=np.nan))
    with pytest.raises(NotFiniteError, match="not finite"):
        model.find(spotted())


@KINDS
def test_several_threads_use_one_model(tmp_path, kind):
    model = ExportedModel.load(write_exported(tmp_path / "m", kind=kind))
    images = [RNG.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for image, finding in zip(images, threads.map(model.find, images), strict=True):
            np.testing.assert_allclose(finding.score_map[0], image[..., 2] / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_changed_file_is_refused(tmp_path, name):
    folder = write_exported(tmp_path / "m")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ModelError, match=f"{name} is damaged: its SHA-256 differs"):
        ExportedModel.load(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        ExportedModel.load(folder)


def test_a_changed_description_is_refused(tmp_path):
    folder = write_exported(tmp_path / "m")
    path = folder / "model.json"
    path.write_text(path.read_text().replace('"scratch"', '"dent"'))
    with pytest.raises(ModelError, match="was changed after it was written"):
        ExportedModel.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"passes": {"tile": 0, "overlap": 0}}, r"exported.passes.tile: .*greater than or equal"),
        ({"format": "tensorrt"}, "exported.format: Input should be 'openvino' or 'onnx'"),
        ({"files": {}}, "m is damaged .*sha256"),
        ({"found_classes": ["a", "b"]}, r"scores of shape \(1, 1, 40, 60\) where \(1, 2, 40, 60\)"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, changes, message):
    folder = write_exported(tmp_path / "m")
    exported = read_json(folder / "model.json")["exported"]
    reseal(folder / "model.json", exported={**exported, **changes})
    with pytest.raises(ModelError, match=message):
        ExportedModel.load(folder).find(spotted())


@KINDS
def test_files_that_are_no_graph_are_refused(tmp_path, kind):
    folder = write_exported(tmp_path / "m", kind=kind)
    exported = read_json(folder / "model.json")["exported"]
    name = next(iter(exported["files"]))
    (folder / name).write_bytes(b"nothing")
    files = {**exported["files"], name: defectkit.files.sha256_bytes(b"nothing")}
    reseal(folder / "model.json", exported={**exported, "files": files})
    with pytest.raises(ModelError, match="m cannot be used by this version of defectkit"):
        ExportedModel.load(folder)


def test_images_of_other_channels_than_the_graph_are_refused(tmp_path):
    folder = write_exported(tmp_path / "m", channels=3)
    reseal(folder / "model.json", channels=4)
    with pytest.raises(ModelError, match="m cannot be used"):
        ExportedModel.load(folder).find(np.zeros((8, 8, 4), np.uint8))


@pytest.mark.parametrize("device", ["cuda", "mps", "tpu"])
def test_other_devices_are_refused(tmp_path, device):
    folder = write_exported(tmp_path / "m")
    with pytest.raises(ConfigError, match=f"computes on the CPU, not on '{device}'. Use --device"):
        ExportedModel.load(folder, device=device)
    assert ExportedModel.load(folder, device="cpu").channels == 3


@pytest.mark.parametrize(
    ("kind", "package", "wanted"),
    [("openvino", "openvino", "openvino"), ("onnx", "onnxruntime", r"'defectkit\[onnx\]'")],
)
def test_a_missing_package_is_named_with_the_way_out(tmp_path, monkeypatch, kind, package, wanted):
    folder = write_exported(tmp_path / "m", kind=kind)
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"needs {package}, which is not .*pip install {wanted}$"
    with pytest.raises(MissingPackageError, match=message):
        ExportedModel.load(folder)


def test_no_run_is_loaded_as_an_exported_model(run_folder):
    with pytest.raises(ModelError, match="it is no exported model"):
        ExportedModel.load(run_folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_fork_of_the_process_is_refused(tmp_path, monkeypatch):
    model = ExportedModel.load(write_exported(tmp_path / "m"))
    monkeypatch.setattr("defectkit.deployment.runtime.os.getpid", lambda: -1)
    with pytest.raises(ModelError, match="forked after it was loaded. Load it there, or"):
        model.find(IMAGE)


def test_it_needs_no_torch(tmp_path):
    folder = write_exported(tmp_path / "m")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, defectkit\n"
        f"finding = defectkit.load({str(folder)!r}).find(np.full((9, 9, 3), 255, np.uint8))\n"
        "assert finding.score == 1.0\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert heavy == {'torch'}, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@KINDS
def test_memory_is_given_back_after_a_large_image_alone(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("defectkit.deployment.runtime.LARGE_PIXELS", 40 * 60)
    model, released = ExportedModel.load(write_exported(tmp_path / "m", kind=kind)), []

    def release() -> None:
        released.append(True)
        model.engine.release()

    watched = replace(model, engine=replace(model.engine, release=release))
    before = watched.find(IMAGE).score_map
    assert not released
    watched.find(np.zeros((41, 60, 3), np.uint8))
    assert released
    np.testing.assert_array_equal(watched.find(IMAGE).score_map, before)


def test_memory_that_another_thread_uses_is_not_given_back(tmp_path):
    model = ExportedModel.load(write_exported(tmp_path / "m"))
    images = [RNG.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(60)]
    with ThreadPoolExecutor(3) as threads:
        found = threads.map(model.find, images)
        for image, finding in zip(images, found, strict=True):
            model.engine.release()
            np.testing.assert_allclose(finding.score_map[0], image[..., 2] / 255, atol=1e-6)


@pytest.mark.parametrize("resize", [None, 16])
@pytest.mark.parametrize("gray", [True, False])
def test_a_large_image_has_no_score_map_but_what_is_told_is_the_same(
    tmp_path, monkeypatch, resize, gray
):
    passes = Passes(tile=32, overlap=8, resize=resize)
    folder = write_exported(tmp_path / "m", passes=passes, classes=("a", "b"), logit=0.5)
    model = ExportedModel.load(folder)
    image = RNG.integers(0, 256, (70, 90) if gray else (70, 90, 3), np.uint8)
    roi = np.zeros((70, 90), np.bool_)
    roi[10:50, 20:80] = True
    for scope in (Scope(), Scope(roi=roi), Scope(ignored=roi)):
        expected = model.find(image, scope)
        assert model.find_sparsely(image, scope).score == expected.score  # It is small.
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "LARGE_PIXELS", 6000)
            found = model.find_sparsely(image, scope)
            assert isinstance(found, SparseFinding) == (
                passes.resize is None and scope.ignored is None
            )
            if isinstance(found, SparseFinding):
                assert_same(found, expected)
            patch.setattr(runtime, "MAX_SPARSE_PIXELS", 70 * 90 - 1)
            assert isinstance(model.find_sparsely(image, scope), Finding)


def test_a_large_image_of_other_channels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "LARGE_PIXELS", 100)
    model = ExportedModel.load(write_exported(tmp_path / "m", passes=Passes(tile=32, overlap=8)))
    with pytest.raises(ImageError, match="must be"):
        model.find_sparsely(np.zeros((70, 90, 4), np.uint8), Scope())
