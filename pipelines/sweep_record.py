"""The driver's record of a sweep: a recorded run per trial, one table, and the best point as a config."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from facefill.errors import UserError
from pipelines import storage, tables
from pipelines.progress import Event, Progress, brief
from pipelines.recording import Recorder
from pipelines.search_space import Point, as_settings, as_tree
from pipelines.tracking import FAILED, FINISHED, KILLED, Tracking, open_run, remembered_run
from pipelines.train_job import TrainJob, finished


class SweepRecord:
    """Takes the events of all trials; each trial has its own Recorder and its own tracked run."""

    def __init__(
        self, jobs: Sequence[TrainJob], points: Sequence[Point], progress: Progress, tracking: Tracking | None
    ) -> None:
        self.jobs, self.points = jobs, points
        self.progress = progress
        self.tracking = tracking
        self.reasons: dict[int, str] = {}  # of trials that failed
        self._running: dict[int, Recorder] = {}

    def __call__(self, event: Event) -> None:
        number = number_of(event.label)
        if number not in self._running:
            self._running[number] = self._begin(number)
        if event.kind == "done":
            self.progress.finish(
                event.label, f"{' '.join(as_words(self.points[number]))}  {brief(event.values)}"
            )
            self._end(number, FINISHED)
        elif event.kind == "failed":
            self.failed(number, event.text)
        else:
            self._running[number](event)

    def failed(self, number: int, reason: str) -> None:
        """The trial ended without a result."""
        self.reasons.setdefault(number, reason)
        self.progress.drop(label_of(number))
        self.progress.say(f"{label_of(number)}: failed: {reason}")
        self._end(number, FAILED)

    def close(self) -> None:
        """What still runs was stopped."""
        for number in list(self._running):
            self.progress.drop(label_of(number))
            self._end(number, KILLED)

    def rows(self) -> list[dict[str, Any]]:
        """One row per trial: point, status, reason, last metrics, seconds, tracked run, repeating command."""
        rows = []
        for number, (job, point) in enumerate(zip(self.jobs, self.points, strict=True)):
            result = finished(job)
            row: dict[str, Any] = {"trial": number} | point
            row |= {"status": "finished" if result else "failed", "reason": self.reasons.get(number, "")}
            row |= result.metrics if result else {}
            row |= {"steps": job.steps, "seconds": result.seconds if result else math.nan}
            row |= {
                "run_id": remembered_run(memory_of(job)),
                "command": " ".join(as_settings(point, job.stage)),
            }
            rows.append(row)
        return rows

    def _begin(self, number: int) -> Recorder:
        job, point = self.jobs[number], self.points[number]
        tracking = self.tracking
        if tracking:
            tags = tracking.tags | {f"point.{name}": str(value) for name, value in point.items()}
            tracking = replace(tracking, name=f"trial-{number:03d}", tags=tags)
        tracked = open_run(tracking, f"3dfacefill/{job.stage}", job.config, memory_of(job))
        return Recorder(job.folder, self.progress, job.batch_size, tracked)

    def _end(self, number: int, status: str) -> None:
        recorder = self._running.pop(number, None)
        if recorder is not None:
            recorder.close()
            if recorder.tracked:
                recorder.tracked.end(status)


def write_results(
    folder: str, rows: list[dict[str, Any]], points: Sequence[Point], metric: str, mode: str, stage: str
) -> Point:
    """Write table.parquet, table.md (best first) and best.yaml; returns the best point. Raises UserError."""
    import yaml

    sign = -1.0 if mode == "max" else 1.0
    names = list(dict.fromkeys(name for row in rows for name in row))
    tables.write_table(
        storage.join(folder, "table.parquet"), [{n: row.get(n) for n in names} for row in rows]
    )
    ranked = sorted(
        (row for row in rows if math.isfinite(row.get(metric, math.nan))), key=lambda row: sign * row[metric]
    )
    rest = [row for row in rows if row not in ranked]
    storage.write_text(storage.join(folder, "table.md"), markdown([*ranked, *rest], names, metric))
    if not ranked:
        known = ", ".join(name for name in names if name.startswith(("metric/", "loss/"))) or "none"
        raise UserError(
            f"sweep: no trial has {metric} (they have: {known}): see {storage.join(folder, 'table.md')}"
        )
    best = points[ranked[0]["trial"]]
    storage.write_text(
        storage.join(folder, "best.yaml"), yaml.safe_dump(as_tree(best, stage), sort_keys=False)
    )
    return best


def markdown(rows: Sequence[dict[str, Any]], names: Sequence[str], metric: str) -> str:
    """The rows as a Markdown table, the ranking metric right after the settings."""
    shown = [name for name in names if name != metric and not name.startswith("time/")]
    place = shown.index("status")
    shown = [*shown[:place], metric, *shown[place:]]

    def cell(value: Any) -> str:
        text = f"{value:.5g}" if isinstance(value, float) else "" if value is None else str(value)
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [shown, ["---"] * len(shown), *([cell(row.get(name)) for name in shown] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def memory_of(job: TrainJob) -> str:
    """Where the id of the job's tracked run is kept."""
    return storage.join(job.folder, "mlflow_run.json")


def label_of(number: int) -> str:
    """The trial's name in progress lines and events."""
    return f"sweep trial {number}"


def number_of(label: str) -> int:
    """The trial's number."""
    return int(label.rsplit(" ", 1)[1])


def as_words(point: Point) -> list[str]:
    """The point for a progress line, last parts of the names only."""
    return [f"{name.rsplit('.', 1)[-1]}={value}" for name, value in point.items()]
