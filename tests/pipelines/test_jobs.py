"""Tasks in this process; the same on Ray is tested with the session fixture."""

import ast
import logging
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines.jobs import _shares, has_gpu, run_actors, run_tasks

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


@pytest.mark.parametrize("actors", [False, True])
def test_on_ray_the_driver_hears_what_workers_warn_of(ray_session, caplog, actors):
    warn = logging.getLogger("pipelines.storage_faults").warning
    items = [f"s3://somewhere/{item}: refused; trying again in 0.2 s" for item in range(8)]
    if actors:
        run_actors(partial(partial, warn), items, label="read", workers=1)
    else:
        run_tasks(warn, items, label="read", workers=2)
    said = [record.getMessage() for record in caplog.records if record.name == "pipelines.jobs"]
    assert said and set(said) <= {f"read: {item}" for item in items}


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


def test_deaths_count_for_the_piece_of_work_and_not_for_the_whole_job(ray_session, tmp_path):
    """A death at the first item takes nothing from what the second one may have."""
    from toy_detector import build_mortal

    with pytest.raises(UserError, match="died 4 times at the same piece of work"):
        run_actors(partial(build_mortal, str(tmp_path)), [0, 1], label="mortal", workers=1)
    tries = Counter(file.name[0] for file in tmp_path.iterdir())
    assert tries == {"0": 2, "1": 4}


def test_actors_on_ray_a_users_mistake_while_building_keeps_its_kind(ray_session):
    from toy_detector import build_wrong

    with pytest.raises(UserError, match="the bundle is missing"):
        run_actors(build_wrong, [1, 2], label="wrong", workers=1)


def test_actors_say_how_far_they_are_within_an_item(ray_session):
    from toy_detector import build_slow

    seen: list[tuple[int, int]] = []
    results = run_actors(
        build_slow,
        [5, 6],
        label="slow",
        weights=[8, 8],
        workers=2,
        on_progress=lambda done, total, _: seen.append((done, total)),
    )
    assert results == [5, 6]
    assert seen == sorted(set(seen)) and seen[-1] == (16, 16)
    assert 0 < seen[0][0] < 8


def test_shares_of_gpus():
    assert [_shares(number, 2) for number in (1, 2, 3, 8, 30)] == [
        (1, 1.0),
        (2, 1.0),
        (3, 0.5),
        (8, 0.25),
        (8, 0.25),
    ]
    assert _shares(3, 0) == (3, 0.0) and not has_gpu()


def driven(*arguments: str) -> list[str]:
    """The lines that a driver of its own cluster prints."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(ROOT / "tests" / "support" / "actor_driver.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_actors_take_a_gpu_where_the_cluster_has_one_and_compute_on_the_cpu_without_cuda():
    import torch

    with_gpu, without = (ast.literal_eval(line) for line in driven("gpu")[-2:])
    assert len(with_gpu) == len(without) == 3
    assert all(given for _, given, _ in with_gpu) and not any(given for _, given, _ in without)
    if not torch.cuda.is_available():
        assert {device for _, _, device in with_gpu} == {"cpu"}
    assert {device for _, _, device in without} == {"cpu"}


def test_actors_finish_without_a_node_that_goes_away(tmp_path):
    assert driven("node", str(tmp_path))[-1] == str([-item for item in range(12)])
    begun = [entry.name.split("-") for entry in tmp_path.iterdir()]
    assert len({node for _, node in begun}) == 2 and len(begun) > len({item for item, _ in begun})
