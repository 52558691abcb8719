"""Tasks in this process; the same on Ray is tested with the session fixture."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines.jobs import run_actors, run_tasks

ROOT = Path(__file__).resolve().parents[2]


def double(item: int) -> int:
    if item < 0:
        raise UserError(f"item {item} is negative; give positive ones")
    return 2 * item


def test_in_process_with_progress():
    seen: list[tuple[int, int, float]] = []
    results = run_tasks(double, [3, 1, 2], label="double", workers=0, on_progress=lambda *p: seen.append(p))
    assert results == [6, 2, 4]
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1][2] == 0


def test_a_users_mistake_keeps_its_kind():
    with pytest.raises(UserError, match="-1"):
        run_tasks(double, [1, -1], label="double", workers=0)


def test_without_a_session_it_says_so():
    """In a process of its own: this one may have a session already."""
    command = "from pipelines.jobs import run_tasks; run_tasks(abs, [1], label='absolute')"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert "RuntimeError: no Ray session" in done.stderr and "cluster_session" in done.stderr


def test_on_ray_in_item_order(ray_session):
    import operator

    seen: list[int] = []
    items = list(range(12))
    # operator.neg: a function that the workers can import
    results = run_tasks(
        operator.neg, items, label="negate", workers=3, on_progress=lambda done, *_: seen.append(done)
    )
    assert results == [-item for item in items]
    assert seen == list(range(1, 13))


def test_on_ray_a_users_mistake_keeps_its_kind(ray_session):
    from pipelines import storage

    with pytest.raises(UserError, match="nonsense"):
        run_tasks(storage.read_bytes, ["nonsense://x"], label="read")


def test_actors_in_process_build_once(tmp_path):
    from toy_detector import build_dying

    (tmp_path / "died").touch()
    assert run_actors(partial(build_dying, str(tmp_path)), [5, 1], label="ten", workers=0) == [50, 10]
    assert len(list(tmp_path.glob("built-*"))) == 1
    assert run_actors(build_dying, [], label="nothing", workers=0) == []


def test_actors_on_ray_in_item_order_and_past_the_death_of_one(ray_session, tmp_path):
    from toy_detector import build_dying

    seen: list[int] = []
    results = run_actors(
        partial(build_dying, str(tmp_path)),
        list(range(12)),
        label="ten",
        workers=2,
        on_progress=lambda done, *_: seen.append(done),
    )
    assert results == [10 * item for item in range(12)]
    assert seen == list(range(1, 13))
    assert (tmp_path / "died").exists()
    assert len(list(tmp_path.glob("built-*"))) == 3  # two workers, and one in the place of the dead one


def test_actors_on_ray_a_users_mistake_while_building_keeps_its_kind(ray_session):
    from toy_detector import build_wrong

    with pytest.raises(UserError, match="the bundle is missing"):
        run_actors(build_wrong, [1, 2], label="wrong", workers=1)
