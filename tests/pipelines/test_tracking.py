"""Tracking: one run per stage however often it goes on, nested runs, no harm from a tracker that is away."""

import json
import logging

import pytest

from pipelines import tracking
from pipelines.tracking import Tracking, ended, flatten, git_commit, open_run, tracking_address

CONFIG = {"seed": 3, "loss_weights": {"albedo": 1.0, "symmetry": 0.5}, "text": "x" * 9000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def client(folder):
    return tracking._client(tracking_address("", str(folder)))


def opened(folder, memory="mlflow_run.json", parent=""):
    tracking = Tracking(tracking_address("", str(folder)), "toy-1234", {"stage": "toy"}, parent)
    return open_run(tracking, "3dfacefill/toy", CONFIG, str(folder / memory))


def test_a_run_has_config_tags_metrics_and_files(folder, client):
    run = opened(folder, "first.json")
    with ended(run):
        run.log_metrics(10, {"loss/square": 0.5}, when=1_700_000_000.0)
        run.log_metrics(20, {"loss/square": 0.25}, when=1_700_000_001.0)
        run.log_bytes(b"jpeg", "pictures/0000020.jpg")
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["loss_weights.symmetry"] == "0.5"
    assert stored.data.tags["stage"] == "toy"
    points = client.get_metric_history(run.run_id, "loss/square")
    assert [(point.step, point.value) for point in points] == [(10, 0.5), (20, 0.25)]
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"config.json", "pictures"}
    assert (folder / "mlflow.db").exists() and list((folder / "mlflow_artifacts").rglob("0000020.jpg"))


def test_a_stage_that_goes_on_reopens_its_run_without_double_points(folder, client):
    first = opened(folder, "second.json")
    with pytest.raises(KeyboardInterrupt), ended(first):
        first.log_metrics(10, {"loss/square": 0.5}, when=1.0)
        first.log_metrics(20, {"loss/square": 0.4}, when=2.0)
        raise KeyboardInterrupt
    assert client.get_run(first.run_id).info.status == "KILLED"
    again = opened(folder, "second.json")
    assert again.run_id == first.run_id and client.get_run(again.run_id).info.status == "RUNNING"
    for step in (20, 30):
        again.log_metrics(step, {"loss/square": 0.3, "metric/error": 1.0}, when=3.0)
    assert [point.step for point in client.get_metric_history(again.run_id, "loss/square")] == [10, 20, 30]
    assert [point.step for point in client.get_metric_history(again.run_id, "metric/error")] == [20, 30]


def test_a_run_removed_at_the_tracker_is_made_anew(folder):
    memory = folder / "gone.json"
    memory.write_text(json.dumps({"address": tracking_address("", str(folder)), "run_id": "0" * 32}))
    assert opened(folder, "gone.json").run_id == json.loads(memory.read_text())["run_id"] != "0" * 32


def test_children_hang_under_their_parent(folder, client):
    parent = opened(folder, "parent.json")
    child = opened(folder, "child.json", parent.run_id)
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_tracker_that_is_away_costs_one_warning(folder, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, logger="pipelines.tracking"):
        run = open_run(Tracking("http://127.0.0.1:9", "n"), "e", {}, str(folder / "away.json"))
        with ended(run):
            pass
    assert run is None and [r for r in caplog.records if "does not answer" in r.message]
    caplog.clear()
    lost = opened(folder, "lost.json")
    lost._client = tracking._client("http://127.0.0.1:9")  # the server goes away under a running run
    for step in range(3):
        lost.log_metrics(step, {"loss/square": 1.0}, when=1.0)
    lost.end(tracking.FINISHED)
    assert len([r for r in caplog.records if "does not answer" in r.message]) == 1


def test_the_address_is_the_setting_then_the_environment_then_the_output(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_address("", str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_address("", "s3://bucket/run") == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_address("", str(tmp_path)) == "http://server"
    assert tracking_address("http://other", "s3://bucket/run") == "http://other"


def test_settings_become_dotted_parameters():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1, 2]}) == {
        "a.b": "1",
        "a.c.d": "None",
        "e": "[1, 2]",
    }


def test_the_commit_is_named():
    assert len(git_commit().removesuffix("+")) in (0, 40)
