"""How fast the training stages are on the device at hand, and what the paper's schedule would take.

`python -m benchmarks.speed_train`: torch and numpy suffice. Full width, on drawn faces that are already in
memory. One case after the other takes two steps, round by round: the inpainter's discriminator learns every
other step. `s/step` is the shortest: on a CPU its time over all threads by their number, on a GPU that of
the clock; `clock` is the median by the clock. `share` is that of the highest rate which convolutions as the
networks have them, or a product of matrices, reach in the same run. `gradient` is the cosine of the first
step's gradient to that of the stage's first case, the least of the networks. torch.compile is tried on GPUs,
and where it is asked for, as it takes minutes on CPUs.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import mean, median

import torch

from benchmarks.speed_train_cases import (
    Measure,
    Trained,
    alone_cases,
    settings,
    trained,
    training_batch,
    wait,
)
from benchmarks.timing import machine
from facefill.config import STAGES, Precision

PAPER_STEPS = {"morphable": 100_000, "morphable_finetune": 30_000, "segment": 50_000, "inpaint": 30_000}
PAPER_BATCH = 28
HEADINGS = ("stage", "case", "s/step", "clock", "images/s", "GFLOP/s", "share", "gradient", "paper")


def peaks(count: int, device: torch.device) -> dict[Precision, float]:
    """FLOP/s that convolutions of the inpainter's middle levels, or a matrix product, reach at best."""
    kinds: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    found: dict[Precision, float] = {}
    for precision, dtype in kinds.items():
        jobs: list[tuple[Callable[[], object], float]] = []
        for channels, height, width in ((64, 96, 128), (128, 48, 64)):
            maps = torch.randn(count, channels, height, width, device=device, dtype=dtype)
            maps = maps.contiguous(memory_format=torch.channels_last)
            weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
            convolve = partial(torch.nn.functional.conv2d, maps, weight, padding=1)
            jobs.append((convolve, 2.0 * maps.numel() * channels * 9))
        size = 8192 if device.type == "cuda" else 1024
        one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        jobs.append((partial(torch.matmul, one, other), 2.0 * size**3))
        rates = []
        for job, flops in jobs:
            seconds = min(clocked(partial(finished, job, device), device)[0] for _ in range(8))
            rates.append(flops / seconds)
        found[precision] = max(rates)
    return found


def finished(job: Callable[[], object], device: torch.device) -> None:
    """Do the job to its end on the device."""
    job()
    wait(device)


def clocked(job: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of work and of the clock. Work on a CPU is CPU time over the threads of torch, which other
    programs disturb least; on a GPU it is the clock's.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    job()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return (wall if device.type == "cuda" else cpu / torch.get_num_threads()), wall


def timed(cases: list[Trained], rounds: int, device: torch.device) -> list[list[tuple[float, float]]]:
    """Seconds per step of every case in every round: work and clock, each the mean of two steps."""
    found: list[list[tuple[float, float]]] = [[] for _ in cases]
    for _ in range(rounds):
        for times, case in zip(found, cases, strict=True):
            pair = [clocked(case.step, device) for _ in range(2)]
            times.append((mean(work for work, _ in pair), mean(wall for _, wall in pair)))
    return found


def rows(
    cases: list[Trained], rounds: int, count: int, device: torch.device, peak: dict[Precision, float]
) -> Iterator[tuple[str, float]]:
    """A row of Markdown for every case, and the seconds of work of its step."""
    for case, times in zip(cases, timed(cases, rounds, device), strict=True):
        work = min(work for work, _ in times)
        clock = median(wall for _, wall in times)
        share = case.flops / work / peak[case.setting.precision]
        hours = ""
        if case.name in PAPER_STEPS:
            hours = f"{work * PAPER_BATCH / count * PAPER_STEPS[case.name] / 3600:.1f} h"
        numbers = (
            f"{work:.3f}",
            f"{clock:.3f}",
            f"{count / work:.1f}",
            shown(case.flops / work / 1e9, "{:.0f}"),
        )
        last = (shown(share, "{:.0%}"), shown(case.likeness, "{:.4f}"), hours)
        yield f"| {' | '.join((case.name, str(case.setting), *numbers, *last))} |", work


def shown(value: float, form: str) -> str:
    """A number, or nothing where it is not one."""
    return "" if value != value else form.format(value)


def measure_train(rounds: int, count: int | None = None, with_compile: bool | None = None) -> Iterator[str]:
    """Lines of Markdown: peaks, then each stage in every setting, then the paper's whole schedule.

    count: faces per step; by default 8 on a CPU and the paper's 28 on a GPU. with_compile: whether
    torch.compile is tried; by default on a GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = count or (PAPER_BATCH if device.type == "cuda" else 8)
    if with_compile is None:
        with_compile = device.type == "cuda"
    if with_compile and (obstacle := compile_obstacle(device)):
        with_compile = False
        yield f"torch.compile does not work here and is left out: {obstacle}\n"
    peak = peaks(count, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rates = ", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in peak.items())
    yield f"{name}, {count} faces a step. Highest rates measured: {rates}.\n\n{heading()}"
    batch, assets = training_batch(count, device)
    schedule = 0.0
    fastest: dict[str, float] = {}
    for stage in STAGES:
        works = []
        first: Measure | None = None
        cases = []
        for setting in settings(device, with_compile):
            case, first = trained(stage, setting, batch, assets, device, first)
            cases.append(case)
        for row, work in rows(cases, rounds, count, device, peak):
            yield row
            works.append(work)
        fastest[stage] = min(works)
        schedule += fastest[stage] * PAPER_BATCH / count * PAPER_STEPS[stage]
        del cases
        gc.collect()
    alone = []
    for row, work in rows(alone_cases(count, device), rounds, count, device, peak):
        yield row
        alone.append(work)
    ratio = fastest["inpaint"] / alone[0]
    yield f"\nA whole step of inpaint takes {ratio:.2f} times the first loop over the networks alone."
    yield f"The paper's schedule, each stage in its fastest setting: {schedule / 3600:.1f} hours."


def compile_obstacle(device: torch.device) -> str:
    """Why torch.compile does not work on this machine, in one line; empty where it does."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=device))
    except RuntimeError as error:  # no C++ compiler, no Triton
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ""


def heading() -> str:
    """The head of the table."""
    return f"| {' | '.join(HEADINGS)} |\n| --- | --- |" + " ---: |" * (len(HEADINGS) - 2)


def main() -> int:
    """`python -m benchmarks.speed_train`, for machines with torch and numpy alone."""
    parser = argparse.ArgumentParser(prog="benchmarks/speed_train.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is timed in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--faces", type=int, help="faces per step")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="try torch.compile too (by default on a GPU)",
    )
    chosen = parser.parse_args()
    if min(chosen.rounds, chosen.threads, chosen.faces or 1) < 1:
        print("benchmarks: --rounds, --threads and --faces count from 1", file=sys.stderr)
        return 2
    torch.set_num_threads(chosen.threads)
    print(machine(), flush=True)
    for section in measure_train(chosen.rounds, chosen.faces, chosen.compile):
        print(section, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
