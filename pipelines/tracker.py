"""The tracker itself: the only file that imports mlflow (1 to 4 s), and only the driver does.

Runs are addressed by their id, never through MLflow's global state. Everything here may be done again: what
the tracker has already is asked for before anything is sent after an interruption.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import storage
from pipelines.registered_model import StageModel, card_text, collect
from pipelines.tracked_record import RUNNING, Arrived, RecordFile, read_record

LONGEST_VALUE = 500  # of a parameter
PARAMETERS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # MLflow takes no more
IDENTITY = "facefill.record"  # tag by which a run is found whose creation was not answered
ALIAS = "candidate"  # the newest model of a stage; MLflow reserves "latest", people give "champion"


class Delivery:
    """Sends one run to one tracker. Call it with all metric lines; raises when that fails."""

    def __init__(self, address: str, file: RecordFile) -> None:
        # alembic tells of each of forty migrations when a new database is made
        logging.getLogger("alembic").setLevel(logging.WARNING)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # we try again ourselves
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # an upload may take that long
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._module = mlflow
        self._client: Any = None
        self._address, self._file = address, file
        self._points: dict[str, set[int]] | None = None  # metric -> steps that the tracker has
        self._tags: dict[str, str] = {}

    @property
    def _arrived(self) -> Arrived:
        return self._file.arrived(self._address)

    @property
    def _run_id(self) -> str:
        return self._arrived.run_id

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        record = self._file.record
        ended = record.status != RUNNING
        try:
            if self._points is None:
                self._points = self._reach()
            self._send_config()
            linked = self._send_tags()
            self._send_metrics(lines, self._points)
            self._send_files()
            self._send_model()
            if ended and not self._arrived.complete:
                self._client.set_terminated(self._run_id, record.status, int(record.ended * 1000))
                self._file.mark(self._address, complete=linked)
        except Exception:
            self._points = None  # who knows what has arrived
            raise

    def _reach(self) -> dict[str, set[int]]:
        """Find or create the run; returns the points that it has."""
        if self._client is None:
            self._client = self._module.MlflowClient(self._address)
        run = self._known_run() or self._found_run() or self._new_run()
        if self._run_id != run.info.run_id:
            self._file.mark(self._address, run_id=run.info.run_id)
        if self._file.record.status == RUNNING != run.info.status:
            self._client.update_run(self._run_id, status=RUNNING)
        self._tags = dict(run.data.tags)
        return {
            name: {point.step for point in self._client.get_metric_history(self._run_id, name)}
            for name in run.data.metrics
        }

    def _known_run(self) -> Any:
        from mlflow.exceptions import MlflowException

        if not self._run_id:
            return None
        try:
            run = self._client.get_run(self._run_id)
            if run.info.lifecycle_stage == "active":
                return run
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        self._file.forget(self._address)  # removed at the tracker
        return None

    def _found_run(self) -> Any:
        found = self._client.search_runs(
            [self._experiment()], f"tags.`{IDENTITY}` = '{self._file.record.identity}'"
        )
        return found[0] if found else None

    def _new_run(self) -> Any:
        record = self._file.record
        return self._client.create_run(
            self._experiment(),
            start_time=int(record.started * 1000),
            run_name=record.name,
            tags={IDENTITY: record.identity},
        )

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name, address = self._file.record.experiment, self._address
        if (found := self._client.get_experiment_by_name(name)) is not None:
            return found.experiment_id
        # beside the database, wherever the process runs; a server decides for itself
        folder = Path(address.removeprefix("sqlite:///")).parent / "mlflow_artifacts"
        try:
            return self._client.create_experiment(
                name, str(folder) if address.startswith("sqlite:///") else None
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self._client.get_experiment_by_name(name).experiment_id  # another run was quicker

    def _send_config(self) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        record = self._file.record
        if "parameters" not in self._arrived.sent:  # a tracker takes each only once
            flat = flatten(record.config)
            parameters = [Param(name, value[:LONGEST_VALUE]) for name, value in flat.items()]
            for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
                self._client.log_batch(self._run_id, params=parameters[first : first + PARAMETERS_AT_ONCE])
            self._file.mark(self._address, "parameters")
        if "config" not in self._arrived.sent:
            self._client.log_dict(self._run_id, record.config, "config.json")
            inputs = [
                DatasetInput(
                    Dataset(name, facts["digest"][:36], "facefill shards", facts["source"]),
                    [InputTag("mlflow.data.context", "training")],
                )
                for name, facts in record.datasets.items()
            ]
            if inputs:
                self._client.log_inputs(self._run_id, inputs)
            self._file.mark(self._address, "config")

    def _send_tags(self) -> bool:
        """Tags, and those that name other runs; whether those runs have all arrived."""
        record = self._file.record
        wanted = dict(record.tags)
        all_known = True
        for tag, (path, fact) in record.links.items():
            other = read_record(self._file.resolved(path))
            if other is None or other.record.address != record.address:
                continue
            arrived = other.arrived(self._address)
            wanted[tag] = getattr(arrived, fact)
            all_known &= bool(wanted[tag]) or arrived.complete
        for name, value in wanted.items():
            if value and self._tags.get(name) != value:
                self._client.set_tag(self._run_id, name, value)
                self._tags[name] = value
        return all_known

    def _send_metrics(self, lines: Sequence[Mapping[str, Any]], points: dict[str, set[int]]) -> None:
        missing = list(missing_points(lines, points))
        for first in range(0, len(missing), METRICS_AT_ONCE):
            batch = missing[first : first + METRICS_AT_ONCE]
            metrics = [self._module.entities.Metric(*point) for point in batch]
            self._client.log_batch(self._run_id, metrics=metrics)
            for name, _, _, step in batch:
                points.setdefault(name, set()).add(step)

    def _send_files(self) -> None:
        for path, source in list(self._file.record.files.items()):
            if f"file {path}" in self._arrived.sent:
                continue
            folder, _, name = path.rpartition("/")
            with tempfile.TemporaryDirectory() as scratch:
                local = Path(scratch) / name
                local.write_bytes(storage.read_bytes(self._file.resolved(source)))
                self._client.log_artifact(self._run_id, str(local), folder or None)
            self._file.mark(self._address, f"file {path}")

    def _send_model(self) -> None:
        """The stage's weights as a model that MLflow loads, registered under its name and `candidate`."""
        spec = self._file.record.model
        if not spec or "model" in self._arrived.sent:
            return
        name, tags = spec["name"], dict(spec["tags"])
        with tempfile.TemporaryDirectory() as scratch:
            data = collect({path: self._file.resolved(url) for path, url in spec["files"].items()}, scratch)
            version = self._version(name, tags["digest"])
            if version is None:
                logged = self._logged_model(name, tags, data)
                version = self._client.create_model_version(
                    name,
                    source=logged.artifact_location,
                    run_id=self._run_id,
                    tags=tags,
                    description=card_text(spec["card"]),
                    model_id=logged.model_id,
                )
        self._client.set_registered_model_alias(name, ALIAS, version.version)
        self._file.mark(self._address, "model", model_version=str(version.version))

    def _version(self, name: str, digest: str) -> Any:
        """The registered version of this run with these weights, if it has come through before."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._client.search_model_versions(f"name = '{name}'")
        own = (v for v in found if v.run_id == self._run_id and v.tags.get("digest") == digest)
        return next(own, None)

    def _logged_model(self, name: str, tags: dict[str, str], data: Path) -> Any:
        """Load the model, let it answer its example, and send it in MLflow's layout."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, infer_signature

        stage_model = StageModel(data)
        example = stage_model.example()
        logged = self._unfinished_model(tags["digest"]) or self._client.create_logged_model(
            self._experiment(), name=name, source_run_id=self._run_id, tags=tags
        )
        folder = data.parent / "mlflow_model"
        self._module.pyfunc.save_model(
            folder,
            loader_module="pipelines.registered_model",
            data_path=str(data),
            signature=infer_signature(example, stage_model.predict(example)),
            input_example=example,
            pip_requirements=["facefill"],
            mlflow_model=Model(run_id=self._run_id, model_id=logged.model_id),
        )
        self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(self._run_id, [LoggedModelOutput(logged.model_id, 0)])
        return logged

    def _unfinished_model(self, digest: str) -> Any:
        """The model of these weights that an interrupted delivery has left."""
        found = self._client.search_logged_models(
            [self._experiment()], filter_string=f"source_run_id = '{self._run_id}'"
        )
        return next((model for model in found if model.tags.get("digest") == digest), None)


def missing_points(
    lines: Sequence[Mapping[str, Any]], points: Mapping[str, set[int]]
) -> Iterator[tuple[str, float, int, int]]:
    """(name, value, milliseconds, step) of what is in the lines of a metrics.jsonl and not among the points.

    What was not finite is none. Of two lines with the same name and step the first counts.
    """
    seen: set[tuple[str, int]] = set()
    for line in lines:
        step = line["step"]
        for name, value in line.items():
            if "/" not in name or value is None or step in points.get(name, ()) or (name, step) in seen:
                continue
            seen.add((name, step))
            yield name, value, int(line["time"] * 1000), step


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted paths: {"loss_weights": {"albedo": 1}} -> {"loss_weights.albedo": "1"}."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
