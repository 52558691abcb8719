"""How things are timed and told, on cases that take no time."""

from benchmarks.timing import Case, Times, machine, table, timed


def test_cases_of_a_group_run_in_turn() -> None:
    order: list[str] = []
    cases = [Case(group, name, lambda name=name: order.append(name)) for group, name in ("gA", "gB", "hC")]  # type: ignore[misc]
    times = timed(cases, rounds=3)
    assert order == ["A", "B"] * 4 + ["C"] * 4  # one round of each is not counted
    assert [(len(found.cpu), len(found.wall)) for found in times] == [(3, 3)] * 3


def test_times_are_per_face() -> None:
    def work() -> None:
        sum(range(300_000))

    cases = [Case("g", "one", work), Case("g", "a hundred", work, faces=100)]
    one, hundred = timed(cases, rounds=5)
    assert min(one.cpu) > 10 * min(hundred.cpu) > 0


def test_ratio_is_over_the_first_of_the_group() -> None:
    cases = [Case("g", "a", int), Case("g", "b", int), Case("h", "c", int)]
    times = [Times([2.0, 4.0, 3.0], [5.0, 9.0, 8.0]), Times([6.0, 7.0], [6.0, 7.0]), Times([5.0], [5.0])]
    assert table(cases, times).splitlines()[-3:] == [
        "| g | a | 2.00 | 3.00 | 5.00 | 8.00 | 1.00 | 500 |  |  |",
        "| g | b | 6.00 | 6.50 | 6.00 | 6.50 | 3.00 | 167 |  |  |",
        "| h | c | 5.00 | 5.00 | 5.00 | 5.00 | 1.00 | 200 |  |  |",
    ]


def test_targets_are_judged_by_the_least_cpu_time() -> None:
    cases = [
        Case("g", "ours", int, most_ms=2.5),
        Case("g", "too slow", int, most_ms=2.5),
        Case("g", "peer", int, least_ratio=1.7),
        Case("g", "faster peer", int, least_ratio=1.7),
    ]
    times = [Times([least, 9.0], [9.0, 9.0]) for least in (2.0, 2.6, 3.4, 3.3)]
    verdicts = [line.split(" | ")[-2:] for line in table(cases, times).splitlines()[2:]]
    assert verdicts == [
        ["≤ 2.5 ms", "yes |"],
        ["≤ 2.5 ms", "**no** |"],
        ["≥ 1.7 × the first", "yes |"],
        ["≥ 1.7 × the first", "**no** |"],
    ]


def test_machine_is_told() -> None:
    text = machine()
    assert "cores" in text and "torch 2." in text and "numpy 2." in text
