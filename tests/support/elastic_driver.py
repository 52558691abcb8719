"""`python elastic_driver.py FOLDER`: a run on three nodes, of which one dies and another is called back."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from toy_stage import toy_job

# Ray takes a node for dead after 15 s without an answer; here after five
QUICK_LOOK = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "5"}
# and counts nodes every 20 s, so that it first waits a minute for a worker on one that is gone
QUICK_NOTICE = {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15"}


def lose_nodes(cluster, nodes, folder: Path) -> None:
    """Kill the last node after the first checkpoint; later call the second one back, and take it away."""
    from pipelines.checkpoints import list_checkpoints

    def checkpoint() -> int:
        return max((found.step for found in list_checkpoints(str(folder / "stages/toy"))), default=0)

    def wait_until(condition) -> None:
        while not condition():
            time.sleep(0.1)

    wait_until(checkpoint)
    cluster.remove_node(nodes[2], allow_graceful=False)
    wait_until(lambda: "goes on with 2 workers" in (folder / "said").read_text())
    command = [
        *(str(Path(sys.executable).parent / "ray"), "drain-node", "--address", cluster.address),
        *("--node-id", nodes[1].node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
        *("--reason-message", "spot", "--deadline-remaining-seconds", "600"),
    ]
    subprocess.run(command, check=True)
    wait_until(lambda: "all stopped with a checkpoint" in (folder / "said").read_text())
    cluster.remove_node(nodes[1], allow_graceful=False)
    wait_until(lambda: "goes on with 1 workers" in (folder / "said").read_text())
    (folder / "enough").touch()


def main(folder: Path) -> None:
    """Train with one to three workers while nodes leave."""
    from ray.cluster_utils import Cluster

    from pipelines.cluster_session import session
    from pipelines.progress import Progress
    from pipelines.train import train_stage

    os.environ |= QUICK_LOOK | QUICK_NOTICE
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    cluster.wait_for_nodes()
    # slow until no node is left to lose
    config = {"pause": 0.3, "until": str(folder / "enough")}
    settings = {"workers": (1, 3), "batch_size": 12, "steps": 400, "checkpoint_every": 5, "config": config}
    try:
        with (folder / "said").open("w") as said, session(address=cluster.address):
            threading.Thread(target=lose_nodes, args=(cluster, nodes, folder), daemon=True).start()
            train_stage(toy_job(folder, **settings), Progress(said))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
