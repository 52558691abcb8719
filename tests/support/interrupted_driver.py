"""Drivers in a process of their own: `python interrupted_driver.py private|nodes FOLDER DIARY`."""

import os
import sys
import threading
import time
from pathlib import Path

import slow_samples

PAUSE_S = 0.15
LONG_PAUSE_S = 0.75  # a node takes a second or two to go, and is to go in the middle of a tar
# Ray takes a node for dead after 15 s without an answer; here after one
QUICK_LOOK = {"RAY_health_check_period_ms": "300", "RAY_health_check_failure_threshold": "3"}


def on_a_private_cluster(folder: str, diary: str) -> None:
    """Shard on a cluster that ends with this process, which somebody will kill."""
    from pipelines.cluster_session import session

    with session(address="local", num_cpus=2):
        slow_samples.write(folder, diary, pause=PAUSE_S, workers=2)


def while_a_node_goes(folder: str, diary: str) -> None:
    """Shard on a head and a node that goes as soon as it is at work."""
    from ray.cluster_utils import Cluster

    from pipelines.cluster_session import session

    os.environ |= QUICK_LOOK
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    leaving = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    gone = threading.Thread(target=remove, args=(cluster, leaving, Path(diary)))
    try:
        with session(address=cluster.address):
            gone.start()
            slow_samples.write(folder, diary, pause=LONG_PAUSE_S, workers=4)
            gone.join()
    finally:
        cluster.shutdown()


def remove(cluster, node, diary: Path) -> None:
    """Take the node away, in the middle of a tar that it is writing."""
    while not list(diary.glob(f"*-{node.node_id}")):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    (diary / "node removed").touch()


if __name__ == "__main__":
    os.makedirs(sys.argv[3], exist_ok=True)
    {"private": on_a_private_cluster, "nodes": while_a_node_goes}[sys.argv[1]](sys.argv[2], sys.argv[3])
