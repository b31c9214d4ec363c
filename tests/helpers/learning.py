"""Training until something is learned: how many steps that takes depends on the processor."""

from collections.abc import Callable

import torch


def learn(
    network: torch.nn.Module,
    loss: Callable[[], torch.Tensor],
    *,
    lr: float,
    below: float,
    max_steps: int,
    max_norm: float = float("inf"),
    learned: Callable[[], bool] | None = None,
) -> None:
    """Take steps until the loss is below the fraction ``below`` of the first, and it is learned.

    ``learned`` is asked at every twentieth step; after it the network learns on. It fails if
    ``max_steps``, several times as many as are usually enough, are not.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    losses: list[float] = []
    while True:
        assert len(losses) < max_steps, losses
        value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
        optimizer.step()
        losses.append(value.item())
        if losses[-1] < below * losses[0]:
            if learned is None or (len(losses) % 20 == 0 and learned()):
                return
            network.train()
