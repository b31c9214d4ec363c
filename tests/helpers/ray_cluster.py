"""A Ray cluster on this machine, of nodes that can be lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

needs_ray = pytest.mark.needs("ray")


@contextmanager
def ray_cluster(nodes: int) -> Iterator[Any]:
    """Yield ``ray.cluster_utils.Cluster`` of a head and nodes with a processor each.

    The head, to which this process connects, has no processor, so that it inspects nothing.
    """
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, num_gpus=0)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
