"""Jobs keep nothing of what they have done: four times the samples take the same memory."""

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scale import tiny_records
from facefill.errors import UserError
from pipelines.fit import fit_dataset, fit_tasks, write_fits
from pipelines.manifest import load_manifest
from pipelines.project_uv import project_dataset
from pipelines.run_model import default_run_model
from pipelines.shard_rows import rows_by_shard
from pipelines.shards import shard_dataset
from pipelines.sources.records import Listing
from tests.support.face_shards import GOOD, NONE, drawn, write_face_shards

PER_SHARD = 4
FEW, MANY = 8, 32
A_PICTURE = 256 * 256 * 3


def written(folder: Path, kind: str, count: int) -> Path:
    write_face_shards(str(folder / "shards"), [kind] * count, per_shard=PER_SHARD)
    return folder


def fit(folder: Path) -> None:
    fit_dataset(f"{folder}/shards", f"{folder}/fits", workers=0)


def project(folder: Path) -> None:
    project_dataset(f"{folder}/shards", f"{folder}/fits", f"{folder}/uv", workers=0)


def to_fit(folder: Path, count: int) -> Callable[[], None]:
    written(folder, NONE, count)  # everything but the fit itself, which takes its time
    return lambda: fit(folder)


def to_project(folder: Path, count: int) -> Callable[[], None]:
    written(folder, GOOD, count)
    made = {"landmark_px": 1.0, "photometric": 0.1, "reason": ""}
    for task in fit_tasks(load_manifest(f"{folder}/shards"), f"{folder}/fits", default_run_model(), ""):
        rows = [
            {"key": row.key, "fit": drawn()["fit"][place % 4].tolist(), **made}
            for place, row in enumerate(task.rows)
        ]
        write_fits(task, rows)
    return lambda: project(folder)


def to_shard(folder: Path, count: int) -> Callable[[], None]:
    listing = Listing("tiny", tuple(tiny_records(count)), (), ())
    return lambda: (
        shard_dataset(listing, f"{folder}/set", samples_per_shard=PER_SHARD, config={}, workers=0) and None
    )


def peak(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prepare", [to_fit, to_project, to_shard])
def test_four_times_the_samples_take_the_same_memory(tmp_path, prepare):
    prepare(tmp_path / "first", PER_SHARD)()  # what is loaded once
    few, many = (peak(prepare(tmp_path / str(count), count)) for count in (FEW, MANY))
    assert many < few + A_PICTURE  # to keep the others' pictures would take 24 of them


def test_a_task_names_its_samples_and_does_not_hold_them(tmp_path):
    sizes = []
    for count in (2, 20):
        manifest = write_face_shards(str(tmp_path / str(count)), [NONE] * count, per_shard=count)
        [task] = fit_tasks(manifest, str(tmp_path / "fits"), default_run_model(), "")
        assert [row.key for row in task.rows] == [row.key for row in manifest.rows]
        sizes.append(len(pickle.dumps(task)))
    assert sizes[1] - sizes[0] < 20


def test_rows_of_a_set_that_was_made_anew_are_refused(tmp_path):
    folder = str(tmp_path / "shards")
    named = [rows for _, rows in rows_by_shard(write_face_shards(folder, [NONE] * 6))]
    assert [[row.index for row in rows] for rows in named] == [[0, 1, 2]] * 2
    write_face_shards(folder, [NONE] * 6, per_shard=4)
    with pytest.raises(UserError, match="made anew while its samples were worked on; run the same command"):
        list(named[1])
