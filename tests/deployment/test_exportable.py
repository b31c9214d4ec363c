from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from untrained import untrained_model

from defectkit.approaches.fused import Fused
from defectkit.config import ARCHITECTURES
from defectkit.deployment.engines import load_engine
from defectkit.deployment.export import export_model
from defectkit.deployment.exportable import NOT_EXPORTED, exportable
from defectkit.deployment.graph_files import openvino_files, read_in_openvino
from defectkit.errors import ExportError

SIZES = [(64, 64), (97, 130), (33, 140), (200, 90)]
SETTINGS = {
    "fcn": ("model.encoder=resnet50",),
    "dpt": ("model.encoder=resnet18",),
    "pan": ("data.crop=128",),
    "patch": ("patch.tile=32", "patch.context=16"),
    "novelty": ("novelty.bank=64",),
}
"""What is asked of an approach, or of one architecture."""
NETWORKS = [(a, name) for a, names in ARCHITECTURES.items() for name in names]
QUICK = ("lenet",)


def settings_of(approach: str, architecture: str) -> tuple[str, ...]:
    return (
        f"approach={approach}",
        f"model.architecture={architecture}",
        "model.encoder=test_resnet",
        *SETTINGS.get(approach, ()),
        *SETTINGS.get(architecture, ()),
    )


def smooth_image(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def check_equal(*settings: str) -> None:
    """Check that a model with random weights answers the same in both formats."""
    trained = untrained_model(*settings)
    export = export_model(trained, kind="onnx", precision="f32", folder=Path("there"))
    files = openvino_files(read_in_openvino(export.files["model.onnx"]), {})
    openvino = replace(export.model, engine=load_engine("openvino", "f32", files))
    for image in [smooth_image(*size) for size in SIZES]:
        ours = trained.find(image)
        # Random weights may say nearly the same everywhere.
        spread = float(ours.score_map.max() - ours.score_map.min())
        for exported in (export.model, openvino):
            theirs = exported.find(image)
            atol = min(1e-4, 1e-2 * spread)
            np.testing.assert_allclose(theirs.score_map, ours.score_map, rtol=0, atol=atol)
            assert theirs.score == pytest.approx(ours.score, abs=1e-4)


@pytest.mark.parametrize(
    ("approach", "architecture"),
    [
        pytest.param(*one, id=one[1], marks=() if one[1] in QUICK else pytest.mark.slow)
        for one in NETWORKS
        if one[1] not in NOT_EXPORTED
    ],
)
def test_all_that_is_not_in_the_list_is_exported_and_answers_the_same(approach, architecture):
    check_equal(*settings_of(approach, architecture))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        (*settings_of("patch", "classifier"), "patch.stride=8"),
        (*settings_of("segment", "unet"), "model.encoder=tf_efficientnet_lite0"),
        (*settings_of("segment", "unet"), "loss.cross_entropy=1", "loss.bce=0", "infer.flip=true"),
        (*settings_of("segment", "unet"), "model.input_reduction=2"),
        (*settings_of("novelty", "patch_core"), "novelty.bank=1500"),
        (*settings_of("patch", "classifier"), "model.encoder=tf_efficientnet_lite0"),
    ],
    ids=[
        *("shifted tiles", "static padding", "exclusive classes", "reduced images"),
        *("bank in parts", "padded tiles"),
    ],
)
def test_so_it_does_whatever_is_asked_of_it(settings):
    check_equal(*settings)


@pytest.mark.parametrize(
    ("approach", "architecture"),
    [pytest.param(*one, id=one[1]) for one in NETWORKS if one[1] in NOT_EXPORTED],
)
def test_what_is_in_the_list_is_refused_with_its_reason(approach, architecture):
    model = untrained_model(*settings_of(approach, architecture))
    with pytest.raises(
        ExportError, match=rf"box \({architecture}\) cannot.*a detector gives boxes"
    ):
        exportable(model.approach, model.network)


def test_single_tiles_are_refused():
    model = untrained_model(
        "approach=patch", "model.architecture=classifier", "model.encoder=alexnet", "patch.tile=64"
    )
    with pytest.raises(ExportError, match="one tile at a time.*Inspect with the run itself"):
        exportable(model.approach, model.network)


def test_fused_novelty_is_refused():
    novelty = untrained_model(*settings_of("novelty", "patch_core"))
    trained = untrained_model("model.architecture=pixel_net")
    fused = Fused(novelty.approach, trained.approach)
    with pytest.raises(ExportError, match=r"novelty \+ segment .* has two networks"):
        exportable(fused, novelty.network)


def test_the_list_names_nothing_else():
    architectures = {name for _, name in NETWORKS}
    assert set(NOT_EXPORTED) - architectures == {"fused", "single tiles"}
