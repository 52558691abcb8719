"""A sweep: the same points for the same seed, one table, nested runs, and no trial done twice."""

import io
import json
import os
import signal
import threading
import time

import pytest
import yaml
from mlflow import MlflowClient
from toy_stage import toy_job

from facefill.errors import UserError
from pipelines import tables
from pipelines.progress import Progress
from pipelines.sweep import SweepPlan, places, run_sweep
from pipelines.sweep_record import write_results
from pipelines.tracking import Tracking, remembered_run, tracking_address

CONFIG = {"learning_rate": 0.01, "poison": None, "loss_weights": {"square": 1.0}}


def toy_sweep(**changes):
    plan = {"space": {"learning_rate": {"low": 1e-3, "high": 0.3, "log": True}}, "trials": 3, "steps": 6}
    return SweepPlan(**(plan | {"metric": "metric/error", "mode": "min"} | changes))


def run(tmp_path, job=None, tracked=None, said=None, **changes):
    job = job or toy_job(tmp_path, config=CONFIG)
    return run_sweep(job, toy_sweep(**changes), Progress(said or io.StringIO()), tracked)


def test_a_sweep_leaves_a_table_the_best_config_and_nested_runs(tmp_path, ray_session):
    address = tracking_address("", str(tmp_path))
    result = run(tmp_path, tracked=Tracking(address, "sweep-toy"))
    rows = tables.read_table(str(tmp_path / "sweep/table.parquet"))
    assert rows == result.rows and [row["status"] for row in rows] == ["finished"] * 3
    assert len({row["learning_rate"] for row in rows}) == len({row["metric/error"] for row in rows}) == 3
    best = min(rows, key=lambda row: row["metric/error"])
    assert result.best == {"learning_rate": best["learning_rate"]}
    assert best["command"] == f"stages.toy.model.learning_rate={best['learning_rate']}"
    tree = yaml.safe_load((tmp_path / "sweep/best.yaml").read_text())
    assert tree == {"stages": {"toy": {"model": result.best}}}
    table = (tmp_path / "sweep/table.md").read_text().splitlines()
    assert len(table) == 5 and table[2].startswith(f"| {best['trial']} |")

    client = MlflowClient(address)
    (memory,) = (tmp_path / "sweep").glob("mlflow_run-*.json")
    parent = remembered_run(str(memory))
    for row in rows:
        child = client.get_run(row["run_id"])
        assert child.data.tags["mlflow.parentRunId"] == parent and child.info.status == "FINISHED"
        assert float(child.data.params["learning_rate"]) == row["learning_rate"]
        assert child.data.metrics["metric/error"] == pytest.approx(row["metric/error"])
    assert client.get_run(parent).info.status == "FINISHED"


def test_a_trial_that_diverges_is_a_row_and_finished_trials_stay(tmp_path, ray_session):
    space = {"poison": [None, 1], "loss_weights.square": [1.0]}
    first = run(tmp_path, space=space, trials=2)
    assert sorted(row["status"] for row in first.rows) == ["failed", "finished"]
    bad = next(row for row in first.rows if row["status"] == "failed")
    assert "not finite 3 times" in bad["reason"] and bad["poison"] == 1
    (done,) = tmp_path.glob("sweep/trial-*/stages/toy/done.json")
    before = done.stat().st_mtime_ns
    again = run(tmp_path, space=space, trials=2)
    assert done.stat().st_mtime_ns == before
    assert again.best == first.best


def test_ctrl_c_stops_all_trials_and_the_next_call_goes_on(tmp_path, ray_session):
    def press():
        while not list(tmp_path.glob("sweep/trial-*/stages/toy/checkpoint-*/meta.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    job = toy_job(tmp_path, config=CONFIG | {"pause": 0.1})
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="goes on with its unfinished trials"):
        run(tmp_path, job=job, steps=200, trials=2)
    assert signal.getsignal(signal.SIGINT) is handler
    said = io.StringIO()
    result = run(tmp_path, steps=200, trials=2, said=said)
    assert [row["status"] for row in result.rows] == ["finished"] * 2
    assert "goes on from step" in said.getvalue()


def test_trials_may_drive_workers_of_their_own(tmp_path, ray_session):
    said = io.StringIO()
    result = run(tmp_path, job=toy_job(tmp_path, config=CONFIG, workers=2), trials=1, said=said)
    assert result.rows[0]["status"] == "finished" and "sweep trial 0: done" in said.getvalue()
    (card,) = tmp_path.glob("sweep/trial-*/weights/toy/card.json")
    assert json.loads(card.read_text())["workers"] == 2


def test_a_metric_that_nobody_reports_is_named(tmp_path):
    rows = [{"trial": 0, "status": "finished", "metric/error": 0.1}, {"trial": 1, "status": "failed"}]
    with pytest.raises(UserError, match=r"no trial has metric/psnr \(they have: metric/error\)"):
        write_results(str(tmp_path), rows, [{}, {}], "metric/psnr", "max", "toy")


def test_a_trial_without_room_is_refused_before_it_waits_for_ever(ray_session):
    assert places(toy_job("x", workers=1), 8) == 3  # of 4 processors: each trial takes 1.1
    assert places(toy_job("x"), 2) == 2
    with pytest.raises(UserError, match=r"lower sweep\.workers"):
        places(toy_job("x", workers=4), 1)
