"""A real Ray cluster of several nodes on this machine, with fake GPUs."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SRC = Path(__file__).parents[2] / "src"
GPUS = 4


class RayCluster:
    """Nodes that can be added and killed."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        self.nodes: list[Any] = []

    def shut_down(self) -> None:
        """End all of it."""
        self._cluster.shutdown()

    def add_node(self) -> None:
        self.nodes.append(self._cluster.add_node(num_cpus=4, num_gpus=GPUS, wait=False))

    def kill_node(self) -> None:
        """The newest one dies without a word."""
        self._cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@contextmanager
def run_ray() -> Iterator[RayCluster]:
    """A head and two nodes; processes of Ray import our package from this tree."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SRC), *([before] if before else [])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster  # noqa: PLC0415

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False},
        )
        made = RayCluster(cluster)
        try:
            made.add_node()
            made.add_node()
            cluster.wait_for_nodes()
            yield made
        finally:
            made.shut_down()
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
