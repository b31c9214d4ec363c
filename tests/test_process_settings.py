import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import defectkit
from defectkit.data.image_kinds import strict_pillow
from defectkit.process_settings import (
    attribute,
    environment,
    is_forked,
    let_idle_threads_sleep,
    next_csv_row,
    own_thread_settings,
    own_torch_settings,
    setting,
)

IMAGE = np.random.default_rng(5).integers(0, 256, (96, 96), np.uint8)

HOST = """
import csv, gc, locale, logging, os, random, signal, socket, sys, threading, warnings
from pathlib import Path
import cv2, numpy as np, rich.style, sklearn, torch  # some change settings when imported
from PIL import Image, ImageFile

source, dataset, trained, out = map(Path, sys.argv[1:])
random.seed(1), np.random.seed(2), torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
torch.set_float32_matmul_precision("high")
torch.set_num_threads(2), cv2.setNumThreads(3)
Image.MAX_IMAGE_PIXELS = 123456789
ImageFile.LOAD_TRUNCATED_IMAGES = True
gc.freeze()
os.environ.pop("OMP_WAIT_POLICY", None)
SIGNALS = (signal.SIGINT, signal.SIGTERM)

def state():
    return {
        "pixels": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "draws of Python": random.getstate(),
        "draws of NumPy": str(np.random.get_state()),
        "draws of torch": torch.get_rng_state().tolist(),
        "numbers": (torch.get_default_dtype(), torch.get_default_device(), np.geterr()),
        "denormals": ((torch.tensor(1e-40, dtype=torch.float32) / 2).item(), np.float32(1e-40) / 2),
        "threads": (torch.get_num_threads(), cv2.getNumThreads()),
        "modes": (torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, warnings.showwarning),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, logging.root.handlers, logging.getLogger("tifffile").level,
            logging.getLogger("tifffile").disabled, logging.raiseExceptions),
        "system": (csv.field_size_limit(), locale.setlocale(locale.LC_ALL), os.getcwd(),
            socket.getdefaulttimeout(), sys.getrecursionlimit(), sys.path, os.umask(0o22)),
        "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0),
    }

def check(what):
    for name, now in state().items():
        assert now == before[name], f"{what} changed {name}"

before = state()
import defectkit
check("import")
import defectkit.data.augmentation, matplotlib, pandas, skimage, tifffile, timm, torchvision
before["warnings"] = list(warnings.filters)  # These libraries add their own.
check("import of all")
model = defectkit.load(trained, device="cpu")
check("load")
rng = np.random.default_rng(5)
model.find(rng.integers(0, 256, (96, 96), np.uint8))
model.find(source.parent / "Train" / "part-00.png")
check("find")
"""

COMMANDS = """
defectkit.prepare(source, out=out / "dataset", split="0.5/0.25/0.25", workers=1)
check("prepare")
run = defectkit.train(
    data=dataset, out=out / "run", epochs=1, device="cpu",
    settings=["data.crop=64", "train.samples_per_epoch=8", "model.weights=none", "data.workers=1"],
).run
check("train")
tifffile.imwrite(out / "a.tif", np.zeros((8, 8, 5), np.uint8))
defectkit.inspect(run, source.parent / "Train", out / "a.tif", out=out / "inspection", device="cpu")
check("inspect")
defectkit.evaluate(run, device="cpu")
check("evaluate")
defectkit.suspects(run, device="cpu")
check("suspects")
defectkit.compare(run, trained, out=out / "comparison", device="cpu")
check("compare")
"""


@pytest.mark.check(57)
@pytest.mark.parametrize(
    "code", [HOST, pytest.param(HOST + COMMANDS, marks=pytest.mark.slow)], ids=["find", "commands"]
)
def test_a_program_is_as_it_was(code, source_csv, dataset_folder, run_folder, tmp_path):
    arguments = map(str, (source_csv, dataset_folder, run_folder, tmp_path))
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=300)


@pytest.mark.check(57)
@pytest.mark.parametrize("default", [torch.float64, torch.float16])
def test_findings_do_not_depend_on_the_defaults_of_torch(run_folder, default):
    expected = defectkit.load(run_folder, device="cpu").find(IMAGE)
    torch.set_default_dtype(default)
    torch.set_default_device("meta")
    try:
        finding = defectkit.load(run_folder, device="cpu").find(IMAGE)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    np.testing.assert_array_equal(finding.score_map, expected.score_map)


@pytest.mark.slow
@pytest.mark.parametrize("newer", [False, True])
def test_numbers_of_32_bits_have_all_of_them_on_a_gpu_too(newer):
    """In a process of its own: after its newer setting torch cannot read the older one."""
    script = f"""
import torch
from defectkit.process_settings import own_torch_settings
conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
if {newer}:
    conv.fp32_precision = matmul.fp32_precision = "tf32"
else:
    torch.backends.cudnn.allow_tf32 = matmul.allow_tf32 = True
with own_torch_settings():
    assert "tf32" not in (conv.fp32_precision, matmul.fp32_precision)
    if not {newer}:
        torch.export.export(torch.nn.Conv2d(3, 3, 3), (torch.zeros(1, 3, 8, 8),))
assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.check(57)
def test_threads_find_the_same_as_one(run_folder):
    model = defectkit.load(run_folder, device="cpu")
    images = [np.roll(IMAGE, shift, axis=1) for shift in range(12)]
    expected = [model.find(image).score_map for image in images]
    with ThreadPoolExecutor(4) as threads:
        findings = list(threads.map(model.find, images))
    for finding, scores in zip(findings, expected, strict=True):
        np.testing.assert_array_equal(finding.score_map, scores)


def in_a_forked_child(work) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(60)  # ends a child that hangs
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child hung or failed"


@pytest.fixture
def with_threads():
    """The threads of torch and OpenCV, which a forked child does not have."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2), cv2.setNumThreads(2)
    cv2.resize(cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (31, 31), 0), (3000, 3000))
    yield
    torch.set_num_threads(before[0]), cv2.setNumThreads(before[1])


@pytest.mark.check(57)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("loads", [False, True], ids=["finds", "loads and finds"])
def test_a_forked_child_finds_the_same(run_folder, loads, tmp_path, with_threads):
    large = np.tile(IMAGE, (6, 6))
    model = defectkit.load(run_folder, device="cpu")
    expected = model.find(large).score

    def find() -> None:
        again = defectkit.load(run_folder, device="cpu") if loads else model
        (tmp_path / "score").write_text(f"{again.find(large).score:.5f} {is_forked()}")

    in_a_forked_child(find)
    score, forked = (tmp_path / "score").read_text().split()
    assert float(score) == pytest.approx(expected, abs=2e-5)
    assert forked == "True"
    assert not is_forked()


@pytest.mark.check(57)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_inspects(run_folder, source_csv, tmp_path, with_threads, monkeypatch):
    image, out = source_csv.parent / "Train" / "part-00.png", tmp_path / "inspection"
    # Each call may wait forever, by chance: there is one, and none to restore it.
    calls, change = [], cv2.setNumThreads
    monkeypatch.setattr(cv2, "setNumThreads", lambda n: (calls.append(n), change(n)))

    def inspect() -> None:
        for _ in range(2):
            defectkit.inspect(run_folder, image, out=out, device="cpu")
        assert calls == [0]

    in_a_forked_child(inspect)
    assert (out / "findings.csv").exists()


def test_small_numbers_are_flushed_inside_alone():
    tiny = torch.tensor([1e-40], dtype=torch.float32)
    for inside in (own_thread_settings, own_torch_settings):
        assert (tiny / 2).item() > 0
        with inside():
            assert (tiny / 2).item() == 0
            with inside():
                pass
            assert (tiny / 2).item() == 0
    assert (tiny / 2).item() > 0


@pytest.mark.check(57)
def test_of_overlapping_threads_the_last_restores():
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with own_torch_settings():
            inside.set()
            assert leave.wait(30)

    other = threading.Thread(target=stay)
    torch.set_default_dtype(torch.float64)
    state = torch.get_rng_state()
    try:
        with own_torch_settings():
            torch.rand(3)
            other.start()
            assert inside.wait(30)
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.check(57)
def test_findings_do_not_depend_on_the_precision_of_the_program(run_folder):
    model = defectkit.load(run_folder, device="cpu")
    expected = model.find(IMAGE).score_map
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(model.find(IMAGE).score_map, expected)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_inside(outside):
    with outside():
        with own_torch_settings():
            (torch.ones(1, requires_grad=True) * 2).backward()
        assert not torch.is_grad_enabled()


@pytest.mark.check(57)
def test_threads_do_not_wait_for_each_other():
    decoding, read = threading.Event(), threading.Event()

    def decode() -> None:
        with strict_pillow():
            decoding.set()
            assert read.wait(30)

    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(decode)
        assert decoding.wait(30)
        with strict_pillow():
            assert next_csv_row(iter([["a"]])) == ["a"]
        assert Image.MAX_IMAGE_PIXELS is None
        read.set()
        other.result()
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.check(57)
def test_settings_are_restored_after_an_error():
    before = Image.MAX_IMAGE_PIXELS
    with (
        pytest.raises(ZeroDivisionError),
        setting(attribute(Image, "MAX_IMAGE_PIXELS"), 5),
    ):
        1 / (Image.MAX_IMAGE_PIXELS - 5)
    assert before == Image.MAX_IMAGE_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_variables_that_the_user_has_set_stay(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with environment("OMP_WAIT_POLICY", "PASSIVE"):
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with environment("OMP_WAIT_POLICY", "PASSIVE"):
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_threads_are_calmed_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    let_idle_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    let_idle_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("name", ["train", "evaluate", "inspect", "load"])
def test_threads_are_calmed_before_torch_is_imported(name, dataset_folder, run_folder, tmp_path):
    run = repr(str(run_folder))
    arguments = {
        "train": f"data={str(dataset_folder)!r}, out={str(tmp_path / 'run')!r}",
        "inspect": f"{run}, {run}",
        "load": run,
    }
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': sys.exit(os.environ.get('OMP_WAIT_POLICY', 'never calmed'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import defectkit; defectkit.{name}({arguments.get(name, repr('gone'))})"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stderr.strip() == "PASSIVE"
