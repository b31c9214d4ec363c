"""Untrusted models, weights and checkpoints: nothing in them runs, and each is refused."""

import io
import json
import os
import pickle  # noqa: TID251 - to make what must never be read
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from resealing import reseal
from safetensors.torch import load, save

import defectkit
from defectkit.errors import ModelError, TrainingError
from defectkit.files import json_text, read_json, sha256_bytes
from defectkit.models.weights import encoder_weights
from defectkit.seals import add_seal
from defectkit.training.checkpoint import load_checkpoint, save_checkpoint


class Payload:
    """What unpickles by calling ``function(*arguments)``."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Doubling(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def payloads(marker: Path) -> list[Payload]:
    """Objects that leave ``marker`` behind where they are unpickled."""
    code = f"open({str(marker)!r}, 'w').close()"
    return [
        Payload(os.system, f"touch '{marker}'"),
        Payload(eval, code),
        Payload(exec, code),
        Payload(open, str(marker), "w"),
        Payload(os.mkdir, str(marker)),
        Payload(getattr(os, "popen"), f"touch '{marker}'"),  # noqa: B009
    ]


def archive(pickled: bytes) -> bytes:
    """What ``torch.save`` makes, holding a pickle of our own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return buffer.getvalue()


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Doubling()), buffer)
    return buffer.getvalue()


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, even one that is no JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def hostile_weights(marker: Path) -> dict[str, bytes]:
    """Files that pretend to be weights, by what they are."""
    objects = payloads(marker)
    files = {f"pickle {n}": pickle.dumps(each, protocol=2) for n, each in enumerate(objects)}
    files |= {f"torch file {n}": archive(pickle.dumps(each)) for n, each in enumerate(objects)}
    files["pickle within tensors"] = tensors(one(), pickle.dumps(objects[0])[:4])
    files["TorchScript"] = script()
    files["numpy objects"] = numpy_objects(objects[0])
    files["pickle of protocol 0"] = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    return files | {
        "nothing": b"",
        "zeros": bytes(64),
        "header of 2**60 bytes": tensors({}, length=2**60),
        "header longer than the file": tensors({}, length=200),
        "header of 101 MB": tensors(b'{"x":' + b" " * 101_000_000 + b"1}"),
        "header that is no JSON": tensors(b"__import__('os')"),
        "header nested without end": tensors(b"[" * 50_000),
        "code as its dtype": tensors(one(dtype="os.system"), bytes(4)),
        "a shape of 2**62": tensors(one(shape=[2**62, 4]), bytes(4)),
        "a negative shape": tensors(one(shape=[-1]), bytes(4)),
        "offsets outside": tensors(one(offsets=[0, 2**40]), bytes(4)),
        "offsets that cross": tensors(one(offsets=[4, 0]), bytes(4)),
        "tensors that overlap": tensors(
            {"a": one()["x"], "b": {**one()["x"], "data_offsets": [2, 6]}}, bytes(6)
        ),
    }


def numpy_objects(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([payload], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def misfitting(weights: bytes) -> dict[str, bytes]:
    """Whole safetensors files that are no weights of the network."""
    state = load(weights)
    # safetensors lists them in any order; of the encoder, which is all that another run takes.
    first = min(name for name, one in state.items() if one.ndim == 4 and "encoder" in name)
    return {
        "NaN": save({**state, first: torch.full_like(state[first], float("nan"))}),
        "infinity": save({**state, first: torch.full_like(state[first], float("inf"))}),
        "a shape of its own": save({**state, first: torch.zeros(2, 3)}),
        "a scalar": save({**state, first: torch.zeros(())}),
        "one tensor less": save({k: v for k, v in state.items() if k != first}),
        "one named by a path": save({**state, "../../x": torch.zeros(1)}),
        "one named as code": save({**state, "__class__.__init__": torch.zeros(1)}),
        "none at all": save({}),
    }


def put_weights(run: Path, content: bytes) -> None:
    """Put ``content`` in the place of a model's weights, under the right SHA-256."""
    (run / "model" / "model.safetensors").write_bytes(content)
    reseal(run / "model" / "model.json", sha256=sha256_bytes(content))


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "it ran"


@pytest.mark.check(5)
def test_the_payloads_are_live(marker):
    for payload in payloads(marker):
        pickle.loads(pickle.dumps(payload))
        deadline = time.monotonic() + 10
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # os.popen does not wait
        assert marker.exists()
        marker.rmdir() if marker.is_dir() else marker.unlink()


@pytest.mark.slow
@pytest.mark.check(5)
def test_untrusted_weights_neither_run_nor_load(run_copy, marker, tally):
    own = (run_copy / "model" / "model.safetensors").read_bytes()
    for name, content in {**hostile_weights(marker), **misfitting(own)}.items():
        with tally.case(name):
            put_weights(run_copy, content)
            with pytest.raises(ModelError, match="cannot be used by this version of defectkit"):
                defectkit.load(run_copy, device="cpu")
            assert not marker.exists()


@pytest.mark.check(5)
def test_untrusted_files_are_no_pretrained_weights(tmp_path, marker, tally):
    files = hostile_weights(marker)
    del files["pickle within tensors"]  # is a whole file, and tensors alone
    for name, content in files.items():
        for suffix in (".safetensors", ".pt"):
            with tally.case(name + suffix):
                file = tmp_path / f"given{suffix}"
                file.write_bytes(content)
                with pytest.raises(ModelError, match="not a complete safetensors file"):
                    encoder_weights(str(file), "resnet18", allow_download=False)
                assert not marker.exists()


CODE = "__import__('os').system('touch MARKER')"
NAMES = ("hf-hub:stranger/model", "local-dir:/tmp", "../../x", "/etc/passwd", "os.system;")


def hostile_information(info: dict, marker: Path) -> dict[str, object]:
    """Contents of ``model.json`` by what is wrong with them."""
    config, model = info["config"], info["config"]["model"]
    code = CODE.replace("MARKER", str(marker))

    def with_model(**changes: object) -> dict:
        return {**info, "config": {**config, "model": {**model, **changes}}}

    return {
        **{f"encoder {name}": with_model(encoder=name) for name in (*NAMES, code)},
        "architecture as code": with_model(architecture=code),
        "architecture of a module": with_model(architecture="torch.nn.Linear"),
        "weights of the network": with_model(encoder="resnet18"),
        "channels without end": with_model(decoder_channels=[10**9]),
        "a class to build": with_model(_component_="os.system"),
        "approach as code": {**info, "config": {**config, "approach": code}},
        "a YAML tag": {**info, "config": {**config, "seed": "!!python/object/apply:os.getpid []"}},
        "10**9 channels": {**info, "channels": 10**9},
        "no classes": {**info, "classes": []},
        "classes that are no texts": {**info, "classes": [1, 2]},
        "100,000 classes": {**info, "classes": [str(n) for n in range(100_000)]},
        "thresholds that are no numbers": {
            **info, "thresholds": {"low": float("nan"), "high": float("nan"), "rule": "f1"}
        },
        "a pixel threshold of NaN": {**info, "tuning": {"pixel_threshold": float("nan")}},
        "a tuning of code": {**info, "tuning": code},
        "warnings that are a number": {**info, "warnings": 5},
        "an epoch that is code": {**info, "epoch": code},
        "a list": [info],
        "a number": 7,
    }  # fmt: skip


def sealed_text(content: object) -> str:
    """The text of a JSON file, with a seal that holds where it can have one."""
    try:
        return json_text(add_seal(content))
    except (TypeError, ValueError):
        return json.dumps(content)


@pytest.mark.check(5)
def test_what_a_model_says_of_itself_selects_no_code(run_copy, marker, tally, cli):
    path = run_copy / "model" / "model.json"
    info = read_json(path)
    hostile = hostile_information(info, marker)
    texts = {name: sealed_text(one) for name, one in hostile.items()}
    texts["nested without end"] = "[" * 100_000
    texts["larger than any"] = json.dumps(info) + " " * 2**26
    texts["a number of 10,000 digits"] = (
        json.dumps({**info, "epoch": 0})[:-1] + ', "x": ' + "9" * 10_000 + "}"
    )
    for name, text in texts.items():
        with tally.case(name):
            path.write_text(text)
            with pytest.raises(
                ModelError,
                match="cannot be used by this version of defectkit|is damaged|cannot be used",
            ):
                defectkit.load(run_copy, device="cpu")
            assert not marker.exists()
    said = cli("inspect", run_copy, run_copy / "progress", "--out", run_copy / "out")
    assert (said.code, said.err[:6]) == (2, "error:")


@pytest.mark.check(5)
def test_no_command_runs_what_an_untrusted_file_contains(
    run_copy, dataset_folder, marker, cli, tally
):
    own = (run_copy / "model" / "model.safetensors").read_bytes()
    files = {**hostile_weights(marker), **misfitting(own)}
    chosen = ["pickle 0", "torch file 1", "TorchScript", "header of 101 MB", "NaN", "a scalar"]
    data = ("--data", dataset_folder)
    for name in chosen[: tally.number(short=2, full=len(chosen))]:
        put_weights(run_copy, files[name])
        given = run_copy.parent / "given.safetensors"
        given.write_bytes(files[name])
        shutil.rmtree(run_copy.parent / "new", ignore_errors=True)
        new = ("--out", run_copy.parent / "new", "--set", "data.workers=0", "--set", "data.crop=64")
        for arguments in (
            ("inspect", run_copy, run_copy / "progress", "--out", run_copy.parent / "out"),
            ("evaluate", run_copy, *data),
            ("compare", run_copy, "--out", run_copy.parent / "compared"),
            ("train", *data, *new, "--set", f"model.weights={given}"),
            ("train", *data, *new, "--set", f"model.weights={run_copy}"),
            ("inspect", given, run_copy / "progress"),
        ):
            with tally.case(f"{name}: {arguments}"):
                said = cli(*arguments)
                assert (said.code, "error:" in said.err) == (2, True), said
                assert "Traceback" not in said.err
                assert not marker.exists()


def put_checkpoint(json_file: Path, content: bytes, **changes: object) -> None:
    """Put a checkpoint of one's own in the place of a run's, with hashes that hold."""
    json_file.with_suffix(".safetensors").write_bytes(content)
    reseal(json_file, sha256=sha256_bytes(content), **changes)


@pytest.mark.check(5)
def test_untrusted_checkpoints_neither_run_nor_resume(tmp_path, marker, tally):
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
    given = {"modules": {"network": network}, "optimizer": optimizer}
    save_checkpoint(tmp_path, epoch=1, numbers={}, **given)
    own = (tmp_path / "epoch-0001.safetensors").read_bytes()
    files = {**hostile_weights(marker), "none at all": save({})}
    changes: dict[str, dict] = {name: {} for name in files}
    for name, change in {
        "groups that are a number": {"optimizer_groups": 5},
        "groups that are code": {"optimizer_groups": [CODE]},
        "numbers of the optimizer that are code": {"optimizer_numbers": {"optimizer.os.system": 1}},
    }.items():
        files[name], changes[name] = own, change
    for name, content in files.items():
        with tally.case(name):
            put_checkpoint(tmp_path / "epoch-0001.json", content, **changes[name])
            with pytest.raises(TrainingError, match="does not fit the network of this run"):
                load_checkpoint(tmp_path, **given)
            assert not marker.exists()


@pytest.mark.check(5)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: !!python/object/apply:os.system ['touch MARKER']", "is not valid YAML"),
        ("seed: !!python/object/new:os.system ['touch MARKER']", "is not valid YAML"),
        ("!!python/module:os", "is not valid YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2: aliases such as *name are not read"),
        ("model: {encoder: 'hf-hub:stranger/model'}", "URLs are not opened"),
        ("[" * 2_000, "is nested too deeply"),
    ],
)
def test_untrusted_configurations_are_text(text, words, marker, cli, tmp_path, dataset_folder):
    (tmp_path / "given.yaml").write_text(text.replace("MARKER", str(marker)))
    short = ("--max-time", "1s")  # were it taken for a configuration
    said = cli("train", "--config", tmp_path / "given.yaml", "--data", dataset_folder, *short)
    assert (said.code, said.err[:6], "Traceback" in said.err) == (2, "error:", False)
    assert words in said.err
    assert not marker.exists()
