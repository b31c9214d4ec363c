import pytest
import timm
import torch

from defectkit.errors import ModelError
from defectkit.models.classification.classifiers import (
    DenseClassifier,
    SingleTileClassifier,
    build_classifier,
)
from defectkit.models.classification.tile_classifier import TileClassifier
from defectkit.models.encoders import normalization


def classifier(encoder: str, **changes) -> TileClassifier:
    options = {
        "tile": 32, "context": 16, "reduction": 16, "in_channels": 1, "out_channels": 3,
        "state": None, **changes,
    }  # fmt: skip
    return build_classifier(encoder=encoder, **options)


@pytest.mark.parametrize(
    ("encoder", "reduction"),
    [("tf_efficientnet_lite0", 16), ("resnet18", 8), ("resnet18", 32), ("convnext_atto", 16)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoder_is_cut_off_and_run_densely(encoder, reduction, channels):
    network = classifier(
        encoder, reduction=reduction, tile=64, context=32, in_channels=channels
    ).eval()
    assert isinstance(network, DenseClassifier)
    assert network.stride == reduction
    with torch.inference_mode():
        images = torch.zeros(2, channels, 128, 128, dtype=torch.uint8)
        assert network(images).shape == (2, 3, 1, 1)
        larger = torch.zeros(1, channels, 128 + reduction, 128 + 2 * reduction)
        assert network(larger).shape == (1, 3, 2, 3)


def test_a_tile_is_judged_by_the_mean_of_its_own_places():
    torch.manual_seed(0)
    network = classifier("resnet18").eval()
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    mean, std = normalization("resnet18")
    with torch.inference_mode():
        places = network.features((images.float() - mean) / std)[-1]  # (2, 256, 4, 4)
        pooled = places[:, :, 1:3, 1:3].mean(dim=(2, 3))
        expected = pooled @ network.head.weight.flatten(1).T + network.head.bias
        torch.testing.assert_close(network(images)[:, :, 0, 0], expected, atol=1e-5, rtol=1e-4)


def test_dropout_drops_channels_of_the_whole_tile():
    torch.manual_seed(0)
    network = classifier("resnet18").train()
    kept = network.dropout(torch.ones(1, 200, 4, 4)).flatten(2)
    assert ((kept == 0).all(dim=2) | (kept > 0).all(dim=2)).all()
    assert 0 < (kept == 0).float().mean() < 0.5


@pytest.mark.parametrize("encoder", ["alexnet", "googlenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_network_classifies_tiles_alone(encoder, channels):
    network = classifier(encoder, tile=64, in_channels=channels).eval()
    assert isinstance(network, SingleTileClassifier)
    assert network.stride is None
    with torch.inference_mode():
        logits = network(torch.zeros(2, channels, network.size, network.size, dtype=torch.uint8))
    assert logits.shape == (2, 3, 1, 1)


def test_a_map_that_lies_on_no_grid_or_is_all_of_one_size_makes_a_network_whole():
    inception = classifier("inception_v3", tile=64)
    assert isinstance(inception, SingleTileClassifier)
    # 12 layers of one size, for images of any: its first alone would be no classifier.
    transformer = classifier("vit_small_patch16_dinov3")
    assert isinstance(transformer, SingleTileClassifier)
    assert len(transformer.features.blocks) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 40}, r"patch.tile=40 is not divisible by patch.reduction=16. Use 32 or 48\."),
        ({"tile": 32, "context": 24, "reduction": 32}, r"patch.context=24 .* Use 0 or 32\."),
        ({"tile": 16, "reduction": 32}, r"patch.tile=16 .* Use 32\."),
        ({"context": 10}, r"patch.context=10 .* Use 0 or 16\."),
    ],
)
def test_tiles_that_are_no_multiple_of_the_reduction_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        classifier("resnet18", **changes)


def test_pretrained_weights_are_taken_and_known():
    torch.manual_seed(0)
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    network = classifier("resnet18", state=state)
    assert network.encoder is network.features
    assert network.stage_ends == ("act1", "layer1", "layer2", "layer3")
    weights = network.state_dict()
    torch.testing.assert_close(
        weights["features.conv1.weight"], state["conv1.weight"].sum(dim=1, keepdim=True)
    )
    torch.testing.assert_close(
        weights["features.layer3.1.conv2.weight"], state["layer3.1.conv2.weight"]
    )
    assert not [key for key in weights if "layer4" in key]
    assert classifier("resnet18").encoder is None
    assert network.training
