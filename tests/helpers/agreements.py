"""What several processes agree on, written by the first: ``agreements.py OUT.json``."""

import json
import sys
from pathlib import Path
from typing import Any

from defectkit import ranks
from defectkit.errors import ConfigError, OutputError


def failure_of(call: Any) -> list[Any]:
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "told_by_another", None)]
    return []


def fail_in_last() -> None:
    with ranks.agreed():
        if ranks.rank() == ranks.world() - 1:
            raise ConfigError("of the last")


def write_nothing() -> None:
    raise OutputError(f"seen by {ranks.world()}")


def main(out: str) -> None:
    import torch

    from defectkit.models.rank_sums import mean_of_shares, mean_over_ranks, sum_over_ranks
    from defectkit.training.shared_weights import fit_together

    place, count = ranks.rank(), ranks.world()
    values = torch.arange(place + 1.0, requires_grad=True)  # one of the first, two of the second
    mean = mean_over_ranks(values)
    mean.backward()
    share = mean_of_shares({"a": torch.tensor(float(place))}, place)["a"]
    layer = torch.nn.Linear(1, 1)
    fit_together(layer, lambda: torch.nn.init.constant_(layer.weight, 7.0 + place))
    told = {
        "agreed": failure_of(fail_in_last),
        "by_first": failure_of(lambda: ranks.by_first(write_nothing)),
        "value": ranks.by_first(lambda: [place, ranks.world()]),
        "from_first": ranks.from_first(f"from {place}"),
        "highest": ranks.highest(place, -place),
        "sum": [one.tolist() for one in sum_over_ranks(torch.tensor([place, 1]), torch.ones(2))],
        "none": mean_over_ranks(torch.zeros(0)).item(),
        "mean": mean.item(),
        "share": share.item(),
        # As DistributedDataParallel averages the gradients of the processes.
        "gradient": (values.grad / count).tolist(),
        "fitted": layer.weight.item(),
    }
    everything = ranks.gather(told)
    if ranks.is_first():
        Path(out).write_text(json.dumps(everything), encoding="utf-8")
    assert bool(everything) == ranks.is_first()


if __name__ == "__main__":
    with ranks.joined():
        main(*sys.argv[1:])
