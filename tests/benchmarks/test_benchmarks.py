"""The benchmark commands: what they print, on cases that take no time."""

import subprocess
import sys

from benchmarks.published import published_table
from benchmarks.speed import Case, decoding_cases, geometry_cases, table, timed


def test_published_table_names_source_and_caveat() -> None:
    text = published_table()
    assert "WACV 2022" in text
    assert "Not comparable" in text
    assert "| CelebA | PSNR | 27.03 | 25.88 | 28.21 | 28.13 | 30.49 |" in text
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 + 9


def test_cases_run_in_turn() -> None:
    order: list[str] = []
    cases = [Case("g", "a", lambda: order.append("a")), Case("g", "b", lambda: order.append("b"))]
    times = timed(cases, rounds=3)
    assert order == ["a", "b"] * 4  # one round is not counted
    assert [len(found) for found in times] == [3, 3]


def test_ratio_is_over_the_first_of_the_group() -> None:
    cases = [Case("g", "a", int), Case("g", "b", int), Case("h", "c", int)]
    lines = table(cases, [[2.0, 4.0, 3.0], [6.0, 7.0], [5.0]], threads=1).splitlines()
    assert lines[-3:] == [
        "| g | a | 2.00 | 3.00 | 1.00 |",
        "| g | b | 6.00 | 6.50 | 3.00 |",
        "| h | c | 5.00 | 5.00 | 1.00 |",
    ]


def test_geometry_and_decoding_cases_work() -> None:
    for case in (*geometry_cases(), *decoding_cases()):
        assert case.run() is not None


def test_weights_that_are_not_there() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed", "--weights", "nowhere", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("benchmarks: weights nowhere")
    assert len(done.stderr.splitlines()) == 1
