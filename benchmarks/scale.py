"""What a shard set costs as it grows: `python -m benchmarks scale`.

Synthetic records of one tiny picture each go the way of any data set: listed, cut into shards, decoded,
stored, put into the manifest, read again. Every size runs in a process of its own, whose peak memory is told;
the picture needs no warp, so that what is seen is the cost of a record and not of its pixels.
"""

import argparse
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

from facefill.errors import UserError

RECORDS = (1_000, 10_000, 100_000)
PER_SHARD = 1_000
WORKERS = 2
LAION_FACE = 50_000_000
MOST_WORKER_MB = 600


@dataclass(frozen=True)
class Cost:
    """What one set took; workers 0: without Ray. Memory in bytes, resident.

    started: of this process before the listing; listed: what the listing added; peak, worker_peak: the most
    of this process and of any one worker; load, read, digest: CPU time, the least of three.
    """

    records: int
    workers: int
    shard_s: float
    again_s: float
    started: int
    listed: int
    peak: int
    worker_peak: int
    manifest_bytes: int
    part_bytes: int
    load_s: float
    held: int
    read_s: float
    digest_s: float


@dataclass(frozen=True, slots=True)
class TinyRecord:
    """A listed picture whose file need not be there."""

    key: str
    split: str
    source: str
    identity: int

    def load(self) -> object:
        """One grey picture that is aligned already, told from others by a comment, and five points."""
        import numpy as np

        from pipelines.sources.records import SourceSample

        comment = self.key.encode()
        header = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big")
        picture = grey_jpeg()
        return SourceSample(
            picture[:2] + header + comment + picture[2:], np.full((5, 2), float(self.identity)), aligned=True
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--records", type=int, nargs="+", default=list(RECORDS), help="sizes of the sets")
    parser.add_argument("--without-ray", action="store_true", help="only in this process")


def run(chosen: argparse.Namespace) -> int:
    """Print the table and what it means for 50 million records; a mistake is one line and exit status 2."""
    if min(chosen.records) < 1:
        print("benchmarks: --records counts from 1: give a number above 0", file=sys.stderr)
        return 2
    try:
        print(report(list(measured(chosen.records, (0,) if chosen.without_ray else (0, WORKERS)))))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def measured(records: list[int], workers: tuple[int, ...]) -> Iterator[Cost]:
    """Every size on every kind of workers, each in a fresh process."""
    for count in workers:
        for size in records:
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                yield fresh.submit(cost, size, count).result()


def cost(records: int, workers: int) -> Cost:
    """Shard `records` records in this process (workers 0) or with Ray, and read what is there."""
    from pipelines.cluster_session import session
    from pipelines.manifest import load_manifest
    from pipelines.shards import shard_dataset
    from pipelines.sources.records import Listing

    with (
        tempfile.TemporaryDirectory() as root,
        session(address="local", num_cpus=workers) if workers else nullcontext(),
    ):
        warm = Listing("warm", tuple(tiny_records(max(1, workers))), (), ())
        shard_dataset(warm, f"{root}/warm", samples_per_shard=1, config={}, workers=workers)
        started = resident()
        listing = Listing("tiny", tuple(tiny_records(records)), (), ())
        listed = resident() - started
        shard = partial(
            shard_dataset, listing, f"{root}/set", samples_per_shard=PER_SHARD, config={}, workers=workers
        )
        with Watched() as watched:
            times = [time.perf_counter()]
            for _ in range(2):
                shard()
                times.append(time.perf_counter())
        before = resident()
        manifest = load_manifest(f"{root}/set")
        held = resident() - before
        load_s, read_s, digest_s = (
            least_cpu(action)
            for action in (
                lambda: load_manifest(manifest.folder),
                lambda: deque(manifest.rows, 0),
                manifest.digest,
            )
        )
        sizes = [(f.parent.name, f.stat().st_size) for f in Path(root, "set").rglob("*.parquet")]
    return Cost(
        records=len(manifest.rows),
        workers=workers,
        shard_s=times[1] - times[0],
        again_s=times[2] - times[1],
        started=started,
        listed=listed,
        peak=watched.peak,
        worker_peak=watched.worker_peak,
        manifest_bytes=sum(size for folder, size in sizes if folder != "parts"),
        part_bytes=sum(size for folder, size in sizes if folder == "parts"),
        load_s=load_s,
        held=held,
        read_s=read_s,
        digest_s=digest_s,
    )


def tiny_records(count: int) -> Iterator[TinyRecord]:
    """Names as long as a large data set's are; one picture in twenty is for test."""
    for number in range(count):
        split = "test" if number % 20 == 19 else "train"
        source = f"s3://bucket/tiny/{number // 10_000:05d}/{number:09d}.jpg"
        yield TinyRecord(f"tiny/{number:09d}", split, source, number // 10)


@cache
def grey_jpeg() -> bytes:
    """A picture of 256 x 256 as small as JPEG has it."""
    import numpy as np

    from facefill.samples import encode_jpeg

    return encode_jpeg(np.full((256, 256, 3), 128, np.uint8))


class Watched:
    """Looks at this process and its workers ten times a second, and keeps the most memory of each."""

    def __enter__(self) -> "Watched":
        self.peak = self.worker_peak = 0
        self._done = Event()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        own = psutil.Process()
        while True:
            self.peak = max(self.peak, own.memory_info().rss)
            for child in own.children(recursive=True):
                try:
                    if child.name().startswith("ray::"):
                        self.worker_peak = max(self.worker_peak, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            if self._done.wait(0.1):
                return


def resident() -> int:
    """This process's resident memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def least_cpu(action: Callable[[], object]) -> float:
    """CPU seconds of this process, the least of three times."""
    times = []
    for _ in range(3):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return min(times)


def report(costs: list[Cost]) -> str:
    """Markdown: the table, the verdicts, the extrapolation."""
    headings = [
        *("records", "workers", "sharding s", "µs each", "again s", "listing B each", "driver peak MB"),
        *("beyond listing MB", "worker peak MB", "manifest B each", "parts B each", "load ms"),
        *("held B each", "read µs each", "digest µs each"),
    ]
    lines = [f"| {' | '.join(headings)} |", "|" + " ---: |" * len(headings)]
    for one in costs:
        each = 1e6 / one.records
        worker = f"{one.worker_peak / 1e6:.0f}" if one.workers else "-"
        cells = (
            f"{one.records:,} | {one.workers or 'none'} | {one.shard_s:.2f} | {one.shard_s * each:.0f} | "
            f"{one.again_s:.3f} | {one.listed / one.records:.0f} | {one.peak / 1e6:.0f} | "
            f"{(one.peak - one.started - one.listed) / 1e6:.0f} | {worker} | "
            f"{one.manifest_bytes / one.records:.0f} | {one.part_bytes / one.records:.0f} | "
            f"{1000 * one.load_s:.1f} | {one.held / one.records:.0f} | {one.read_s * each:.2f} | "
            f"{one.digest_s * each:.2f}"
        )
        lines.append(f"| {cells} |")
    workers = [one.worker_peak / 1e6 for one in costs if one.workers]
    if workers:
        verdict = "met" if max(workers) <= MOST_WORKER_MB else "**not met**"
        lines += ["", f"A worker takes {max(workers):.0f} MB at most; wanted ≤ {MOST_WORKER_MB}: {verdict}."]
    return "\n".join([*lines, "", extrapolation(max(costs, key=lambda one: one.records))])


def extrapolation(one: Cost) -> str:
    """What 50 million records would take, going by the largest set that was measured."""
    from pipelines.manifest import ROWS_PER_FILE
    from pipelines.rows import GROUP_ROWS

    times = LAION_FACE / one.records
    listing, manifest = times * one.listed / 1e9, times * one.manifest_bytes / 1e9
    sentences = (
        f"LAION-Face has some {LAION_FACE / 1e6:.0f} million pictures.",
        f"By the set of {one.records:,}, the listing would take {listing:.0f} GB in the driver and",
        "break first; it alone grows with the set and is held.",
        f"The manifest would be {manifest:.1f} GB in {LAION_FACE / ROWS_PER_FILE:.0f} files of rows,",
        f"{ROWS_PER_FILE:,} in each; one of them is in memory while it is written,",
        f"{GROUP_ROWS:,} rows at a time when it is read.",
        f"To read all takes {times * one.read_s / 60:.0f} min,",
        f"the digest {times * one.digest_s / 60:.1f} min,",
        f"to see that nothing is to do {times * one.again_s / 60:.1f} min.",
        f"{LAION_FACE // PER_SHARD:,} shards are as many small part files,",
        "and one index.json of some 12 MB.",
        "The remedy for the listing: several data sets of a few million pictures,",
        "which training reads as one.",
    )
    return " ".join(sentences)
