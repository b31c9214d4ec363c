"""The time of training steps of `segment` in the reduced precision of this device and in full.

    python benchmarks/reduced_precision.py
    python benchmarks/reduced_precision.py --config segnet
    python benchmarks/reduced_precision.py --scoring

Both train the same network on one random batch, in turn, or with ``--scoring`` score one random
image; the ratio of each pair of times is printed. Where a device has no reduced precision by
default, `--amp bf16` asks for it.
"""

import argparse
import statistics
import time

from defectkit.process_settings import let_idle_threads_sleep, own_torch_settings

let_idle_threads_sleep()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from defectkit.approaches.build import build_approach  # noqa: E402
from defectkit.approaches.graphs import run_graph  # noqa: E402
from defectkit.config.options import resolve_config  # noqa: E402
from defectkit.devices import autocast_dtype, choose_device, describe_device  # noqa: E402
from defectkit.training.reduced_precision import reduced_precision  # noqa: E402
from defectkit.training.schedule import build_optimizer, freeze  # noqa: E402


@own_torch_settings()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="unet", help="a configuration of segment")
    parser.add_argument("--amp", choices=("auto", "bf16", "fp16"), default="auto")
    parser.add_argument("--scoring", action="store_true", help="score an image of 512x512 pixels")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each time")
    options = parser.parse_args()

    config = resolve_config(options.config, ())
    device = choose_device("auto")
    dtype = autocast_dtype(options.amp, device)
    if dtype is None:
        print(f"{describe_device(device)} computes in 32 bits; --amp bf16 tries fewer.")
        return
    approach = build_approach(config, classes=("1", "2"), channels=1)
    network = approach.network().to(device, memory_format=torch.channels_last).train()
    freeze(network, stages=config.train.freeze_stages, encoder=False)
    optimizer = build_optimizer(network, config.train)
    size = (config.data.crop, config.data.crop)
    images = torch.randint(256, (config.train.batch_size, 1, *size), dtype=torch.uint8)
    masks = torch.zeros(config.train.batch_size, 2, *size, dtype=torch.uint8)
    masks[:, :, 50:70, 50:90] = 1
    inputs, targets = images.to(device), masks.to(device)

    def time_steps(of: torch.dtype | None) -> float:
        start = time.perf_counter()
        for _ in range(options.steps):
            with reduced_precision(device, of):
                loss = approach.loss(network, inputs, targets)["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()
        return time.perf_counter() - start

    def time_scoring(of: torch.dtype | None) -> float:
        graph = approach.graph(network.eval(), amp="off" if of is None else options.amp)
        start = time.perf_counter()
        for _ in range(options.steps):
            run_graph(graph, image, device)
        return time.perf_counter() - start

    image = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 1), np.uint8)
    measure = time_scoring if options.scoring else time_steps
    measure(None), measure(dtype)  # The first steps also pay for what is set up once.
    ratios = []
    for pair in range(1, options.pairs + 1):
        full, reduced = measure(None), measure(dtype)
        ratios.append(full / reduced)
        print(f"pair {pair}: full {full:.2f} s  reduced {reduced:.2f} s  ratio {ratios[-1]:.2f}")
    print(
        f"{dtype} on {describe_device(device)}: median ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
