"""Reading: shards to decoded batches, ours and others', beside the loop that only decodes.

5,000 smooth pictures of 256 x 256 of about 17 kB, each with 68 points, in tars of 500. All readers go once
through the set in every round; CPU time is that of this process and of all that it started.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.peers_data import (
    BATCH,
    Reader,
    absent_peers,
    decode_loop,
    ray_data_reader,
    torch_reader,
    webdataset_reader,
)
from facefill.samples import encode_array
from pipelines import storage
from pipelines.cluster_session import session
from pipelines.loader import Loader
from pipelines.manifest import Manifest, load_manifest
from pipelines.prepared import Prepared, Slice
from pipelines.shard_reader import ShardReader
from pipelines.shards import write_shard_set

PICTURES, PER_SHARD, DISTINCT = 5000, 500, 128
QUALITY = 90  # with the noise below, about 17 kB
CORES = 2
LIMIT, OURS = "limit: simplejpeg into one place, 2 threads", "ours, 2 threads"
PILLOW, RAY = "webdataset, its Pillow decoding, 2 processes", "Ray Data, iter_torch_batches"
WANTED = {LIMIT: 0.9, PILLOW: 3.0, RAY: 8.0}  # at least so many times as fast ours should be
BY_CLOCK = {RAY}  # its processes wait for each other, which CPU time does not show


@dataclass
class Pace:
    """CPU milliseconds per picture and pictures per second of wall time, of every round."""

    cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)

    def add(self, reader: Reader) -> None:
        """Time one round."""
        busy, started = busy_seconds(), time.perf_counter()
        seen = reader()
        busy, seconds = busy_seconds() - busy, time.perf_counter() - started
        self.cpu_ms.append(1000 * busy / seen)
        self.per_second.append(seen / seconds)


def measure_data(
    rounds: int, remote: str | None = None, pictures: int = PICTURES, per_shard: int = PER_SHARD
) -> str:
    """Markdown: every reader's table, ours from a remote folder if one is named, what is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_pictures(Path(folder) / "set", pictures, per_shard)
        paces = paced(local_readers(manifest), rounds)
        with session(address="local", num_cpus=CORES):
            paces |= paced({RAY: ray_data_reader(manifest)}, rounds)
        sections = [table(paces)]
        if remote is not None:
            sections.append(remote_table(manifest, storage.join(remote, "speed_data"), Path(folder)))
    return "\n\n".join([*sections, " ".join(absent_peers())])


def local_readers(manifest: Manifest) -> dict[str, Reader]:
    """All that need no session."""
    reader = ShardReader()
    stored = [reader.members(manifest, row)["image.jpg"] for row in manifest.rows]
    return {
        LIMIT: decode_loop(stored, CORES, into_one_place=True),
        "simplejpeg into new arrays, 2 threads": decode_loop(stored, CORES, into_one_place=False),
        OURS: our_reader(manifest, packed=True),
        "ours, 2 threads, float pictures": our_reader(manifest, packed=False),
        "torch DataLoader on our index, 2 processes": torch_reader(manifest, CORES),
        "webdataset + simplejpeg, 2 processes": webdataset_reader(manifest, "simplejpeg", CORES),
        PILLOW: webdataset_reader(manifest, "pillow", CORES),
    }


def our_reader(manifest: Manifest, packed: bool) -> Reader:
    """Epoch after epoch in training order, in the batches that a stage gets."""
    loader = Loader([manifest], BATCH, seed=0, split="train", threads=CORES, packed=packed)
    batches = loader.batches()
    return lambda: sum(len(batch["key"]) for _, batch in islice(batches, loader.steps_per_epoch))


def paced(readers: dict[str, Reader], rounds: int) -> dict[str, Pace]:
    """Every reader in turn, round by round, after one round that is not counted."""
    paces = {name: Pace() for name in readers}
    for number in range(rounds + 1):
        for name, reader in readers.items():
            if number:
                paces[name].add(reader)
            else:
                reader()
    return paces


def busy_seconds() -> float:
    """CPU time so far of this process and, less finely, of its living descendants."""
    import psutil

    total = time.process_time()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def table(paces: dict[str, Pace]) -> str:
    """Markdown rows; "by CPU" is what both cores would do, at the least CPU time, if nothing else ran.

    Targets go by CPU time, Ray Data's by the clock.
    """
    headings = (
        *("reader", "CPU ms per picture, min", "median", "pictures/s by CPU", "pictures/s, best"),
        *("ours is, by CPU", "by clock", "wanted", "met"),
    )
    lines = [f"| {' | '.join(headings)} |", "| --- |" + " ---: |" * (len(headings) - 1)]
    ours = paces[OURS]
    for name, pace in paces.items():
        least, best = min(pace.cpu_ms), max(pace.per_second)
        by_cpu, by_clock = least / min(ours.cpu_ms), max(ours.per_second) / best
        wanted = WANTED.get(name)
        verdict = ("", "")
        if wanted is not None:
            met = (by_clock if name in BY_CLOCK else by_cpu) >= wanted
            verdict = (f"≥ {wanted:g}", "yes" if met else "**no**")
        cells = (
            *(name, f"{least:.3f}", f"{np.median(pace.cpu_ms):.3f}", f"{1000 * CORES / least:.0f}"),
            *(f"{best:.0f}", f"{by_cpu:.2f} x", f"{by_clock:.2f} x", *verdict),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def remote_table(manifest: Manifest, remote: str, folder: Path) -> str:
    """Markdown: our first epoch from remote storage, with an empty cache, and the second."""
    for url in storage.list_files(manifest.folder, recursive=False):
        storage.write_bytes(storage.join(remote, storage.name_of(url)), storage.read_bytes(url))
    before = os.environ.get("FACEFILL_CACHE")
    os.environ["FACEFILL_CACHE"] = str(folder / "cache")
    try:
        reader = our_reader(load_manifest(remote), packed=True)
        paces = {name: Pace() for name in ("remote, cold cache", "remote, warm cache")}
        for pace in paces.values():
            pace.add(reader)
    finally:
        os.environ.pop("FACEFILL_CACHE")
        if before is not None:
            os.environ["FACEFILL_CACHE"] = before
        storage.remove(remote)
    lines = ["| ours from | CPU ms per picture | pictures/s |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {p.cpu_ms[0]:.3f} | {p.per_second[0]:.0f} |" for name, p in paces.items()]
    return "\n".join(lines)


def write_pictures(folder: Path, count: int, per_shard: int) -> Manifest:
    """A shard set of `count` pictures, a few distinct ones in turn."""
    slices = [
        Slice(f"smooth-train-{number:06d}.tar", "train", tuple(range(start, min(start + per_shard, count))))
        for number, start in enumerate(range(0, count, per_shard))
    ]
    return write_shard_set(str(folder), "smooth", slices, prepare_pictures, config={}, workers=0)


def prepare_pictures(numbers: Sequence[int]) -> Iterator[Prepared]:
    """The samples of one shard."""
    for number in numbers:
        members = distinct_pictures()[number % DISTINCT]
        name = f"{number:06d}"
        yield Prepared(f"smooth/{name}", number, f"{name}.jpg", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 68, members)


@cache
def distinct_pictures() -> list[dict[str, bytes]]:
    """Smooth colours with a camera's noise, as JPEG with half the colour samples, and 68 points each."""
    import cv2
    import simplejpeg

    random = np.random.default_rng(0)
    made = []
    for _ in range(DISTINCT):
        coarse = random.uniform(30, 210, (24, 24, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
        points = random.uniform(40, 216, (68, 2))
        made.append(
            {
                "image.jpg": simplejpeg.encode_jpeg(picture, QUALITY, "RGB", "420"),
                "landmarks.npy": encode_array(points),
            }
        )
    return made
