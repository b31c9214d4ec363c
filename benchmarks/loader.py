"""The cost of loading: a training epoch against the same steps on tensors already in memory.

    python benchmarks/loader.py --data dataset

Both run the same batches through the same network, in turn. The ratio of each pair of times is
printed; the goal is a median of at most 1.15.
"""

import argparse
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from defectkit.process_settings import let_idle_threads_sleep, own_torch_settings

let_idle_threads_sleep()

import torch  # noqa: E402

from defectkit.approaches.build import build_approach  # noqa: E402
from defectkit.approaches.interface import Approach  # noqa: E402
from defectkit.config import load_config  # noqa: E402
from defectkit.data.dataset import Dataset  # noqa: E402
from defectkit.devices import choose_device, describe_device  # noqa: E402
from defectkit.errors import DatasetError  # noqa: E402
from defectkit.models.network import Network  # noqa: E402
from defectkit.training.loader import EpochLoader  # noqa: E402
from defectkit.training.reduced_precision import choose_dtype, reduced_precision  # noqa: E402
from defectkit.training.schedule import build_optimizer  # noqa: E402


@own_torch_settings()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("dataset"), help="a prepared dataset")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=96, help="samples per epoch")
    options = parser.parse_args()

    config = load_config(settings=[f"train.samples_per_epoch={options.samples}"])
    device = choose_device("auto")
    try:
        dataset = Dataset.load(options.data)
    except DatasetError as error:
        parser.error(str(error))
    approach = build_approach(config, classes=dataset.classes, channels=dataset.channels)
    network = approach.network().to(device, memory_format=torch.channels_last).train()
    optimizer = build_optimizer(network, config.train)
    samples = approach.samples(dataset, dataset.split("train"))
    loader = EpochLoader(samples, config, workers=config.data.workers, device=device)

    batches = list(loader.epoch(0))  # Also starts the loader's processes.
    _time_steps(approach, network, optimizer, batches)  # Warm-up.
    ratios = []
    for pair in range(1, options.pairs + 1):
        loaded = _time_steps(approach, network, optimizer, loader.epoch(pair))
        in_memory = _time_steps(approach, network, optimizer, batches)
        ratios.append(loaded / in_memory)
        print(
            f"pair {pair}: loaded {loaded:6.2f} s  in memory {in_memory:6.2f} s  "
            f"ratio {ratios[-1]:.3f}"
        )
    print(
        f"{len(batches)} steps of {config.train.batch_size} on {describe_device(device)}: "
        f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def _time_steps(
    approach: Approach,
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> float:
    start = time.perf_counter()
    dtype = choose_dtype(network, approach.config.train, network.mean.device)
    for inputs, targets in batches:
        with reduced_precision(inputs.device, dtype):
            loss = approach.loss(network, inputs, targets)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
