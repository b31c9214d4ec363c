"""Which operators of torch a test calls, those in backward passes too."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    *("_local_scalar_dense", "is_nonzero"),  # a number for Python
    *("nonzero", "masked_select", "unique_consecutive"),  # an array whose size depends on numbers
    "lift_fresh",  # numbers of Python in an array, which a GPU gets by a copy that waits
}
"""Operators for which Python waits until a GPU has computed all that comes before."""


class CalledOperators(TorchDispatchMode):
    """Counts the operators that are called; ``waiting`` has those for which a GPU is waited."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.waiting: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.names[name] += 1
        selects = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in WAITING or selects:
            self.waiting.append(name)
        return func(*args, **(kwargs or {}))
