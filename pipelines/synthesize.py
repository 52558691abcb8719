"""Render stand-ins for the released data sets below OUTPUT/raw, in parallel, to any URL.

A task writes all pictures of a few people and then its own record; what has a record is not made again, so
an interrupted job goes on where it was. The lists of a release are written last, from all records. The
bytes depend on seed and counts alone, not on the number of workers.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pipelines import storage
from pipelines.config import RunConfig
from pipelines.jobs import run_tasks

VERSION = 1  # of the rendering: a change makes all pictures again
PEOPLE_PER_TASK = 3
FOLDERS = ("celeba", "three_hundred_w", "celebamask_hq", "truth")


@dataclass(frozen=True)
class Counts:
    """How many pictures of each data set, and from which seed."""

    seed: int
    celeba: int
    three_hundred_w: int
    celebamask_hq: int
    pictures_per_identity: int


@dataclass(frozen=True)
class Task:
    """A few people of CelebA and CelebAMask-HQ, or of 300W-3D."""

    root: str
    plan: str
    counts: Counts
    in_the_wild: bool  # 300W-3D
    first: int
    last: int  # identities first..last-1

    @property
    def record(self) -> str:
        """Where the task leaves what the lists need."""
        kind = "300w" if self.in_the_wild else "celeba"
        return storage.join(self.root, "truth", "tasks", f"{self.plan}-{kind}-{self.first:06d}.json")


def synthesize(
    config: RunConfig, on_progress: Callable[[int, int, float], None] | None = None
) -> dict[str, Any]:
    """Write what `config.synthesis` asks for below `config.output`/raw; the outcome for the workflow."""
    wanted = config.synthesis
    counts = Counts(
        config.seed, wanted.celeba, wanted.three_hundred_w, wanted.celebamask_hq, wanted.pictures_per_identity
    )
    root = storage.join(config.output, "raw")
    return write_datasets(root, counts, workers=config.shard.workers, on_progress=on_progress)


def write_datasets(
    root: str,
    counts: Counts,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Write all data sets below `root`. workers as in `jobs.run_tasks`: 0 works in this process."""
    plan = hashlib.sha256(json.dumps([VERSION, asdict(counts)]).encode()).hexdigest()[:12]
    _clear_other_plans(root, plan)
    records = run_tasks(
        write_people,
        plan_tasks(root, plan, counts),
        label="synthesize",
        on_progress=on_progress,
        workers=workers,
    )
    digest = hashlib.sha256("".join(record["digest"] for record in records).encode())
    for file in _annotations(records):
        storage.write_bytes(storage.join(root, file.path), file.content)
        digest.update(file.content)
    asked = {name: count for name, count in asdict(counts).items() if name in FOLDERS and count}
    summary = ", ".join(f"{count} pictures of {name}" for name, count in asked.items())
    return {"digest": digest.hexdigest(), "samples": sum(asked.values()), "summary": summary}


def plan_tasks(root: str, plan: str, counts: Counts) -> list[Task]:
    """All tasks, those of CelebA first."""
    people = _celeba_plan(counts).identities
    wild = _three_hundred_w_plan(counts).identities
    return [
        Task(root, plan, counts, in_the_wild, first, min(first + PEOPLE_PER_TASK, count))
        for in_the_wild, count in ((False, people), (True, wild))
        for first in range(0, count, PEOPLE_PER_TASK)
    ]


def write_people(task: Task) -> dict[str, Any]:
    """Write a task's pictures unless its record is there; the record: file digest and rows of the lists."""
    if storage.exists(task.record):
        return json.loads(storage.read_text(task.record))
    with _one_thread():
        record = _write_wild(task) if task.in_the_wild else _write_celeba(task)
    storage.write_text(task.record, json.dumps(record))
    return record


def _write_celeba(task: Task) -> dict[str, Any]:
    from facefill.synthetic import celeba, celebamask_hq
    from facefill.synthetic.head import load_head
    from facefill.synthetic.render import prepare

    head, plan = load_head(), _celeba_plan(task.counts)
    high_quality = celebamask_hq.CelebaMaskHqPlan(plan, task.counts.celebamask_hq)
    digest = hashlib.sha256()
    rows: dict[str, list[dict[str, Any]]] = {"celeba": [], "celebamask_hq": []}
    for identity in range(task.first, task.last):
        sitter = prepare(plan.person_of(identity), head)
        for number in plan.numbers_of(identity):
            if number <= task.counts.celeba:
                files, row = celeba.write_picture(plan, number, sitter, head)
                _write(task.root, files, digest)
            else:  # only its high-quality twin was asked for, whose lists refer to it
                row = celeba.row_of(plan, number, sitter, head)
            rows["celeba"].append(asdict(row))
        for index in high_quality.indices_of(identity):
            files, entry = celebamask_hq.write_picture(high_quality, index, sitter, head)
            _write(task.root, files, digest)
            rows["celebamask_hq"].append(asdict(entry))
    return {"digest": digest.hexdigest(), **rows}


def _write_wild(task: Task) -> dict[str, Any]:
    from facefill.synthetic import three_hundred_w
    from facefill.synthetic.head import load_head
    from facefill.synthetic.render import prepare

    head, plan = load_head(), _three_hundred_w_plan(task.counts)
    digest = hashlib.sha256()
    for identity in range(task.first, task.last):
        sitter = prepare(plan.person_of(identity), head)
        for number in plan.numbers_of(identity):
            _write(task.root, three_hundred_w.write_picture(plan, number, sitter, head), digest)
    return {"digest": digest.hexdigest()}


def _celeba_plan(counts: Counts) -> Any:
    from facefill.synthetic.celeba import CelebaPlan

    # CelebAMask-HQ shows CelebA's people, so there are at least as many CelebA entries.
    pictures = max(counts.celeba, counts.celebamask_hq)
    return CelebaPlan(counts.seed, pictures, counts.pictures_per_identity)


def _three_hundred_w_plan(counts: Counts) -> Any:
    from facefill.synthetic.three_hundred_w import ThreeHundredWPlan

    return ThreeHundredWPlan(counts.seed, counts.three_hundred_w, counts.pictures_per_identity)


def _annotations(records: list[dict[str, Any]]) -> Iterable[Any]:
    from facefill.synthetic import celeba, celebamask_hq

    rows = [celeba.CelebaRow(**row) for record in records for row in record.get("celeba", ())]
    if rows:
        yield from celeba.annotations(sorted(rows, key=lambda row: row.number))
    entries = [
        celebamask_hq.CelebaMaskHqRow(**row) for record in records for row in record.get("celebamask_hq", ())
    ]
    if entries:
        yield from celebamask_hq.annotations(sorted(entries, key=lambda entry: entry.index))


def _write(root: str, files: Iterable[Any], digest: Any) -> None:
    for file in files:
        storage.write_bytes(storage.join(root, file.path), file.content)
        digest.update(file.path.encode() + hashlib.sha256(file.content).digest())


def _clear_other_plans(root: str, plan: str) -> None:
    """Remove pictures of other seeds or counts, which the readers would mix with these."""
    records = storage.list_files(storage.join(root, "truth", "tasks"), ".json")
    if any(not storage.name_of(record).startswith(plan) for record in records):
        for folder in FOLDERS:
            storage.remove(storage.join(root, folder))


class _one_thread:
    """Sums depend on how many threads share them: with one the bytes do not, and cores serve tasks."""

    def __enter__(self) -> None:
        import cv2
        import torch

        self.torch, self.opencv = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)

    def __exit__(self, *_: object) -> None:
        import cv2
        import torch

        torch.set_num_threads(self.torch)
        cv2.setNumThreads(self.opencv)
