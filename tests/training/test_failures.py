import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from defectkit.config import load_config
from defectkit.errors import LabelError, MemoryShortageError, WorkerError
from defectkit.training.failures import (
    explain_failed_validation,
    explain_failures,
    needs_less_memory,
)

CONFIG = load_config(None, ["train.batch_size=6"])


def in_training(work) -> None:
    with explain_failures(CONFIG):
        work()


class Greedy(Dataset):
    """Asks for far more memory than there is, with numpy, where its samples are loaded."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return len(np.ones(2**60, np.uint8))


LACKS = {
    "torch": lambda: torch.empty(10**15),
    "numpy": lambda: np.ones(2**60, np.uint8),
    "numpy in a loader process": lambda: list(DataLoader(Greedy(), num_workers=1)),
}


@pytest.mark.check(36)
@pytest.mark.parametrize("lack", LACKS)
def test_a_real_lack_of_memory_is_told_with_the_way_out(lack):
    message = (
        r"out of memory \(.+\)\. Start a new run with --set train\.batch_size=3; or free some "
        r"memory, such as that of cached images \(--set data\.cache_mib=0\), and .*--resume"
    )
    with pytest.raises(MemoryShortageError, match=message):
        in_training(LACKS[lack])


@pytest.mark.check(36)
def test_a_dead_loader_process_is_told_with_the_way_out():
    def work() -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    message = (
        r"a loader process died \(DataLoader worker \(pid 7\) is killed by signal: Killed\), .*"
        r"--set data\.workers=0.*--set data\.cache_mib=0"
    )
    with pytest.raises(WorkerError, match=message):
        in_training(work)


def test_the_cache_is_not_named_where_there_is_none():
    config = load_config(None, ["data.cache_mib=0"])
    for error, kind in (
        (MemoryError(), MemoryShortageError),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), WorkerError),
    ):
        with pytest.raises(kind) as told, explain_failures(config):
            raise error
        assert "--resume" in str(told.value)
        assert "cache" not in str(told.value)


@pytest.mark.check(56)
def test_shared_memory_that_is_full_is_told_with_the_way_out():
    def work() -> None:
        raise RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\n"
            "RuntimeError: unable to write to file </torch_7_0>: No space left on device (28)"
        )

    message = r"shared memory is full \(.*No space left on device.*--set data\.workers=0\."
    with pytest.raises(WorkerError, match=message):
        in_training(work)


@pytest.mark.check(56)
@pytest.mark.parametrize(
    ("settings", "proposed"),
    [
        (["train.batch_size=8"], "train.batch_size=4"),
        (["train.batch_size=4"], "train.batch_size=2"),
        (["train.batch_size=3"], "data.crop=128"),  # one sample is too few for batch normalization
        (["train.batch_size=2", "data.crop=700"], "data.crop=256"),
        (["train.batch_size=2", "data.crop=128"], None),
        (["train.batch_size=2", "data.resize=512"], "data.resize=256"),
        (["train.batch_size=1", "data.crop=512"], "data.crop=256"),
        (["train.batch_size=1", "data.crop=256"], None),
        (["approach=patch", "train.batch_size=2"], "patch.tiles_per_image=8"),
        (["approach=patch", "train.batch_size=1", "patch.tiles_per_image=4"],
         "patch.tiles_per_image=2"),
        (["approach=patch", "train.batch_size=1", "patch.tiles_per_image=2"], None),
        (["approach=box", "model.architecture=localizer", "train.batch_size=2"], "data.resize=128"),
    ],
)  # fmt: skip
def test_a_lack_of_memory_proposes_only_what_works(settings, proposed):
    assert needs_less_memory(load_config(None, settings)) == proposed


@pytest.mark.check(56)
@pytest.mark.parametrize(
    ("settings", "proposed"),
    [
        ([], r"--set infer\.tile=512;"),
        (["infer.tile=256"], "a smaller network, such as another model.encoder;"),
    ],
)
def test_a_lack_of_memory_in_validation_proposes_smaller_tiles(settings, proposed):
    message = rf"out of memory \(MemoryError\)\. Start a new run with {proposed}"
    with (
        pytest.raises(MemoryShortageError, match=message),
        explain_failed_validation(load_config(None, settings)),
    ):
        raise MemoryError


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 cannot be multiplied"), LabelError("x"), KeyError(1)]
)
def test_everything_else_stays_what_it_is(error):
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_training(work)
    assert caught.value is error
