"""Projecting and fitting whole shard sets with Ray, reading and writing included, as a user has it.

The pictures are a few hundred drawn ones under several keys each: what a face costs does not depend on what
it resembles. Workers start anew for each job and are counted in; what they need alone, a small set shows. By
the clock only: the time of processors that a job used goes with its workers.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from benchmarks.speed_projection import StoredFaces, stored_faces
from facefill.geometry.default_model import default_model
from pipelines.cluster_session import session
from pipelines.fit import fit_dataset, fit_tasks
from pipelines.fit import write_fits as write_table
from pipelines.manifest import Manifest
from pipelines.prepared import Prepared, Slice
from pipelines.project_uv import project_dataset
from pipelines.run_model import default_run_model
from pipelines.shards import write_shard_set

LEAST_PROJECTED, LEAST_FITTED = 250, 5  # faces per second
WORKERS = 2
DISTINCT = 128
FIT_ONE_OF = 20  # fits take longer
PER_SHARD = 100
REPETITIONS = 3


@dataclass(frozen=True)
class Pace:
    """How fast one job went."""

    name: str
    faces: int
    seconds: float
    least: int | None  # faces per second that are wanted


def measure_job(faces: int) -> str:
    """Markdown: faces per second of projecting `faces` faces, and of fitting some of them, on two workers."""
    to_fit = max(WORKERS, faces // FIT_ONE_OF)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sets = {
            "warm": write_faces(root / "warm", 2 * WORKERS, 2),
            "all": write_faces(root / "all", faces, PER_SHARD),
            "some": write_faces(root / "some", to_fit, max(1, to_fit // (2 * WORKERS))),
        }
        for manifest in sets.values():
            write_fits(manifest)
        started = time.perf_counter()
        with session(address="local", num_cpus=WORKERS):
            opened = time.perf_counter() - started
            paces = list(run_jobs(root, sets))
    return f"Ray's start took {opened:.1f} s.\n\n{table(paces)}"


def run_jobs(root: Path, sets: dict[str, Manifest]) -> Iterator[Pace]:
    """First the small set, which is hardly more than the workers' start, then the others, best of three."""
    for name, job in (("project", projected), ("fit", fitted)):
        yield timed(f"{name}, hardly more than the start", sets["warm"], partial(job, root / f"{name}-warm"))
        manifest = sets["all" if name == "project" else "some"]
        runs = [
            timed(f"{name} shards", manifest, partial(job, root / f"{name}-{number}"))
            for number in range(REPETITIONS)
        ]
        best = min(runs, key=lambda run: run.seconds)
        least = LEAST_PROJECTED if name == "project" else LEAST_FITTED
        yield Pace(best.name, best.faces, best.seconds, least)


def projected(folder: Path, manifest: Manifest) -> None:
    """UV shards of a set whose fits stand beside it."""
    project_dataset(manifest.folder, fits_of(manifest), str(folder))


def fitted(folder: Path, manifest: Manifest) -> None:
    """Fits of a set from landmarks and pixels."""
    fit_dataset(manifest.folder, str(folder))


def timed(name: str, manifest: Manifest, job: Callable[[Manifest], None]) -> Pace:
    """Wall time of a job."""
    started = time.perf_counter()
    job(manifest)
    return Pace(name, len(manifest.rows), time.perf_counter() - started, None)


def table(paces: Sequence[Pace]) -> str:
    """Markdown rows of jobs."""
    headings = ("job", "faces", "seconds", "faces/s", "target", "met")
    lines = [f"| {' | '.join(headings)} |", "| --- |" + " ---: |" * (len(headings) - 1)]
    for pace in paces:
        rate = pace.faces / pace.seconds
        target, met = "", ""
        if pace.least is not None:
            target, met = f"≥ {pace.least} faces/s", "yes" if rate >= pace.least else "**no**"
        lines.append(f"| {pace.name} | {pace.faces} | {pace.seconds:.1f} | {rate:.0f} | {target} | {met} |")
    return "\n".join(lines)


def write_faces(folder: Path, count: int, per_shard: int) -> Manifest:
    """A shard set of `count` faces."""
    slices = [
        Slice(f"drawn-train-{number:06d}.tar", "train", tuple(range(start, min(start + per_shard, count))))
        for number, start in enumerate(range(0, count, per_shard))
    ]
    return write_shard_set(str(folder), "drawn", slices, prepare_faces, config={}, workers=0)


def prepare_faces(numbers: Sequence[int]) -> Iterator[Prepared]:
    """The faces of one shard."""
    for number in numbers:
        members = distinct_faces().members[number % DISTINCT]
        yield Prepared(key_of(number), number, f"{number}.jpg", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 68, members)


def write_fits(manifest: Manifest) -> None:
    """The faces' true fits as the tables that fitting a set leaves."""
    vectors = distinct_faces().vectors
    for task in fit_tasks(manifest, fits_of(manifest), default_run_model(), ""):
        rows = [
            {
                "key": row.key,
                "fit": vectors[row.identity % DISTINCT].tolist(),
                "landmark_px": 0.0,
                "photometric": 0.0,
                "reason": "",
            }
            for row in task.rows
        ]
        write_table(task, rows)


def fits_of(manifest: Manifest) -> str:
    """The folder of a set's fits."""
    return f"{manifest.folder}-fits"


def key_of(number: int) -> str:
    """The key of a face."""
    return f"drawn/{number:06d}"


@cache
def distinct_faces() -> StoredFaces:
    """The pictures that all sets are made of."""
    return stored_faces(DISTINCT, default_model())
