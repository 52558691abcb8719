"""Progress lines: redrawn on a terminal, sparse elsewhere, with an honest time left."""

import fcntl
import io
import os
import pty
import struct
import termios
import threading

import pytest
from toy_stage import toy_job

from pipelines import progress
from pipelines.progress import Progress, brief, clock
from pipelines.train import train_stage


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


def test_a_real_terminal_shows_a_training_stage_in_one_line(tmp_path):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    seen: list[bytes] = []

    def watch():
        while True:
            try:
                seen.append(os.read(master, 65536))
            except OSError:  # the other end is closed
                return

    thread = threading.Thread(target=watch)
    thread.start()
    with os.fdopen(slave, "w") as stream:
        train_stage(toy_job(tmp_path, config={"pause": 0.05}, report_every=1), Progress(stream))
    thread.join()
    os.close(master)
    text = b"".join(seen).decode().replace("\r\n", "\n")
    (last,) = screen(text)
    assert last.startswith("train toy: done in 0:0")
    drawn = [line.rsplit("\x1b[J", 1)[-1] for line in text.split("\n") if "images/s" in line]
    assert len(drawn) >= 4 and all("/12" in line and len(line) <= 69 for line in drawn)
    assert any("left" in line and "square" in line for line in drawn)
    assert text.count("\x1b[1F\x1b[J") >= len(drawn)  # each drawn over the one before


def test_clock_and_brief():
    assert [clock(7), clock(754), clock(3723)] == ["0:07", "12:34", "1:02:03"]
    values = {"loss/albedo": 0.12345, "time/step": 3.0, "metric/psnr": 25.0, "gradient/unet": 1.0}
    assert brief(values) == "albedo 0.1235  psnr 25"
    fast = {"speed/images_per_s": 56.2, "speed/data_wait_share": 0.04}
    assert brief(values | fast) == "56.2 images/s  albedo 0.1235  psnr 25"
    assert brief(fast | {"speed/data_wait_share": 0.12}) == "56.2 images/s  waits for data 12%"
