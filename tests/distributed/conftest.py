"""A Ray cluster for the tests that need one: machines that are all this one."""

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ray_is_wanted() -> None:
    """Skips where ATLAS_TEST_RAY is not set: a cluster takes its time, and Ray is an extra."""
    if not os.environ.get("ATLAS_TEST_RAY"):
        pytest.skip("ATLAS_TEST_RAY is not set: these tests start a Ray cluster")
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="session")
def simulated(ray_is_wanted: None) -> Iterator[Any]:
    """Two raylets of a core each, to which this process is connected."""
    from atlas.distributed import ray_cluster

    os.environ.update(ray_cluster.ENVIRONMENT)
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": ray_cluster.OBJECTS, "include_dashboard": False}
    with ray_cluster._silent():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **small})
        cluster.add_node(num_cpus=1, object_store_memory=ray_cluster.OBJECTS)
        ray.init(
            cluster.address, log_to_driver=False, configure_logging=False, logging_level="critical"
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()
