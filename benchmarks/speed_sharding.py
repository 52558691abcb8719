"""Writing: photographs to aligned samples in tars, and bytes as they are into tars, ours and others'.

Photographs are smooth colours with a camera's noise, 400 x 500, a few distinct ones under many names. The
limit of a job with alignment is what as many processes reach that only align, in the same round. CPU time is
that of this process and of all that it started.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers_sharding import (
    Files,
    absent,
    aligned_by_pillow,
    aligned_by_us,
    drawn_by_pillow,
    gnu_tar_writes,
    ray_data_aligns,
    ray_data_writes,
    webdataset_writes,
)
from benchmarks.timing import Case, table, timed
from facefill.alignment import align_image, celeba_hq_similarity
from facefill.photographs import decode_photograph
from pipelines import storage
from pipelines.cluster_session import session
from pipelines.prepared import Prepared, Slice
from pipelines.shards import shard_dataset, write_shard_set
from pipelines.sources.records import Listing, Photograph, packed

CORES = 2
PICTURES, PER_SHARD, DISTINCT = 5000, 250, 64
LIMIT, OURS_ALIGNED = "limit: two processes that only align", "ours, Ray, two warm workers"
OURS, OURS_RAY = "ours, one process", "ours, Ray, two warm workers, bytes as they are"
LEAST_SHARE, LEAST_PASSED = 0.85, 15_000
Photo = tuple[Path, NDArray[np.float64]]
Job = Callable[[Path], object]


@dataclass
class Pace:
    """CPU milliseconds per picture and pictures per second of wall time, of every round."""

    cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)


def measure_sharding(rounds: int, pictures: int = PICTURES, per_shard: int = PER_SHARD) -> str:
    """Markdown: alignment alone, jobs with alignment, jobs that pass bytes through, what is absent."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photographs = write_photographs(root / "photographs")
        alone = alignment_cases(photographs)
        times = timed(alone, rounds)
        apart = difference(photographs)
        named = [photographs[number % DISTINCT] for number in range(pictures)]
        files = write_files(root / "files", pictures)
        with (
            session(address="local", num_cpus=CORES),
            ProcessPoolExecutor(CORES, get_context("spawn")) as processes,
        ):
            aligning = paced(aligning_jobs(named, processes, per_shard), root, pictures, rounds)
            passing = paced(passing_jobs(files, per_shard), root, pictures, rounds)
    milliseconds = min(times[0].cpu)
    sections = [
        table(alone, times),
        f"By Pillow's QUAD the same pixels, on average within {apart:.2f} grey levels.",
        f"Two cores can align {CORES * 1000 / milliseconds:.0f} pictures/s at {milliseconds:.2f} ms each.",
        jobs_table(aligning, LIMIT, OURS_ALIGNED, share=LEAST_SHARE),
        jobs_table(passing, OURS, OURS_RAY, least=LEAST_PASSED),
        " ".join(absent()),
    ]
    return "\n\n".join(sections)


def alignment_cases(photographs: Sequence[Photo]) -> list[Case]:
    """Decoding, warp and encoding of some photographs in memory."""
    held = [(file.read_bytes(), five) for file, five in photographs]
    ways = {"ours": aligned_by_us, "Pillow: crop, pad, QUAD at 2 x, Lanczos": aligned_by_pillow}
    return [
        Case(
            "align 400 x 500 to 256",
            name,
            lambda align=align: [align(*each) for each in held],  # type: ignore[misc]
            len(held),
            least_ratio=None if name == "ours" else 8.0,
        )
        for name, align in ways.items()
    ]


def aligning_jobs(
    photographs: Sequence[Photo], processes: ProcessPoolExecutor, per_shard: int
) -> dict[str, Job]:
    """The limit, our job, Ray Data's."""
    records = tuple(
        Photograph(f"photo/{number:06d}", "train", str(file), number, packed(five))
        for number, (file, five) in enumerate(photographs)
    )
    listing = Listing("photo", records, (), ())
    chunks = [photographs[start : start + per_shard] for start in range(0, len(photographs), per_shard)]
    return {
        LIMIT: lambda folder: list(processes.map(align_only, chunks)),
        OURS_ALIGNED: lambda folder: shard_dataset(
            listing, str(folder), samples_per_shard=per_shard, config={}
        ),
        "Ray Data, write_webdataset": lambda folder: ray_data_aligns(photographs, folder, per_shard),
    }


def passing_jobs(files: Sequence[Files], per_shard: int) -> dict[str, Job]:
    """Ours and others' that store the files as they are."""
    named = [(str(file), str(beside)) for file, beside in files]  # as listings have them

    def ours(folder: Path, workers: int | None) -> None:
        slices = [
            Slice(
                f"files-train-{start // per_shard:06d}.tar", "train", tuple(named[start : start + per_shard])
            )
            for start in range(0, len(files), per_shard)
        ]
        write_shard_set(str(folder), "files", slices, prepare_files, config={}, workers=workers)

    return {
        OURS: lambda folder: ours(folder, 0),
        OURS_RAY: lambda folder: ours(folder, None),
        "GNU tar, one process": lambda folder: gnu_tar_writes(files, folder, per_shard),
        "webdataset's writer, one process": lambda folder: webdataset_writes(files, folder, per_shard),
        "Ray Data, write_webdataset": lambda folder: ray_data_writes(files, folder, per_shard),
    }


def align_only(photographs: Sequence[Photo]) -> int:
    """What a core can do at most."""
    import cv2

    cv2.setNumThreads(1)  # there is a process for every core
    for file, five in photographs:
        aligned_by_us(file.read_bytes(), five)
    return len(photographs)


def prepare_files(files: Sequence[tuple[str, str]]) -> Iterator[Prepared]:
    """Samples that are files as they lie."""
    for file, beside in files:
        members = {"jpg": storage.read_bytes(file), "json": storage.read_bytes(beside)}
        key = f"files/{storage.name_of(file).removesuffix('.jpg')}"
        yield Prepared(key, -1, file, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 0, members)


def paced(jobs: dict[str, Job], root: Path, pictures: int, rounds: int) -> dict[str, Pace]:
    """Every job in turn into an empty folder, round by round, after one round that is not counted."""
    paces = {name: Pace() for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            with tempfile.TemporaryDirectory(dir=root) as folder:
                busy, started = all_cpu_seconds(), time.perf_counter()
                job(Path(folder) / "out")
                wall, busy = time.perf_counter() - started, all_cpu_seconds() - busy
            if number:
                paces[name].cpu_ms.append(1000 * busy / pictures)
                paces[name].per_second.append(pictures / wall)
    return paces


def all_cpu_seconds() -> float:
    """CPU time of this process, its living descendants, and its children that have ended."""
    ended = os.times()
    return cpu_seconds() + ended.children_user + ended.children_system


def jobs_table(paces: dict[str, Pace], first: str, ours: str, *, share: float = 0.0, least: int = 0) -> str:
    """Markdown: every job, and what it reaches of the first.

    Ours is wanted to reach `share` of it by wall time, or `least` pictures a second.
    """
    headings = ("job", "CPU ms each, min", "median", "pictures/s, best", "median", "of the first", "by CPU")
    lines = [f"| {' | '.join([*headings, 'wanted', 'met'])} |", "| --- |" + " ---: |" * (len(headings) + 1)]
    fastest, cheapest = max(paces[first].per_second), min(paces[first].cpu_ms)
    for name, pace in paces.items():
        best, cpu = max(pace.per_second), min(pace.cpu_ms)
        wanted, met = "", ""
        if name == ours and share:
            wanted, met = f"≥ {share:g} of the first", "yes" if best >= share * fastest else "**no**"
        elif name == ours and least:
            wanted, met = f"≥ {least:,}/s", "yes" if best >= least else "**no**"
        lines.append(
            f"| {name} | {cpu:.3f} | {np.median(pace.cpu_ms):.3f} | {best:.0f} | "
            f"{np.median(pace.per_second):.0f} | {best / fastest:.2f} | {cheapest / cpu:.2f} | "
            f"{wanted} | {met} |"
        )
    return "\n".join(lines)


def difference(photographs: Sequence[Photo]) -> float:
    """Mean absolute difference of ours and Pillow's, in grey levels, where both see the photograph itself."""
    found = []
    for file, five in photographs[:8]:
        picture = file.read_bytes()
        ours = align_image(decode_photograph(picture, file.name), celeba_hq_similarity(five), 256)
        theirs = np.asarray(drawn_by_pillow(picture, five, 1024).reduce(4), np.float64)
        found.append(np.abs(ours - theirs)[32:-32, 32:-32].mean())
    return float(np.mean(found))


def write_photographs(folder: Path) -> list[Photo]:
    """Distinct photographs of some 50 kB, and five points each."""
    import cv2
    import simplejpeg

    folder.mkdir()
    random = np.random.default_rng(0)
    made = []
    face = np.array([[-45, -30], [45, -30], [0, 15], [-35, 60], [35, 60]], float)
    for number in range(DISTINCT):
        coarse = random.uniform(20, 230, (25, 20, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (400, 500), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(picture + random.normal(0, 2.5, picture.shape), 0, 255).astype(np.uint8)
        angle, zoom = random.uniform(-0.3, 0.3), random.uniform(0.8, 1.2)
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        file = folder / f"{number:03d}.jpg"
        file.write_bytes(simplejpeg.encode_jpeg(picture, 92, "RGB", "420"))
        made.append((file, face @ turn.T + [200, 240] + random.uniform(-15, 15, 2)))
    return made


def write_files(folder: Path, count: int) -> list[Files]:
    """Files of 17 kB that look like nothing, each with a JSON of the same name."""
    folder.mkdir()
    random = np.random.default_rng(1)
    block = random.bytes(40_000)
    files: list[Files] = []
    for number in range(count):
        file = folder / f"{number:06d}.jpg"
        start = number * 37 % 20_000
        file.write_bytes(block[start : start + 17_000 + number % 500])
        beside = file.with_suffix(".json")
        beside.write_text(f'{{"number": {number}}}')
        files.append((file, beside))
    return files


def cpu_seconds() -> float:
    """CPU time so far of this process and its living descendants."""
    import psutil

    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
