"""What the runner's benchmark says of a run, and one narrow run of it from end to end."""

import pytest

from benchmarks import speed_job, speed_train_runner
from benchmarks.speed_train_runner import Pace, measure_runner, row


def test_rows_are_judged() -> None:
    bare = Pace(1.0, 1.1, 0.0)
    assert row("bare", bare, bare) == "| bare | 1.000 | 1.100 | 0.0% | +0.0% |  |  |"
    assert row("fast", Pace(1.02, 1.2, 0.01), bare, 0.03, 0.02).endswith("| +2.0% | ≤ 3%, wait ≤ 2% | yes |")
    assert row("slow", Pace(1.04, 1.2, 0.01), bare, 0.03, 0.02).endswith("| **no** |")
    assert row("starved", Pace(1.02, 1.2, 0.03), bare, 0.03, 0.02).endswith("| **no** |")


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_every_way_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_job, "DISTINCT", 2)
    for name, value in {"BATCH": 2, "REPORT": 1, "REPORTS": 2, "STEPS": 2, "PER_SHARD": 2}.items():
        monkeypatch.setattr(speed_train_runner, name, value)
    lines = "\n".join(measure_runner(0.125)).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:-2]] == [
        "| a bare loop over batches in memory",
        "| the runner, a report every 1 steps",
        "| the runner, a checkpoint every 1 steps too",
        "| the runner, a checkpoint every 200 steps",
        "| a worker of Ray Train",
    ]
    assert "nan" not in " ".join(lines)
