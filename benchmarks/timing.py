"""How things are timed: the cases of a group in turn, round by round, as CPU and as wall time.

What else the machine does falls on all cases of a group alike, so the ratio to the group's first is what to
keep. CPU time, of all threads of the process, suffers least from other programs: ratios and targets go by its
minimum.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

LIBRARIES = ("torch", "numpy", "numba", "opencv-python-headless", "pillow", "simplejpeg")
TIMES = ("CPU min", "CPU median", "wall min", "wall median")
HEADINGS = ("group", "case", *TIMES, "ratio", "faces/s", "target", "met")
LEGEND = "Milliseconds per face; ratio of CPU minima to the group's first; faces per second of CPU time."


@dataclass(frozen=True)
class Case:
    """One thing to time; `group` names what it is compared within, the group's first case being the measure.

    run does the work of `faces` faces. most_ms: at most so many milliseconds of CPU per face are wanted;
    least_ratio: at least so many times the group's first are wanted, of a peer that ours should outrun.
    """

    group: str
    name: str
    run: Callable[[], object]
    faces: int = 1
    most_ms: float | None = None
    least_ratio: float | None = None


@dataclass(frozen=True)
class Times:
    """Milliseconds per face of one case in every round."""

    cpu: list[float]
    wall: list[float]


def timed(cases: list[Case], rounds: int) -> list[Times]:
    """Times of all cases, group after group, after one round of each group that is not counted."""
    times = [Times([], []) for _ in cases]
    for group in dict.fromkeys(case.group for case in cases):
        members = [place for place, case in enumerate(cases) if case.group == group]
        for number in range(rounds + 1):
            for place in members:
                cpu, wall = _once(cases[place])
                if number:
                    times[place].cpu.append(cpu)
                    times[place].wall.append(wall)
    return times


def table(cases: list[Case], times: list[Times]) -> str:
    """Markdown: milliseconds per face, minimum and median, ratio of CPU minima, targets, whether met."""
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- | --- |" + " ---: |" * (len(HEADINGS) - 2)]
    first: dict[str, float] = {}
    for case, found in zip(cases, times, strict=True):
        least = min(found.cpu)
        ratio = least / max(first.setdefault(case.group, least), 1e-9)
        numbers = (least, median(found.cpu), min(found.wall), median(found.wall), ratio)
        cells = [
            case.group,
            case.name,
            *(f"{number:.2f}" for number in numbers),
            f"{1000 / max(least, 1e-9):.0f}",
        ]
        lines.append(f"| {' | '.join([*cells, *_judged(case, least, ratio)])} |")
    return "\n".join(lines)


def measured(cases: list[Case], rounds: int) -> str:
    """The table of cases that are timed now."""
    return table(cases, timed(cases, rounds))


def machine() -> str:
    """One line: processor, cores that may be used, threads, versions, and how busy the machine is."""
    versions = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    usable = len(os.sched_getaffinity(0))
    return (
        f"{_processor()}, {usable} cores, load {os.getloadavg()[0]:.1f} before; "
        f"{torch.get_num_threads()} thread(s) of torch; Python {platform.python_version()}, {versions}."
    )


def _once(case: Case) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    case.run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return 1000 * cpu / case.faces, 1000 * wall / case.faces


def _judged(case: Case, milliseconds: float, ratio: float) -> tuple[str, str]:
    """Target and verdict, both empty where nothing is asked."""
    if case.most_ms is not None:
        return f"≤ {case.most_ms:g} ms", "yes" if milliseconds <= case.most_ms else "**no**"
    if case.least_ratio is not None:
        return f"≥ {case.least_ratio:g} × the first", "yes" if ratio >= case.least_ratio else "**no**"
    return "", ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor's name; Linux keeps it in a file, other systems tell it themselves."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
