"""The scale benchmark: every column of its table is measured, with real sets; nothing is judged."""

import argparse

import pytest

from benchmarks import scale
from pipelines.manifest import load_manifest
from pipelines.shards import shard_dataset
from pipelines.sources.records import Listing


def test_table_of_a_small_set_and_what_it_means():
    lines = scale.report(list(scale.measured([30], (0,)))).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert len(cells) == lines[0].count("|") - 1 == 15
    assert cells[:2] == ["30", "none"] and cells[8] == "-"
    assert all(
        float(cell.replace(",", "")) > 0 for cell in (cells[2], cells[6], cells[9], cells[10], cells[13])
    )
    assert "50 million pictures" in lines[-1] and "191 files of rows" in lines[-1]


def test_its_records_are_distinct_samples(tmp_path):
    listing = Listing("tiny", tuple(scale.tiny_records(40)), (), ())
    shard_dataset(listing, str(tmp_path), samples_per_shard=15, config={}, workers=0)
    manifest = load_manifest(str(tmp_path))
    assert len({row.sha256 for row in manifest.rows}) == 40 and manifest.counts() == {"train": 38, "test": 2}
    assert not manifest.rejected


def test_workers_are_watched(ray_session):
    import time

    import ray

    with scale.Watched() as watched:
        ray.get(ray.remote(lambda: time.sleep(0.5)).remote())
    assert watched.peak > 50e6 and watched.worker_peak > 20e6


def test_no_records_are_refused(capsys):
    assert scale.run(argparse.Namespace(records=[10, 0], without_ray=True)) == 2
    assert capsys.readouterr().err == "benchmarks: --records counts from 1: give a number above 0\n"


@pytest.mark.parametrize("verdict", [(599e6, ": met"), (601e6, "**not met**")])
def test_workers_memory_is_judged(verdict):
    made = scale.Cost(1000, 2, 1.0, 0.1, 10**8, 10**6, 2 * 10**8, int(verdict[0]), 50_000, 50_000, 0, 0, 0, 0)
    assert verdict[1] in scale.report([made])
