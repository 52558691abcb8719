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
from pathlib import Path
from typing import Any

from pipelines import storage

log = logging.getLogger(__name__)

LONGEST_VALUE = 500  # MLflow refuses longer parameters
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


class TrackedRun:
    """One run at the tracker. Every method may be called whether or not the tracker answers."""

    def __init__(
        self, client: Any, run_id: str, experiment_id: str, first_new_step: Mapping[str, int]
    ) -> None:
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._client = client
        self._logged = dict(first_new_step)  # last step of each metric that the tracker has

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
            file = Path(scratch) / Path(path).name
            file.write_bytes(content)
            self.log_file(file, str(Path(path).parent))

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


def open_run(
    address: str,
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    memory: str = "",
    parent: str = "",
) -> TrackedRun | None:
    """Start a run, or go on with the one whose id the file at URL `memory` holds.

    address: as `tracking_address` gives it; "" tracks nothing. config: nested plain data, logged as dotted
    parameters and whole as config.json. parent: id of the run that this one is shown under. None if the
    tracker does not answer.
    """
    if not address:
        return None
    try:
        client = _client(address)
        known = _remembered(client, memory, address)
        if known is not None:
            return known
        run = client.create_run(
            _experiment(client, address, experiment),
            run_name=name,
            tags=dict(tags) | ({"mlflow.parentRunId": parent} if parent else {}),
        )
        _log_parameters(client, run.info.run_id, config)
        if memory:
            storage.write_text(memory, json.dumps({"address": address, "run_id": run.info.run_id}))
        return TrackedRun(client, run.info.run_id, run.info.experiment_id, {})
    except Exception as error:
        _warn(error)
        return None


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
    if not memory or not storage.exists(memory):
        return None
    known = json.loads(storage.read_text(memory))
    if known["address"] != address:
        return None
    from mlflow.exceptions import RestException

    try:
        run = client.get_run(known["run_id"])
    except RestException:
        return None  # removed at the tracker
    client.update_run(known["run_id"], status="RUNNING")
    steps = {
        name: max(point.step for point in client.get_metric_history(known["run_id"], name))
        for name in run.data.metrics
    }
    return TrackedRun(client, known["run_id"], run.info.experiment_id, steps)


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
