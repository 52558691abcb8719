"""Progress lines: redrawn on a terminal, sparse elsewhere, with an honest time left."""

import io

import pytest

from pipelines import progress
from pipelines.progress import Progress, brief, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def screen(text):
    """What is left on a screen after the text's lines and erasures."""
    lines = [""]
    for part in text.split("\x1b["):
        if part[:1].isdigit() and part[1:2] == "F":
            lines = [*lines[: len(lines) - 1 - int(part[0])], ""]
            part = part[2:]
        part = part.removeprefix("J")
        first, *rest = part.split("\n")
        lines[-1] += first
        lines += rest
    return [line for line in lines if line]


def test_a_log_gets_a_line_every_few_seconds(now):
    stream = io.StringIO()
    lines = Progress(stream)
    for second in range(21):
        now[0] = 100.0 + second
        lines.update("train toy", 10 * second, 400, "square 0.5")
    lines.finish("train toy", "published")
    written = stream.getvalue().splitlines()
    assert len(written) == 6
    assert written[-2] == "train toy  [########........]  200/400  10/s  0:20 left  square 0.5"
    assert written[-1] == "train toy: done in 0:20  published"


def test_a_terminal_shows_each_running_thing_once(now):
    stream = Terminal()
    lines = Progress(stream)
    for second in range(5):
        now[0] += 1
        lines.update("one", second, 10)
        now[0] += 1
        lines.update("two", second, 10)
    assert [line.split()[0] for line in screen(stream.getvalue())] == ["one", "two"]
    lines.say("a word")
    lines.finish("one")
    assert [line.split()[0] for line in screen(stream.getvalue())] == ["a", "one:", "two"]
    lines.drop("two")
    assert [line.split()[0] for line in screen(stream.getvalue())] == ["a", "one:"]


def test_a_line_names_its_unit(now):
    stream = io.StringIO()
    lines = Progress(stream)
    for done in (0, 60, 120):
        lines.update("fit faces", done, 300, unit="images")
        now[0] += 6
    assert stream.getvalue().splitlines()[-1].endswith("120/300  10 images/s  0:18 left")


def test_the_rate_begins_anew_where_a_run_goes_on(now):
    lines = Progress(io.StringIO())
    lines.update("train", 500, 1000)
    now[0] += 10
    lines.update("train", 520, 1000)
    assert lines._running["train"].rate() == pytest.approx(2.0)  # not 52: the first 500 were done before
    now[0] += 1
    lines.update("train", 500, 1000)
    now[0] += 10
    lines.update("train", 510, 1000)
    assert lines._running["train"].rate() == pytest.approx(1.0)


def test_clock_and_brief():
    assert [clock(7), clock(754), clock(3723)] == ["0:07", "12:34", "1:02:03"]
    assert brief({"loss/albedo": 0.12345, "time/step": 3.0, "metric/psnr": 25.0}) == "albedo 0.1235  psnr 25"
