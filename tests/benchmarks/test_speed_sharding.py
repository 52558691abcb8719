"""The sharding benchmark: all ways write what they should; no time is judged."""

import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import peers_sharding, speed_sharding
from benchmarks.speed_sharding import LIMIT, OURS, Pace

PHOTOGRAPHS = 3


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[speed_sharding.Photo]:
    monkeypatch.setattr(speed_sharding, "DISTINCT", PHOTOGRAPHS)
    return speed_sharding.write_photographs(tmp_path / "photographs")


def members(folder: Path) -> dict[str, bytes]:
    found = {}
    for file in sorted(folder.rglob("*.tar")):
        with tarfile.open(file) as tar:
            for info in tar.getmembers():
                stored = tar.extractfile(info)
                assert stored is not None
                found[info.name.removeprefix("files/")] = stored.read()
    return found


def test_photographs_are_as_long_as_photographs(photographs):
    for file, _ in photographs:
        assert 35_000 < file.stat().st_size < 70_000
        assert cv2.imread(str(file)).shape == (500, 400, 3)


def test_both_alignments_make_the_same_picture(photographs):
    assert speed_sharding.difference(photographs) < 1
    for file, five in photographs:
        ways = (peers_sharding.aligned_by_us, peers_sharding.aligned_by_pillow)
        pictures = [
            cv2.imdecode(np.frombuffer(way(file.read_bytes(), five), np.uint8), cv2.IMREAD_COLOR)
            for way in ways
        ]
        ours, theirs = (picture.astype(float)[32:-32, 32:-32] for picture in pictures)
        assert np.abs(ours - theirs).mean() < 3  # Lanczos and two encodings besides
        assert np.abs(ours[:, 4:] - theirs[:, :-4]).mean() > np.abs(ours - theirs).mean()


def test_a_shifted_alignment_would_show(photographs):
    moved = [(file, five) for file, five in photographs]
    aligned = speed_sharding.align_image
    try:
        speed_sharding.align_image = lambda image, similarity, size: np.roll(
            aligned(image, similarity, size), 1, 1
        )
        assert speed_sharding.difference(moved) > 1
    finally:
        speed_sharding.align_image = aligned


def test_all_ways_pass_the_same_bytes(tmp_path):
    files = speed_sharding.write_files(tmp_path / "files", 7)
    wanted = {each.name: each.read_bytes() for pair in files for each in pair}
    jobs = speed_sharding.passing_jobs(files, 3)
    for name in (OURS, "GNU tar, one process", "webdataset's writer, one process"):
        folder = tmp_path / name.replace("'", "")
        jobs[name](folder)
        assert members(folder) == wanted, name
        assert len(list(folder.glob("*.tar"))) == 3


def test_jobs_on_ray(tmp_path, photographs, ray_session):
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        jobs = speed_sharding.aligning_jobs(photographs, processes, 2)
        paces = speed_sharding.paced(jobs, tmp_path, len(photographs), 1)
    assert all(pace.per_second[0] > 0 for pace in paces.values()) and len(paces) == 3
    files = speed_sharding.write_files(tmp_path / "files", 5)
    for name, job in speed_sharding.passing_jobs(files, 2).items():
        if "Ray" in name:
            job(tmp_path / name)
            assert sorted(members(tmp_path / name).values()) == sorted(
                each.read_bytes() for pair in files for each in pair
            )


def test_what_is_asked_is_judged():
    paces = {
        LIMIT: Pace([1.0, 1.2], [2000.0, 1000.0]),
        "ours": Pace([1.1], [1700.0]),
        "other": Pace([4], [900.0]),
    }
    lines = speed_sharding.jobs_table(paces, LIMIT, "ours", share=0.85).splitlines()
    assert lines[3].endswith("| 0.85 | 0.91 | ≥ 0.85 of the first | yes |")
    assert lines[4].endswith("| 0.45 | 0.25 |  |  |")
    lines = speed_sharding.jobs_table(paces, "ours", "ours", least=1701).splitlines()
    assert lines[3].endswith("| ≥ 1,701/s | **no** |")
