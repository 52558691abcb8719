"""What a run's folder knows of its tracking: what the tracker shall hold, and what has arrived there.

`mlflow_run.json` lies beside `metrics.jsonl` and the pictures. Together they are the whole truth about the
run; the tracker is a copy, which can be brought up to date at any time, by any process, at any address.
"""

import json
import posixpath
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines import storage

NAME = "mlflow_run"  # of every record: mlflow_run.json, mlflow_run-1a2b3c4d.json
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
FOLDERS = ("stages", "sweep", "evaluation")  # of an output, where records are


@dataclass
class Arrived:
    """What one tracker has: the run, the parts that were sent, the registered model, or everything."""

    run_id: str = ""
    sent: list[str] = field(default_factory=list)
    model_version: str = ""
    complete: bool = False


@dataclass
class RunRecord:
    """One tracked run. Paths are relative to the record's folder, so the whole output may be moved.

    links: tag -> (path of another record, "run_id" or "model_version"): its value at the same tracker.
    datasets: name -> {"digest", "source"}. files: path among the artifacts -> path. model: what is to be
    registered (`pipelines/registered_model.py`), or nothing. identity: marks the run at the tracker.
    """

    experiment: str
    name: str
    config: dict[str, Any]
    address: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    datasets: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    status: str = RUNNING
    ended: float = 0.0
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    trackers: dict[str, Arrived] = field(default_factory=dict)  # address -> what it has


class RecordFile:
    """A record and its file; its methods may be called from several threads."""

    def __init__(self, url: str, record: RunRecord) -> None:
        self.url = url
        self.record = record
        self._lock = threading.RLock()

    @property
    def folder(self) -> str:
        """Where the record lies."""
        return self.url.rsplit("/", 1)[0] if "/" in self.url else "."

    @property
    def metrics(self) -> str:
        """The URL of the run's metrics: metrics.jsonl beside mlflow_run.json."""
        name = storage.name_of(self.url)
        return storage.join(self.folder, f"metrics{name.removeprefix(NAME).removesuffix('.json')}.jsonl")

    def arrived(self, address: str) -> Arrived:
        """What is known of one tracker; change it inside `changed` alone."""
        with self._lock:
            return self.record.trackers.setdefault(address, Arrived())

    def add_file(self, path: str, url: str) -> None:
        """A file for the artifacts; one of the same path is replaced."""
        with self._lock:
            self.record.files[path] = self.relative(url)
            self._again(f"file {path}")

    def add_model(self, model: dict[str, Any]) -> None:
        """The model that the run has made."""
        with self._lock:
            self.record.model = model
            self._again("model")

    def begin(self, address: str, config: dict[str, Any]) -> None:
        """The run starts, or goes on."""
        with self._lock:
            self.record.address, self.record.config, self.record.status = address, config, RUNNING
            self._again("config")

    def end(self, status: str, when: float) -> None:
        """The run has ended so."""
        with self._lock:
            self.record.status, self.record.ended = status, when
            self._again("")

    def mark(self, address: str, part: str = "", **facts: Any) -> None:
        """A tracker has got a part, or facts about it have become known."""
        with self._lock:
            arrived = self.arrived(address)
            if part and part not in arrived.sent:
                arrived.sent.append(part)
            for name, value in facts.items():
                setattr(arrived, name, value)
            self.save()

    def forget(self, address: str) -> None:
        """The tracker has lost the run."""
        with self._lock:
            self.record.trackers[address] = Arrived()

    def relative(self, url: str) -> str:
        """A URL as seen from the record's folder."""
        return url if ("://" in url) != ("://" in self.url) else posixpath.relpath(url, self.folder)

    def resolved(self, path: str) -> str:
        """The URL that a path in the record means now."""
        if "://" in path or path.startswith("/"):
            return path
        scheme, mark, rest = self.folder.rpartition("://")
        return f"{scheme}{mark}{posixpath.normpath(posixpath.join(rest, path))}"

    def save(self) -> None:
        """Write the file."""
        with self._lock:
            storage.write_text(self.url, json.dumps(asdict(self.record), indent=1))

    def _again(self, part: str) -> None:
        for arrived in self.record.trackers.values():
            arrived.complete = False
            arrived.sent = [sent for sent in arrived.sent if sent != part]
        self.save()


def read_record(url: str) -> RecordFile | None:
    """The record at a URL; None where there is none (or one that an older version left)."""
    try:
        tree = json.loads(storage.read_text(url))
    except FileNotFoundError:
        return None
    if "trackers" not in tree:
        return None
    tree["trackers"] = {address: Arrived(**arrived) for address, arrived in tree["trackers"].items()}
    return RecordFile(url, RunRecord(**tree))


def records_in(folder: str) -> list[RecordFile]:
    """The records of an output, or of a folder inside one, in the order in which the runs were started."""
    found = [record for url in _record_urls(folder) if (record := read_record(url)) is not None]
    return sorted(found, key=lambda file: file.record.started)


def _record_urls(folder: str) -> Iterator[str]:
    places = [(folder, False), *((storage.join(folder, name), True) for name in FOLDERS)]
    for place, recursive in places:
        for url in storage.list_files(place, ".json", recursive=recursive):
            if storage.name_of(url).startswith(NAME):
                yield url
