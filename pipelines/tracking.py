"""Experiment tracking: a run is written down in its folder, and a thread copies it to the tracker (MLflow).

A tracker that is away stops nothing and loses nothing. What it has not got is in the run's folder
(`tracked_record`) and is sent when it answers again: during the run, at its end, when the run goes on, before
and after every `facefill run` of that output, and by `facefill track FOLDER`. No metric arrives twice.
"""

import contextlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facefill.errors import UserError
from pipelines import storage
from pipelines.progress import Event
from pipelines.recording import MetricsFile
from pipelines.tracked_record import (
    FAILED,
    FINISHED,
    KILLED,
    RUNNING,
    RecordFile,
    RunRecord,
    read_record,
    records_in,
)

log = logging.getLogger(__name__)

SEND_EVERY_S = 2.0
BROKEN_OFF_PATIENCE_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between attempts while the tracker is away


@dataclass(frozen=True)
class Tracking:
    """Where and how runs are tracked: an address as `tracking_address` gives it ("": written down only), the
    run's name and its tags.

    parent: URL of the record of the run that this one is shown under. links: tag -> (URL of a record, fact),
    see `RunRecord`. datasets: name -> {"digest", "source"}.
    """

    address: str
    name: str
    tags: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    datasets: dict[str, dict[str, str]] = field(default_factory=dict)


class TrackedRun:
    """One run that is being tracked; no method waits for the tracker but `end`."""

    def __init__(self, file: RecordFile) -> None:
        self.file = file
        self.metrics = MetricsFile(file.metrics)
        self._courier = Courier(file, self.metrics) if file.record.address else None

    @property
    def url(self) -> str:
        """Where the run's record is."""
        return self.file.url

    def log_metrics(self, step: int, values: Mapping[str, float], when: float) -> None:
        """Metrics of one step, for runs without a Recorder; those of a later call replace them."""
        self.metrics.begin_at(step - 1)
        self.metrics.add(Event("", "metrics", step, step, dict(values), time=when))
        self.metrics.write()
        self.wake()

    def log_file(self, url: str, path: str) -> None:
        """A file of the run's folder among the artifacts, e.g. path "pictures/0000200.jpg"."""
        self.file.add_file(path, url)
        self.wake()

    def log_model(self, model: Mapping[str, Any]) -> None:
        """What the run has made, to be registered: see `registered_model.model_to_register`."""
        self.file.add_model(dict(model))
        self.wake()

    def wake(self) -> None:
        """There is something new to send."""
        if self._courier is not None:
            self._courier.wake()

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED. Returns when the tracker has everything or fails once more; what was
        broken off keeps nobody waiting for long.
        """
        self.metrics.write_if_any()
        self.file.end(status, time.time())
        if self._courier is not None:
            self._courier.finish(None if status == FINISHED else BROKEN_OFF_PATIENCE_S)


class Courier:
    """The thread that copies one run to its tracker, patiently."""

    def __init__(self, file: RecordFile, metrics: MetricsFile) -> None:
        from pipelines.tracker import Delivery

        self._file, self._metrics = file, metrics
        self._deliver = Delivery(file.record.address, file)
        self._new, self._ending = threading.Event(), threading.Event()
        self._new.set()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._new.set()

    def finish(self, patience: float | None) -> None:
        """Try once more and wait for the outcome, at most so many seconds."""
        self._ending.set()
        self._new.set()
        self._thread.join(patience)

    def _work(self) -> None:
        pause = 0.0
        while True:
            self._new.wait()
            self._new.clear()
            last = self._ending.is_set()
            try:
                self._deliver(list(self._metrics.lines))
                if pause:
                    log.warning("the tracker answers again; it has now what it missed")
                pause = 0.0
            except Exception as error:
                if not pause:
                    log.warning(
                        "the tracker does not answer (%s); what it misses waits in %s",
                        reason_of(error),
                        self._file.folder,
                    )
                pause = min(2 * pause, LONGEST_PAUSE_S) or FIRST_PAUSE_S
                self._new.set()
            if last:
                if pause:
                    log.warning("to send it later: facefill track %s", self._file.folder)
                return
            self._ending.wait(pause or SEND_EVERY_S)


def open_run(
    tracking: Tracking | None, experiment: str, config: Mapping[str, Any], memory: str
) -> TrackedRun | None:
    """Start a run, or go on with the one that the record at URL `memory` describes.

    config: nested plain data, logged as dotted parameters and whole as config.json. memory: its name begins
    with "mlflow_run" and ends with ".json". None if nothing is to be tracked.
    """
    if tracking is None:
        return None
    file = read_record(memory)
    if file is None:
        record = RunRecord(experiment, tracking.name, dict(config), started=time.time())
        file = RecordFile(memory, record)
    links = tracking.links | ({"mlflow.parentRunId": (tracking.parent, "run_id")} if tracking.parent else {})
    file.record.links = {tag: (file.relative(url), fact) for tag, (url, fact) in links.items()}
    file.record.tags = {"git.commit": git_commit()} | tracking.tags
    file.record.datasets = dict(tracking.datasets)
    file.begin(tracking.address, dict(config))
    return TrackedRun(file)


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


def remembered_run(memory: str) -> str:
    """The tracker's id of the run that was opened with this memory, "" while it has none."""
    file = read_record(memory)
    return file.arrived(file.record.address).run_id if file is not None else ""


def left_open(memory: str) -> bool:
    """Whether the run with this memory was never ended: its driver runs, or went away without a word."""
    file = read_record(memory)
    return file is not None and file.record.status == RUNNING


def send_what_is_missing(folder: str) -> None:
    """Send what ended runs of an output still owe their tracker; one that is away is not waited for."""
    away: set[str] = set()
    for file in records_in(folder):
        address = file.record.address
        ended_run = file.record.status != RUNNING
        if not address or address in away or not ended_run or file.arrived(address).complete:
            continue
        try:
            deliver(file, address)
        except Exception as error:
            away.add(address)
            log.warning("the tracker at %s does not answer (%s); %s waits", address, reason_of(error), folder)


def track(folder: str, address: str = "") -> Iterator[str]:
    """Bring a tracker up to date with every run in a folder that is not running now; a line for each.

    address: of any tracker; that of each run unless given. Raises UserError when there is nothing to send, or
    a tracker does not answer.
    """
    files = records_in(folder)
    if not files:
        raise UserError(f"{folder}: no tracked runs here; name a run's output, or a stage's folder in it")
    for file in files:
        to = address or file.record.address or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not to:
            raise UserError(f"{file.url}: this run has no tracker; name one: facefill track {folder} ADDRESS")
        try:
            deliver(file, to)
        except Exception as error:
            raise UserError(
                f"the tracker at {to} does not answer ({reason_of(error)}); what is missing stays in "
                f"{folder}, give the same command again"
            ) from error
        yield f"{file.folder}: {file.record.name} is run {file.arrived(to).run_id} at {to}"


def deliver(file: RecordFile, address: str) -> None:
    """Send all that a tracker lacks of one run, now. Raises whatever the tracker's client raises."""
    from pipelines.tracker import Delivery

    Delivery(address, file)(MetricsFile(file.metrics).lines)


def tracking_address(setting: str, output: str) -> str:
    """Where runs go: the setting, MLFLOW_TRACKING_URI, mlflow.db in a local output, or "" for nowhere."""
    address = setting or os.environ.get("MLFLOW_TRACKING_URI", "")
    path = storage.local_path(output)
    if not address and path is not None:
        path.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{path.absolute()}/mlflow.db"
    return address


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


def reason_of(error: Exception) -> str:
    """The first line of an error's words, or its kind."""
    words = str(error).strip().splitlines()
    return words[0][:200] if words else type(error).__name__
