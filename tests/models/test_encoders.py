import pytest
import timm
import torch

from defectkit.errors import ModelError
from defectkit.models.encoders import build_features, load_into_encoder

LITE0 = "tf_efficientnet_lite0"


def random_state(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return timm.create_model(name, pretrained=False).state_dict()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_weights_of_three_input_channels_are_shared_by_any_number(channels):
    state = random_state("resnet18")
    encoder = timm.create_model("resnet18", features_only=True, in_chans=channels)
    load_into_encoder(encoder, state)
    expected = state["conv1.weight"]
    if channels != 3:
        expected = (expected.sum(dim=1, keepdim=True) / channels).expand(-1, channels, -1, -1)
    torch.testing.assert_close(encoder.state_dict()["conv1.weight"], expected)


def test_names_with_dots_and_with_underscores_are_the_same():
    # timm writes stages.0 as stages_0 where only features are asked for.
    state = random_state("convnext_atto")
    encoder = timm.create_model("convnext_atto", features_only=True)
    assert not set(encoder.state_dict()) <= set(state)
    load_into_encoder(encoder, state)
    key = "stages_3.blocks.1.mlp.fc1.weight"
    given = next(value for name, value in state.items() if name == key.replace("_3.", ".3."))
    assert torch.equal(encoder.state_dict()[key], given)


def test_weights_of_another_network_are_refused():
    encoder = timm.create_model("resnet18", features_only=True)
    state = random_state("resnet18")
    lacking = {key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}
    with pytest.raises(ModelError, match=r"lack 'layer1\.0\.conv1\.weight'.*another network"):
        load_into_encoder(encoder, lacking)
    state["bn1.weight"] = torch.zeros(65)
    message = (
        r"'bn1\.weight' has shape \(65,\) but \(64,\) is needed: it belongs to another network"
    )
    with pytest.raises(ModelError, match=message):
        load_into_encoder(encoder, state)


def test_a_gray_network_does_not_unfold_into_color():
    encoder = timm.create_model("resnet18", features_only=True, in_chans=3)
    state = random_state("resnet18")
    state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    with pytest.raises(
        ModelError, match=r"has shape \(64, 1, 7, 7\) but \(64, 3, 7, 7\) is needed"
    ):
        load_into_encoder(encoder, state)


def test_weights_of_a_shallower_network_are_refused(tmp_path):
    shallow = build_features("resnet18", in_channels=1, reductions=(32,), state=None)
    with pytest.raises(ModelError, match=r"lack 'layer1\.2\.conv1\.weight'.*another network"):
        build_features("resnet34", in_channels=1, reductions=(32,), state=shallow.state_dict())


@pytest.mark.parametrize("name", [LITE0, "resnet18", "mobilenetv3_large_100"])
@pytest.mark.parametrize("reductions", [(8,), (16,), (4, 16), (8, 16, 32)])
def test_feature_maps_come_at_the_reductions_asked_for(name, reductions):
    features = build_features(name, in_channels=1, reductions=reductions, state=None)
    maps = features(torch.zeros(1, 1, 64, 96))
    expected = [(1, c, 64 // r, 96 // r) for c, r in
                zip(features.feature_info.channels(), reductions, strict=True)]  # fmt: skip
    assert [tuple(one.shape) for one in maps] == expected


def test_a_map_that_an_encoder_lacks_is_refused():
    with pytest.raises(ModelError, match=r"'convnext_atto' cannot give feature maps at 1/2 of the"):
        build_features("convnext_atto", in_channels=1, reductions=(2,), state=None)
