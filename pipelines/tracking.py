"""Experiment tracking with MLflow; the only file that imports it, and only the driver does (2 to 4 s).

Runs are addressed by their id, never through MLflow's global state. A tracker that fails stops nothing: the
metrics are in metrics.jsonl anyway, one warning says so, and the run goes on untracked.
"""

import contextlib
import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import storage

log = logging.getLogger(__name__)

LONGEST_VALUE = 500  # MLflow refuses longer parameters
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


class TrackedRun:
    """One run at the tracker. Every method may be called whether or not the tracker answers."""

    def __init__(self, client: Any, run_id: str, logged: Mapping[str, int]) -> None:
        self.run_id = run_id
        self._client = client
        self._logged = dict(logged)  # last step of each metric that the tracker has

    def log_metrics(self, step: int, values: Mapping[str, float], when: float) -> None:
        """Metrics of one step; what the tracker has already (from before a restart) is left out."""
        from mlflow.entities import Metric

        fresh = {name: value for name, value in values.items() if step > self._logged.get(name, -1)}
        metrics = [Metric(name, value, int(when * 1000), step) for name, value in fresh.items()]
        if self._try(lambda: self._client.log_batch(self.run_id, metrics=metrics)):
            self._logged |= dict.fromkeys(fresh, step)

    def log_bytes(self, content: bytes, path: str) -> None:
        """A file among the run's artifacts, e.g. path "pictures/0000200.jpg"."""
        with tempfile.TemporaryDirectory() as scratch:
            folder, _, name = path.rpartition("/")
            file = Path(scratch) / name
            file.write_bytes(content)
            self.log_file(file, folder)

    def log_file(self, file: Path, folder: str = "") -> None:
        """A local file, or a folder's content, put into a folder of the run's artifacts."""
        if file.is_dir():
            self._try(lambda: self._client.log_artifacts(self.run_id, str(file), folder or None))
        else:
            self._try(lambda: self._client.log_artifact(self.run_id, str(file), folder or None))

    def set_tag(self, name: str, value: str) -> None:
        """One tag."""
        self._try(lambda: self._client.set_tag(self.run_id, name, value))

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self._try(lambda: self._client.set_terminated(self.run_id, status))

    def _try(self, action: Callable[[], Any]) -> bool:
        if self._client is None:
            return False
        try:
            action()
        except Exception as error:
            self._client = None
            _warn(error)
            return False
        return True


def tracking_address(setting: str, output: str) -> str:
    """Where runs go: the setting, MLFLOW_TRACKING_URI, mlflow.db in a local output, or "" for nowhere."""
    address = setting or os.environ.get("MLFLOW_TRACKING_URI", "")
    path = storage.local_path(output)
    if not address and path is not None:
        path.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{path.absolute()}/mlflow.db"
    return address


@dataclass(frozen=True)
class Tracking:
    """Where and how runs are tracked: an address as `tracking_address` gives it, the run's name and its tags.

    parent: id of the run that this one is shown under.
    """

    address: str
    name: str
    tags: dict[str, str] = field(default_factory=dict)
    parent: str = ""


def open_run(
    tracking: Tracking | None, experiment: str, config: Mapping[str, Any], memory: str
) -> TrackedRun | None:
    """Start a run, or go on with the one whose id the file at URL `memory` holds.

    config: nested plain data, logged as dotted parameters and whole as config.json. None if nothing is to be
    tracked or the tracker does not answer.
    """
    if tracking is None or not tracking.address:
        return None
    try:
        client = _client(tracking.address)
        known = _remembered(client, memory, tracking.address)
        if known is not None:
            return known
        tags = tracking.tags | ({"mlflow.parentRunId": tracking.parent} if tracking.parent else {})
        run = client.create_run(
            _experiment(client, tracking.address, experiment),
            run_name=tracking.name,
            tags={"git.commit": git_commit()} | tags,
        )
        _log_parameters(client, run.info.run_id, config)
        storage.write_text(memory, json.dumps({"address": tracking.address, "run_id": run.info.run_id}))
        return TrackedRun(client, run.info.run_id, {})
    except Exception as error:
        _warn(error)
        return None


def remembered_run(memory: str) -> str:
    """The id of the run that was opened with this memory, "" if there was none."""
    return json.loads(storage.read_text(memory))["run_id"] if storage.exists(memory) else ""


@contextlib.contextmanager
def ended(run: TrackedRun | None) -> Iterator[None]:
    """Give the run the status that its block ends with."""
    status = FAILED
    try:
        yield
        status = FINISHED
    except KeyboardInterrupt:
        status = KILLED
        raise
    finally:
        if run is not None:
            run.end(status)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted paths: {"loss_weights": {"albedo": 1}} -> {"loss_weights.albedo": "1"}."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def git_commit() -> str:
    """The commit of the source tree, with + when it has changes; empty outside a repository."""
    root = Path(__file__).parents[1]
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5, check=True
            )
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return answers[0].stdout.strip() + ("+" if answers[1].stdout.strip() else "")


def _client(address: str) -> Any:
    # alembic tells of each of forty migrations when a new database is made
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow.MlflowClient(address)


def _experiment(client: Any, address: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    # beside the database, wherever the process runs; a server decides for itself
    folder = Path(address.removeprefix("sqlite:///")).parent / "mlflow_artifacts"
    return client.create_experiment(name, str(folder) if address.startswith("sqlite:///") else None)


def _remembered(client: Any, memory: str, address: str) -> TrackedRun | None:
    if not storage.exists(memory):
        return None
    known = json.loads(storage.read_text(memory))
    if known["address"] != address:
        return None
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(known["run_id"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # removed at the tracker
    client.update_run(known["run_id"], status="RUNNING")
    steps = {
        name: max(point.step for point in client.get_metric_history(known["run_id"], name))
        for name in run.data.metrics
    }
    return TrackedRun(client, known["run_id"], steps)


def _log_parameters(client: Any, run_id: str, config: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    parameters = [Param(name, value[:LONGEST_VALUE]) for name, value in flatten(config).items()]
    for first in range(0, len(parameters), 100):
        client.log_batch(run_id, params=parameters[first : first + 100])
    client.log_dict(run_id, dict(config), "config.json")


def _warn(error: Exception) -> None:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    log.warning(
        "the tracker does not answer (%s); training goes on, its metrics are in metrics.jsonl", reason[:200]
    )
