"""The one place that starts or joins a Ray cluster.

With an address (argument or `RAY_ADDRESS`) the process joins a cluster that was started apart from it;
otherwise it starts a private one on this machine that ends with it. Every other file only uses what is
running.
"""

import contextlib
import importlib.metadata
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facefill.errors import UserError

SOURCE_ROOT = Path(__file__).resolve().parents[1]
LONGEST_TEMPORARY_FOLDER = 40  # Ray puts unix sockets under it, and their paths end at 107 characters
ANSWER_WITHIN_S = 10.0
OBJECT_STORE_BYTES = 512 << 20  # tasks hand over table rows, not images

# Read by Ray on the driver; a value that the user has set stays.
DRIVER_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # seconds between two looks of Ray Train's controller at its workers, 2 by default; with 0.2 it took 1.8 %
    # of a core
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # workers stay in the folder that they were started in, so that nothing lands in a folder made by Ray
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints even when told not to
}
# Settings without secrets that a worker on another machine needs as well; credentials belong to the cluster
# itself.
HANDED_ON = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("FACEFILL_STORAGE", "FACEFILL_CACHE"),
)


@dataclass(frozen=True)
class ClusterSession:
    """What the running cluster offers."""

    address: str
    dashboard: str
    cpus: int
    gpus: int
    private: bool


@contextlib.contextmanager
def session(address: str | None = None, num_cpus: int | None = None) -> Iterator[ClusterSession]:
    """Join the cluster at `address` (or RAY_ADDRESS), or start a private one with `num_cpus` processors.

    `address="local"` starts a private one even where `RAY_ADDRESS` is set. Inside another session it joins
    that one and leaves it running. Raises UserError where no cluster answers.
    """
    for name, value in DRIVER_SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        yield _describe(private=False)
    elif address and address != "local":
        with _joined(address):
            yield _describe(private=False)
    else:
        with _private(num_cpus or len(os.sched_getaffinity(0))):
            yield _describe(private=True)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    import ray

    environment = worker_environment()
    if address != "auto":
        # Ray Train's helpers look for "the" cluster of their machine, and may find another one (see
        # _private).
        environment["RAY_ADDRESS"] = address
    try:
        _knock(address)
        ray.init(address=address, runtime_env={"env_vars": environment}, **_quiet())
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot join the Ray cluster at {address} ({reason}): start it with `ray start --head`, or "
            "unset RAY_ADDRESS for a private one; a cluster with tokens needs RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _private(num_cpus: int) -> Iterator[None]:
    import ray

    # Ray turns tokens on by itself, but would write one into the home folder, where it also binds other
    # clusters.
    if os.environ.get("RAY_AUTH_MODE") != "disabled":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # this machine gives no notice
    parent = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray", dir=parent if len(parent) <= LONGEST_TEMPORARY_FOLDER else "/tmp")
    port = _free_port()
    # Ray Train's clean-up actor asks the dashboard whether its controller lives; without an address it takes
    # any dashboard of the machine, believes a stranger's answer and takes the running job's processors away.
    environment = worker_environment() | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=port,
            _temp_dir=folder,
            runtime_env={"env_vars": environment},
            **_quiet(),
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def worker_environment() -> dict[str, str]:
    """Variables that every worker starts with: where the code and the storage are, one thread per library."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if not _installed():
        paths.append(str(SOURCE_ROOT))
    # Arrow's own pool keeps 10 MB for itself beside what the worker has free
    environment = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment | {name: os.environ[name] for name in HANDED_ON if name in os.environ}


def _installed() -> bool:
    try:
        importlib.metadata.distribution("facefill")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _knock(address: str) -> None:
    """Raise ConnectionError where nobody listens: Ray itself would go on asking for over ten minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN_S):
            pass


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cluster_resources() -> dict[str, float]:
    """What the running cluster has in all: "CPU", "GPU", custom resources."""
    import ray

    return ray.cluster_resources()


def _describe(private: bool) -> ClusterSession:
    import ray

    resources = ray.cluster_resources()
    context = ray.get_runtime_context()
    return ClusterSession(
        address=context.gcs_address,
        dashboard=ray._private.worker.get_dashboard_url() or "",
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        private=private,
    )
