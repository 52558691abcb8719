"""Actors on clusters that the test session is not: with a logical GPU, or with a node that goes away."""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipelines import jobs
from pipelines.fit import device_of_worker


def build_devices() -> Callable[[int], tuple[int, bool, str]]:
    return devices


def devices(item: int) -> tuple[int, bool, str]:
    """Process, whether it has a GPU, and what it computes on; slow, so that each actor gets some."""
    time.sleep(0.3)
    return os.getpid(), jobs.has_gpu(), device_of_worker()


def build_noting(folder: str) -> Callable[[int], int]:
    return partial(note, folder)


def note(folder: str, item: int) -> int:
    Path(folder, f"{item}-{ray.get_runtime_context().get_node_id()}").touch()
    time.sleep(0.4)
    return -item


def with_gpu() -> None:
    """One GPU for three actors, and none asked for."""
    ray.init(address="local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False)
    for gpu in (True, False):
        print(sorted(set(jobs.run_actors(build_devices, list(range(9)), label="devices", gpu=gpu))))


def with_a_node_less(folder: str) -> None:
    """The second of two nodes goes when it has begun something."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)

    def remove() -> None:
        while not list(Path(folder).glob(f"*-{second.node_id}")):
            time.sleep(0.05)
        cluster.remove_node(second)

    remover = threading.Thread(target=remove)
    remover.start()
    print(jobs.run_actors(partial(build_noting, folder), list(range(12)), label="note"))
    remover.join()


if __name__ == "__main__":
    with_gpu() if sys.argv[1] == "gpu" else with_a_node_less(sys.argv[2])
