import numpy as np
import pytest
import torch
from torch import nn

from defectkit.approaches.build import build_approach
from defectkit.approaches.graphs import ImageGraph, SegmentGraph, image_scores, run_graph
from defectkit.approaches.image_mix import ImageMix
from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.config import load_config
from defectkit.errors import NotFiniteError
from defectkit.models.losses import class_probabilities
from defectkit.models.network import Network
from defectkit.models.segmentation.segmenter import SegmenterOutput

RNG = np.random.default_rng(3)
CPU = torch.device("cpu")
MIX = ImageMix(map_weight=0.7, image_weight=0.4, bias=-0.3)


class Far(nn.Module):
    """A network that looks 7 pixels far, and judges images as a whole."""

    size_divisor = 16

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 3, 15, padding=7)

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        pixels = self.conv(images.float() / 64 - 2)
        return SegmenterOutput(pixels, pixels.mean(dim=(1, 2, 3)))


def by_numpy(network: Far, batch: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of images, with numpy's padding."""
    height, width = batch.shape[1:3]
    around = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    wide = np.pad(batch, around, mode="symmetric")
    beyond = [(0, 0), *((0, -side % 16) for side in wide.shape[1:3]), (0, 0)]
    wide = np.pad(wide, beyond, mode="symmetric")
    with torch.inference_mode():
        pixels, images = network(torch.from_numpy(wide).permute(0, 3, 1, 2))
        logits = pixels[:, :, margin : margin + height, margin : margin + width]
        return class_probabilities(logits, "apart").numpy(), images.numpy()


@pytest.mark.parametrize("margin", [0, 5, 40])
@pytest.mark.parametrize("size", [(16, 16), (3, 50), (37, 20)])
def test_borders_are_reflected_as_numpy_does_it(size, margin):
    batch = RNG.integers(0, 256, (2, *size, 3), np.uint8)
    graph = SegmentGraph(Far(), layout="apart", margin=margin, flip=False)
    scores, decisions = run_graph(graph, batch, CPU)
    expected, judged = by_numpy(graph.network, batch, margin)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(decisions, judged)


def test_the_mirrored_image_has_the_same_say():
    batch = RNG.integers(0, 256, (2, 32, 48, 3), np.uint8)
    graph = SegmentGraph(Far(), layout="apart", margin=0, flip=True)
    scores, decisions = run_graph(graph, batch, CPU)
    mirrored, others = run_graph(graph, batch[:, :, ::-1], CPU)
    np.testing.assert_allclose(scores, mirrored[..., ::-1], atol=1e-6)
    np.testing.assert_allclose(decisions, others, atol=1e-6)


@pytest.mark.parametrize("mix", [ImageMix(), MIX])
@pytest.mark.parametrize("size", [(5, 5), (6, 40), (33, 17)])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_the_score_of_an_image_is_that_of_its_finding(size, mix, scale):
    maps = (scale * RNG.random((4, 2, *size), np.float32)) ** 3
    maps[0], maps[1] = 0.0, 1.0
    logits = np.array([-3.0, 2.0, 0.5, 30.0], np.float32)
    for given in (None, torch.from_numpy(logits)):
        scores = image_scores(torch.from_numpy(maps), given, mix).numpy()
        findings = [
            make_finding(
                one,
                ("1", "2"),
                tuning=Tuning(image_mix=mix),
                image_logit=None if given is None else float(logit),
            )
            for one, logit in zip(maps, logits, strict=True)
        ]
        np.testing.assert_allclose(scores, [one.score for one in findings], atol=1e-6)


def test_the_names_of_the_outputs():
    graph = SegmentGraph(Far(), layout="apart", margin=8, flip=False)
    with torch.inference_mode():
        outputs = ImageGraph(graph, MIX)(torch.zeros(2, 20, 30, 3, dtype=torch.uint8))
    assert {name: tuple(one.shape) for name, one in outputs.items()} == {
        "score_map": (2, 2, 20, 30),
        "image_logit": (2,),
        "image_score": (2,),
    }


def test_without_a_judgment_of_the_whole_the_score_of_the_map_is_scaled():
    scores = torch.rand(3, 2, 12, 9)
    for mix in (ImageMix(), ImageMix(alone_weight=0.3, alone_bias=-2.0)):
        expected = [
            make_finding(one, ("a", "b"), tuning=Tuning(image_mix=mix)).score
            for one in scores.numpy()
        ]
        np.testing.assert_allclose(image_scores(scores, None, mix), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("approach", "settings"),
    [
        ("segment", ("model.encoder=resnet18",)),
        ("segment", ("model.encoder=resnet18", "loss.classes=0")),
        ("segment", ("model.architecture=segnet",)),
        ("patch", ("model.encoder=resnet18",)),
        ("novelty", ("model.encoder=resnet18",)),
    ],
)
def test_any_defect_is_what_all_classes_are(approach, settings):
    config = load_config(None, [f"approach={approach}", *settings, "model.weights=none"])
    torch.manual_seed(0)
    made = build_approach(config, classes=("1", "2"), channels=1)
    network = made.network().eval()
    batch = RNG.integers(0, 256, (2, 70, 90, 1), np.uint8)
    scores, decisions = run_graph(made.graph(network), batch, CPU)
    any_defect, same = run_graph(made.graph(network, any_defect=True), batch, CPU)
    assert any_defect.shape == (2, 1, 70, 90)
    np.testing.assert_allclose(any_defect[:, 0], scores.max(axis=1), atol=1e-6)
    assert (decisions is None) == (same is None)
    if same is not None:
        np.testing.assert_allclose(same, decisions, atol=1e-5)


def dtypes_of(network: Network) -> list[torch.dtype]:
    """Return a list that gets the dtype of what each convolution of a network returns."""
    dtypes: list[torch.dtype] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, out: dtypes.append(out.dtype))
    return dtypes


@pytest.mark.parametrize(
    ("approach", "settings"),
    [
        ("segment", ("model.encoder=resnet18",)),
        ("segment", ("model.architecture=segnet", "infer.flip=true")),
        ("patch", ("model.encoder=resnet18",)),
        ("patch", ("model.architecture=lenet",)),
        ("box", ("model.architecture=localizer", "model.encoder=resnet18")),
        ("box", ("model.architecture=faster_rcnn", "model.encoder=resnet18")),
    ],
)
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_network_computes_in_the_precision_that_is_asked_for(approach, settings, amp):
    def make(amp: str):
        names = (f"approach={approach}", *settings, "model.weights=none", f"infer.amp={amp}")
        return build_approach(load_config(None, names), classes=("1", "2"), channels=1)

    torch.manual_seed(0)
    network = make("off").network().eval()
    image = RNG.integers(0, 256, (70, 90, 1), np.uint8)
    [exact] = make("off").find(network, [image])
    dtypes = dtypes_of(network)
    [found] = make(amp).find(network, [image])
    expected = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
    assert set(dtypes) == {expected}
    assert found.score_map.dtype == np.float32
    assert abs(found.score - exact.score) <= (0 if amp == "off" else 0.02)


def test_what_fp16_cannot_hold_is_told():
    made = build_approach(
        load_config(None, ["infer.amp=fp16", "model.architecture=segnet", "model.weights=none"]),
        classes=("1",),
        channels=1,
    )
    network = made.network().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 9.0)
    image = np.full((64, 64, 1), 255, np.uint8)
    with pytest.raises(NotFiniteError, match=r"or fp16 cannot hold them .*--set infer\.amp=off"):
        made.find(network, [image])


def test_an_exported_graph_computes_in_32_bits():
    config = load_config(None, ["infer.amp=bf16", "model.weights=none"])
    made = build_approach(config, classes=("1",), channels=1)
    network = made.network().eval()
    dtypes = dtypes_of(network)
    run_graph(made.graph(network), RNG.integers(0, 256, (1, 64, 64, 1), np.uint8), CPU)
    assert set(dtypes) == {torch.float32}
