"""Small sessions of Ray for tests; they end with the context."""

import contextlib
import logging
import os

QUIET = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
MEMORY = 100_000_000  # bytes of shared memory of a node
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@contextlib.contextmanager
def local(cpus=2):
    """A Ray of this computer; yields the module."""
    import ray

    ray.init("local", num_cpus=cpus, object_store_memory=MEMORY, **QUIET)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def cluster(*cpus):
    """A cluster with a node for each number of CPUs, simulated on this computer; this program is
    on the first one. Yields the cluster and its nodes."""
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster()
    try:
        nodes = [
            found.add_node(num_cpus=n, object_store_memory=MEMORY, include_dashboard=False)
            for n in cpus
        ]
        found.wait_for_nodes()
        ray.init(found.address, log_to_driver=False, logging_level=logging.ERROR)
        yield found, nodes
    finally:
        ray.shutdown()
        found.shutdown()


def node_of(task_name):
    """The id of the node on which a task of this name runs; None: it does not run."""
    from ray.util.state import list_tasks

    found = list_tasks(filters=[("name", "=", task_name), ("state", "=", "RUNNING")])
    return found[0].node_id if found else None
