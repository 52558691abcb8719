"""Fits and projections stopped in the middle or without space: a rerun keeps what is whole, same bytes."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines.fit import fit_dataset
from pipelines.project_uv import project_dataset
from tests.support.face_shards import GOOD, write_face_shards

JOBS = ("fits", "uv")


def do(job: str, folder: Path, on_progress: Callable[[int, int, float], None] | None = None) -> None:
    """Make `fits` or `uv` below the folder from what lies there."""
    shards, fits = str(folder / "shards"), str(folder / "fits")
    if job == "fits":
        fit_dataset(shards, fits, workers=0, on_progress=on_progress)
    else:
        project_dataset(shards, fits, str(folder / "uv"), workers=0, on_progress=on_progress)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_face_shards(str(folder / "shards"), [GOOD] * 4, per_shard=2)
    for job in JOBS:
        do(job, folder)
    return folder


@pytest.fixture
def ready(undisturbed: Path, tmp_path: Path) -> Callable[[str], Path]:
    def prepare(job: str) -> Path:
        for needed in ("shards", *JOBS[: JOBS.index(job)]):
            shutil.copytree(undisturbed / needed, tmp_path / needed)
        return tmp_path

    return prepare


@pytest.mark.parametrize("job", JOBS)
def test_stopped_in_the_second_shard(undisturbed, ready, job):
    folder = ready(job)

    def stop(done: int, total: int, left: float) -> None:
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(job, folder, stop)
    whole = {file: file.stat().st_mtime_ns for file in (folder / job).glob("*-000000.*")}
    assert whole and not (folder / job / "manifest.parquet").exists()
    do(job, folder)
    assert {file: file.stat().st_mtime_ns for file in whole} == whole
    assert files_below(folder / job) == files_below(undisturbed / job)


@pytest.mark.parametrize("job", JOBS)
def test_no_space_is_said_and_nothing_is_half_written(undisturbed, ready, job):
    folder = ready(job)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match="file too large while writing") as caught:
            do(job, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value) and not files_below(folder / job)
    do(job, folder)
    assert files_below(folder / job) == files_below(undisturbed / job)
