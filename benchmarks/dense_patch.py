"""The speed of dense scoring: an image in a few passes, against each tile cut out and scored alone.

    python benchmarks/dense_patch.py [--model RUN]

Both score the same tiles of one 512x512 image, one tile every 8 pixels, in turn. The ratio of each
pair of times is printed; the goal is a median of at least 10. With a network without padding
(all_conv) the scores differ by rounding only. A padded encoder sees zeros around a tile that is cut
out, and neighboring pixels around a tile in an image: give a trained run to measure the effect,
which untrained weights do not show.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from defectkit.process_settings import let_idle_threads_sleep, own_torch_settings

let_idle_threads_sleep()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from defectkit.approaches.patch import Patch  # noqa: E402
from defectkit.config import load_config  # noqa: E402
from defectkit.data.images import convert_channels, read_image  # noqa: E402
from defectkit.deployment.bundle import TrainedModel  # noqa: E402
from defectkit.devices import choose_device, describe_device  # noqa: E402
from defectkit.models.classification.tile_classifier import TileClassifier  # noqa: E402

IMAGE = Path(__file__).resolve().parents[1] / "sample_data" / "Train" / "0001.png"


@own_torch_settings()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", type=Path, help="a trained run of patch (default: untrained networks)"
    )
    parser.add_argument("--image", type=Path, default=IMAGE)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()

    for name, (approach, network) in _networks_to_compare(options.model).items():
        patch = approach.config.patch.model_copy(update={"stride": options.stride})
        config = approach.config.model_copy(update={"patch": patch})
        image = convert_channels(read_image(options.image), approach.channels)
        _compare(name, replace(approach, config=config), network, image[None], options.pairs)


def _networks_to_compare(model: Path | None) -> dict[str, tuple[Patch, TileClassifier]]:
    if model is not None:
        trained = TrainedModel.load(model)
        assert isinstance(trained.approach, Patch)
        assert isinstance(trained.network, TileClassifier)
        return {str(model): (trained.approach, trained.network)}
    torch.manual_seed(0)
    device, networks = choose_device("auto"), {}
    for name in ("classifier", "all_conv"):
        config = load_config(settings=["approach=patch", f"model.architecture={name}"])
        approach = Patch(config, ("1", "2"), 1)
        network = approach.network().to(device, memory_format=torch.channels_last).eval()
        networks[name] = (approach, network)
    return networks


def _compare(
    name: str, approach: Patch, network: TileClassifier, image: np.ndarray, pairs: int
) -> None:
    approach.tile_scores(network, image)  # Warm-up.
    ratios = []
    for pair in range(1, pairs + 1):
        start = time.perf_counter()
        dense = approach.tile_scores(network, image)
        middle = time.perf_counter()
        alone = approach.tile_scores(network, image, one_by_one=True)
        end = time.perf_counter()
        ratios.append((end - middle) / (middle - start))
        print(
            f"{name}, pair {pair}: dense {middle - start:6.2f} s  one by one {end - middle:6.2f} s"
            f"  ratio {ratios[-1]:.1f}",
            flush=True,
        )
    differences = (dense.amax(dim=1) - alone.amax(dim=1)).abs()
    print(
        f"{name}: {differences.numel()} tiles of {image.shape[1]}x{image.shape[2]} pixels, one "
        f"every {approach.config.patch.stride} pixels, on {describe_device(network.mean.device)}: "
        f"dense scoring is {statistics.median(ratios):.1f} times as fast (median; "
        f"{min(ratios):.1f} to {max(ratios):.1f}); the defect scores differ by "
        f"{differences.mean():.1e} on average, by {differences.max():.1e} at most",
        flush=True,
    )


if __name__ == "__main__":
    main()
