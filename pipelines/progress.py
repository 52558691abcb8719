"""What is running, how far it is, and how long it still takes: one line per running thing.

On a terminal the lines are redrawn in place; elsewhere (a log file, a pipe) each thing gets a plain line
every few seconds. Everything goes to standard error, so that standard output stays for results.
"""

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

REDRAW_S = 0.1
PLAIN_LINE_S = 5.0
RATE_WINDOW_S = 30.0
BAR_WIDTH = 16
HIGH_DATA_WAIT = 0.05  # of a training step


@dataclass(frozen=True)
class Event:
    """Something that a running job tells the driver.

    kind: "start" (begins or goes on at `step`), "metrics" (means since the last report), "evaluation",
    "picture", "checkpoint" (published at `step`) or "note" (`text`). `picture` is (H, W, 3) uint8.
    """

    label: str
    kind: str
    step: int
    total: int
    values: dict[str, float] = field(default_factory=dict)
    text: str = ""
    picture: np.ndarray | None = None
    time: float = field(default_factory=time.time)


class Progress:
    """The lines of all running things; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.on_terminal = self.stream.isatty()
        self._running: dict[str, _Line] = {}
        self._drawn = 0
        self._last_drawing = 0.0
        self._lock = threading.RLock()

    def update(self, label: str, done: int, total: int, note: str = "", unit: str = "") -> None:
        """`done` of `total` units of `label` are behind us; the first call also starts its clock."""
        with self._lock:
            line = self._running.get(label)
            if (
                line is None or done < line.done
            ):  # new, or thrown back to a checkpoint: the old rate says nothing
                line = self._running[label] = _Line(label, unit)
            line.move(done, total, note)
            if self.on_terminal:
                self._redraw()
            elif time.monotonic() - line.written >= PLAIN_LINE_S:
                line.written = time.monotonic()
                self._write(line.text() + "\n")

    def finish(self, label: str, note: str = "") -> None:
        """`label` has ended; its last line stays, with `note`."""
        with self._lock:
            line = self._running.pop(label, None)
            seconds = f" in {clock(time.monotonic() - line.started)}" if line else ""
            self.say(f"{label}: done{seconds}{'  ' + note if note else ''}")

    def drop(self, label: str) -> None:
        """`label` was broken off; its line goes without a word."""
        with self._lock:
            self._running.pop(label, None)
            self._redraw(now=True)

    def say(self, text: str) -> None:
        """One line that stays, above those that move."""
        with self._lock:
            self._erase()
            self._write(text + "\n")
            self._redraw(now=True)

    def _redraw(self, now: bool = False) -> None:
        if not self.on_terminal or (not now and time.monotonic() - self._last_drawing < REDRAW_S):
            return
        self._last_drawing = time.monotonic()
        self._erase()
        width = self._columns() - 1
        self._write("".join(line.text(width) + "\n" for line in self._running.values()))
        self._drawn = len(self._running)

    def _columns(self) -> int:
        """The width of the terminal that is written to, which may not be standard output's."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class _Line:
    """One running thing: its count, and its rate over the last half minute."""

    def __init__(self, label: str, unit: str) -> None:
        self.label, self.unit = label, unit
        self.started = time.monotonic()
        self.written = 0.0
        self.done = 0
        self.total = 0
        self.note = ""
        self._history: deque[tuple[float, int]] = deque()

    def move(self, done: int, total: int, note: str) -> None:
        self.done, self.total, self.note = done, total, note
        now = time.monotonic()
        self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > RATE_WINDOW_S:
            self._history.popleft()

    def rate(self) -> float:
        """Units per second, 0 while unknown."""
        (then, before), (now, done) = self._history[0], self._history[-1]
        return (done - before) / (now - then) if now > then else 0.0

    def text(self, width: int = 0) -> str:
        """The line, without its bar where it would be wider than `width`, and cut where it still is."""
        share = min(self.done / self.total, 1.0) if self.total else 0.0
        filled = round(share * BAR_WIDTH)
        parts = [
            self.label,
            "[" + "#" * filled + "." * (BAR_WIDTH - filled) + "]",
            f"{self.done}/{self.total}",
        ]
        if rate := self.rate():
            rate_text = f"{rate:.3g} {self.unit}/s" if self.unit else f"{rate:.3g}/s"
            parts += [rate_text, f"{clock((self.total - self.done) / rate)} left"]
        parts += [self.note] if self.note else []
        whole = "  ".join(parts)
        return whole if not width or len(whole) <= width else "  ".join([parts[0], *parts[2:]])[:width]


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def brief(values: Mapping[str, float], most: int = 4) -> str:
    """A few metrics for a progress line: `56 images/s  albedo 0.123  symmetry 0.041`.

    The share of time that waits for data is told where it is high; times, norms and rates are left out.
    """
    parts = []
    if "speed/images_per_s" in values:
        parts.append(f"{values['speed/images_per_s']:.3g} images/s")
    if (waits := values.get("speed/data_wait_share", 0.0)) >= HIGH_DATA_WAIT:
        parts.append(f"waits for data {waits:.0%}")
    shown = [(name, value) for name, value in sorted(values.items()) if name.startswith(("loss/", "metric/"))]
    return "  ".join([*parts, *(f"{name.split('/', 1)[1]} {value:.4g}" for name, value in shown[:most])])
