"""The driver's record of a training run: metrics.jsonl, pictures, the progress line and the tracker's run."""

import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import storage
from pipelines.progress import Event, Progress, brief

if TYPE_CHECKING:
    from pipelines.tracking import TrackedRun

WRITE_EVERY_S = 5.0


class MetricsFile:
    """metrics.jsonl, a line per report: `{"step": 20, "kind": "metrics", "time": ..., "loss/albedo": 0.1}`.

    The file is written whole each time, because object stores cannot append; so readers never see half a
    line. What a killed driver had not written yet is written again after the continuation, with the same
    values.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.lines = read_metrics(url)
        self._written = time.monotonic()

    def begin_at(self, step: int) -> None:
        """Forget what lies beyond `step`: training goes on from there."""
        self.lines = [line for line in self.lines if line["step"] <= step]

    def add(self, event: Event) -> None:
        """One line; the file follows within a few seconds."""
        line: dict[str, Any] = {"step": event.step, "kind": event.kind, "time": round(event.time, 3)}
        self.lines.append(line | {n: v if math.isfinite(v) else None for n, v in event.values.items()})
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        storage.write_text(self.url, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._written = time.monotonic()


def read_metrics(url: str) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none if there is no file."""
    try:
        return [json.loads(line) for line in storage.read_text(url).splitlines()]
    except FileNotFoundError:
        return []


class Recorder:
    """Turns the events of one run into its record. Call it with each event, `close` it at the end."""

    def __init__(self, folder: str, progress: Progress, tracked: "TrackedRun | None" = None) -> None:
        self.folder = folder
        self.progress = progress
        self.tracked = tracked
        self.metrics = MetricsFile(storage.join(folder, "metrics.jsonl"))
        self.last: Event | None = None
        self.checkpoint_step = 0
        self.restarts = -1

    def __call__(self, event: Event) -> None:
        self.last = event
        if event.kind == "start":
            self.restarts += 1
            self.checkpoint_step = event.step
            self.metrics.begin_at(event.step)
            if self.restarts > 0:
                self.progress.say(f"{event.label}: a worker was lost; goes on from step {event.step}")
            elif event.step:
                self.progress.say(f"{event.label}: goes on from step {event.step}")
            self.progress.update(event.label, event.step, event.total)
        elif event.kind == "note":
            self.progress.say(event.text)
        elif event.kind in ("metrics", "evaluation"):
            self.metrics.add(event)
            self.progress.update(event.label, event.step, event.total, brief(event.values))
            if self.tracked:
                self.tracked.log_metrics(event.step, event.values, event.time)
        elif event.kind == "picture" and event.picture is not None:
            picture = encode_picture(event.picture)
            storage.write_bytes(storage.join(self.folder, "pictures", f"{event.step:07d}.jpg"), picture)
            if self.tracked:
                self.tracked.log_bytes(picture, f"pictures/{event.step:07d}.jpg")
        elif event.kind == "checkpoint":
            self.checkpoint_step = event.step
            self.metrics.write()  # a stage that is done has its whole record

    def close(self) -> None:
        """Everything that was told is in the file."""
        if self.metrics.lines:
            self.metrics.write()


def encode_picture(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as the bytes of a JPEG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
