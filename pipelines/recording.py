"""The driver's record of a training run: metrics.jsonl, pictures, the progress line and the tracker's run."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
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
    line. What a killed driver had not written yet is written again after the continuation.
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

    def write_if_any(self) -> None:
        """Everything that was told is in the file."""
        if self.lines:
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
    """Turns the events of one run into its record. Call it with each event, `close` it at the end.

    batch_size: samples of a step on all workers together.
    """

    def __init__(
        self, folder: str, progress: Progress, batch_size: int, tracked: "TrackedRun | None" = None
    ) -> None:
        self.folder = folder
        self.progress = progress
        self.batch_size = batch_size
        self.tracked = tracked
        self.metrics = tracked.metrics if tracked else MetricsFile(storage.join(folder, "metrics.jsonl"))
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
                self.progress.say(
                    f"{event.label}: the workers were started again; goes on from step {event.step}"
                )
            elif event.step:
                self.progress.say(f"{event.label}: goes on from step {event.step}")
            self.progress.update(event.label, event.step, event.total)
        elif event.kind == "note":
            self.progress.say(event.text)
        elif event.kind in ("metrics", "evaluation"):
            values = event.values | speed(event.values, self.batch_size)
            self.metrics.add(replace(event, values=values))
            self.progress.update(event.label, event.step, event.total, brief(values))
            if self.tracked:
                self.tracked.wake()
        elif event.kind == "picture" and event.picture is not None:
            picture = encode_picture(event.picture)
            path = f"pictures/{event.step:07d}.jpg"
            storage.write_bytes(storage.join(self.folder, path), picture)
            if self.tracked:
                self.tracked.log_file(storage.join(self.folder, path), path)
        elif event.kind == "checkpoint":
            self.checkpoint_step = event.step
            self.metrics.write()  # a stage that is done has its whole record

    def close(self) -> None:
        """Everything that was told is in the file."""
        self.metrics.write_if_any()


def speed(values: Mapping[str, float], batch_size: int) -> dict[str, float]:
    """`speed/images_per_s` and `speed/data_wait_share` (0 to 1), where the values have a step's times."""
    step = values.get("time/step", 0.0)
    if step <= 0:
        return {}
    found = {"speed/images_per_s": batch_size / step}
    if "time/data" in values:
        found["speed/data_wait_share"] = values["time/data"] / step
    return found


def encode_picture(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as the bytes of a JPEG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
