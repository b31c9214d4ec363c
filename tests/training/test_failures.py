import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from defectkit.config import load_config
from defectkit.errors import LabelError, MemoryShortageError, WorkerError
from defectkit.training.failures import explain_failures

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
    message = r"out of memory \(.+\)\. Start a new run .*train\.batch_size=3\).*--resume"
    with pytest.raises(MemoryShortageError, match=message):
        in_training(LACKS[lack])


@pytest.mark.check(36)
def test_a_dead_loader_process_is_told_with_the_way_out():
    def work() -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    message = (
        r"a loader process died \(DataLoader worker \(pid 7\) is killed by signal: Killed\), .*"
        r"--set data\.workers=0"
    )
    with pytest.raises(WorkerError, match=message):
        in_training(work)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 cannot be multiplied"), LabelError("x"), KeyError(1)]
)
def test_everything_else_stays_what_it_is(error):
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_training(work)
    assert caught.value is error
