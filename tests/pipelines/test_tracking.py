"""Tracking: what a run's folder holds arrives once, whatever happens to the tracker or to the driver."""

import io
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from toy_stage import toy_job

from pipelines import tracking
from pipelines.cli import main
from pipelines.progress import Event, Progress
from pipelines.recording import Recorder, read_metrics
from pipelines.run_model import default_run_model
from pipelines.tracked_record import read_record
from pipelines.tracking import (
    Tracking,
    ended,
    git_commit,
    open_run,
    remembered_run,
    send_what_is_missing,
    tracking_address,
)
from pipelines.train import train_stage
from pipelines.training import with_origins
from tests.support.face_shards import GOOD, write_face_shards

CONFIG = {"seed": 3, "loss_weights": {"albedo": 1.0, "symmetry": 0.5}, "text": "x" * 9000}
PICTURE = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """One SQLite store for all tests that want no server: a new one takes two seconds."""
    return tracking_address("", str(tmp_path_factory.mktemp("tracked")))


@pytest.fixture(scope="module")
def client(address):
    return MlflowClient(address)


def opened(folder, address, memory="mlflow_run.json", **more):
    return open_run(Tracking(address, "toy-1234", **more), "3dfacefill/toy", CONFIG, str(folder / memory))


def recorder_of(folder, run):
    return Recorder(str(folder), Progress(io.StringIO()), 8, run)


def told(recorder, step, **values):
    """A report at `step`: losses, and a step of 0.1 s that waited 5 ms."""
    values = values or {"loss/square": 1.0 / step, "time/step": 0.1, "time/data": 0.005}
    recorder(Event("toy", "metrics", step, 100, values, time=1_700_000_000.0 + step))


def run_id_of(folder, memory="mlflow_run.json"):
    return remembered_run(str(folder / memory))


def points_of(client, run_id):
    """{(metric, step): values}, every point that the tracker has."""
    found: dict[tuple[str, int], list[float]] = {}
    for name in client.get_run(run_id).data.metrics:
        for point in client.get_metric_history(run_id, name):
            found.setdefault((name, point.step), []).append(point.value)
    return found


def written(folder):
    """The same of metrics.jsonl."""
    lines = read_metrics(str(folder / "metrics.jsonl"))
    return {(n, line["step"]): [v] for line in lines for n, v in line.items() if "/" in n and v is not None}


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_stage_is_tracked_with_speed_pictures_and_config(tmp_path, address, client):
    job = toy_job(tmp_path, evaluate_every=6)
    datasets = {"faces": {"digest": "a" * 64, "source": "/shards/faces"}}
    train_stage(
        job,
        Progress(io.StringIO()),
        Tracking(address, "toy", {"data.faces.digest": "a" * 64}, datasets=datasets),
    )
    folder = tmp_path / "stages/toy"
    run = client.get_run(run_id_of(folder))
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "8" and run.data.tags.get("git.commit", "") == git_commit()
    assert run.data.tags["data.faces.digest"] == "a" * 64
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["faces"]
    assert points_of(client, run.info.run_id) == written(folder)
    for line in read_metrics(str(folder / "metrics.jsonl")):
        if line["kind"] == "metrics":
            assert line["speed/images_per_s"] == pytest.approx(8 / line["time/step"])
            assert line["speed/data_wait_share"] == pytest.approx(line["time/data"] / line["time/step"])
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"config.json", "card.json", "pictures"}
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "pictures")]
    assert pictures == ["pictures/0000006.jpg", "pictures/0000012.jpg"]


def test_a_run_that_goes_on_is_the_same_without_double_points(tmp_path, address, client):
    first = opened(tmp_path, address)
    recorder = recorder_of(tmp_path, first)
    with pytest.raises(KeyboardInterrupt), ended(first):
        told(recorder, 10), told(recorder, 20)
        raise KeyboardInterrupt
    run_id = run_id_of(tmp_path)
    assert client.get_run(run_id).info.status == "KILLED"
    again = opened(tmp_path, address)
    until(lambda: client.get_run(run_id).info.status == "RUNNING")
    recorder = recorder_of(tmp_path, again)
    recorder(Event("toy", "start", 10, 100))  # from a checkpoint at step 10
    with ended(again):
        told(recorder, 20, **{"loss/square": 1 / 20, "time/step": 0.4})  # the same loss, but slower
        told(recorder, 30, **{"loss/square": float("nan"), "metric/error": 1.0})
    assert run_id_of(tmp_path) == run_id and client.get_run(run_id).info.status == "FINISHED"
    points = points_of(client, run_id)
    assert points.pop(("time/step", 20)) == [0.1]  # the first that was told of a step stays
    losses = {key: values for key, values in points.items() if key[0] in ("loss/square", "metric/error")}
    assert losses == {("loss/square", 10): [0.1], ("loss/square", 20): [0.05], ("metric/error", 30): [1.0]}
    assert all(len(values) == 1 for values in points.values())


def test_what_a_killed_driver_left_is_sent_when_the_run_goes_on(tmp_path, address, client):
    run = opened(tmp_path, "")  # no tracker yet, and no end: the driver is gone
    recorder = recorder_of(tmp_path, run)
    told(recorder, 10)
    recorder(Event("toy", "picture", 10, 100, picture=PICTURE))
    recorder(Event("toy", "checkpoint", 10, 100))
    again = opened(tmp_path, address)
    with ended(again):
        pass
    assert points_of(client, run_id_of(tmp_path)) == written(tmp_path) != {}
    assert [f.path for f in client.list_artifacts(run_id_of(tmp_path), "pictures")] == [
        "pictures/0000010.jpg"
    ]


def test_a_driver_killed_between_the_work_and_its_record_loses_no_run(tmp_path, address, client):
    job, where = toy_job(tmp_path), Tracking(address, "toy")
    first = train_stage(job, Progress(io.StringIO()), where)
    file = read_record(str(tmp_path / "stages/toy/mlflow_run.json"))
    file.record.files.clear()
    file.begin(address, file.record.config)
    assert train_stage(job, Progress(io.StringIO()), where) == first
    file = read_record(file.url)
    assert (file.record.status, list(file.record.files)) == ("FINISHED", ["card.json"])
    assert client.get_run(file.arrived(address).run_id).info.status == "FINISHED"


def test_a_run_removed_at_the_tracker_is_made_anew(tmp_path, address, client):
    with ended(opened(tmp_path, address)) as _:
        pass
    first = run_id_of(tmp_path)
    client.delete_run(first)
    with ended(opened(tmp_path, address)):
        pass
    second = run_id_of(tmp_path)
    assert second != first and client.get_run(second).data.params["seed"] == "3"


def test_a_creation_whose_answer_was_lost_makes_no_second_run(tmp_path, address, client):
    with ended(opened(tmp_path, address)):
        pass
    first = run_id_of(tmp_path)
    file = read_record(str(tmp_path / "mlflow_run.json"))
    file.forget(address)
    file.save()
    tracking.deliver(file, address)
    assert run_id_of(tmp_path) == first


def test_children_and_successors_name_the_other_run(tmp_path, address, client):
    parent = opened(tmp_path, address, "mlflow_run-parent.json")
    with ended(parent):
        links = {"parent.morphable.run_id": (parent.url, "run_id")}
        until(lambda: run_id_of(tmp_path, "mlflow_run-parent.json"))
        with ended(opened(tmp_path, address, "mlflow_run-child.json", parent=parent.url, links=links)):
            pass
    tags = client.get_run(run_id_of(tmp_path, "mlflow_run-child.json")).data.tags
    run_id = run_id_of(tmp_path, "mlflow_run-parent.json")
    assert tags["mlflow.parentRunId"] == tags["parent.morphable.run_id"] == run_id != ""


def test_metrics_without_a_recorder_replace_those_of_before(tmp_path, address, client):
    for value in (1.0, 1.0):
        run = opened(tmp_path, address, "mlflow_run-12345678.json")
        with ended(run):
            run.log_metrics(0, {"metric/psnr": value}, 0.0)
    assert points_of(client, run_id_of(tmp_path, "mlflow_run-12345678.json")) == {("metric/psnr", 0): [1.0]}
    assert len(read_metrics(str(tmp_path / "metrics-12345678.jsonl"))) == 1


def test_a_moved_output_is_sent_to_any_tracker_once(tmp_path, address, client, capsys):
    job = toy_job(tmp_path / "there", evaluate_every=6)
    train_stage(job, Progress(io.StringIO()), Tracking("", "offline"))
    (tmp_path / "there").rename(tmp_path / "here")
    for _ in range(2):
        assert main(["track", str(tmp_path / "here"), address]) == 0
    file = read_record(str(tmp_path / "here/stages/toy/mlflow_run.json"))
    run_id = file.arrived(address).run_id
    assert capsys.readouterr().out.count(f"offline is run {run_id} at {address}") == 2
    assert points_of(client, run_id) == written(tmp_path / "here/stages/toy")
    assert {"card.json", "pictures"} < {item.path for item in client.list_artifacts(run_id)}
    assert client.get_run(run_id).info.status == "FINISHED"


def test_nothing_to_track_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["track", str(tmp_path)]) == 2
    assert "no tracked runs here" in capsys.readouterr().err
    with ended(opened(tmp_path, "")):
        pass
    assert main(["track", str(tmp_path)]) == 2
    assert "name one: facefill track" in capsys.readouterr().err
    assert main(["track", str(tmp_path), "http://127.0.0.1:9"]) == 2
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_a_server_that_dies_and_comes_back_has_everything_once(mlflow_server, tmp_path, caplog, monkeypatch):
    """SQLite behind HTTP, artifacts on S3; one run ends while the server is away, another outlives that."""
    monkeypatch.setattr(tracking, "SEND_EVERY_S", 0.05)
    monkeypatch.setattr(tracking, "LONGEST_PAUSE_S", 1.0)
    caplog.set_level(logging.WARNING, logger="pipelines.tracking")
    client = MlflowClient(mlflow_server.address)
    folders = [tmp_path / "stages/ends", tmp_path / "stages/outlives"]
    runs = [opened(folder, mlflow_server.address) for folder in folders]
    recorders = [recorder_of(folder, run) for folder, run in zip(folders, runs, strict=True)]
    for folder, recorder in zip(folders, recorders, strict=True):
        told(recorder, 1)
        until(lambda where=folder: run_id_of(where) and points_of(client, run_id_of(where)))

    mlflow_server.kill()
    slowest = 0.0
    for step in range(2, 40):
        for recorder in recorders:
            began = time.process_time()
            told(recorder, step)
            slowest = max(slowest, time.process_time() - began)
    for recorder in recorders:
        recorder(Event("toy", "picture", 39, 100, picture=PICTURE))
    assert slowest < 0.2  # training waits for no tracker
    with ended(runs[0]):
        pass
    until(lambda: caplog.text.count("does not answer") == 2)  # one warning per run and outage
    assert f"facefill track {folders[0]}" in caplog.text
    send_what_is_missing(str(tmp_path))  # what `facefill run` does before it starts; no harm

    mlflow_server.start()
    until(lambda: "answers again" in caplog.text)  # while the second run goes on
    told(recorders[1], 40)
    with ended(runs[1]):
        pass
    assert client.get_run(run_id_of(folders[0])).info.status == "RUNNING"
    send_what_is_missing(str(tmp_path))
    for folder, steps in zip(folders, (39, 40), strict=True):
        run = client.get_run(run_id_of(folder))
        assert points_of(client, run.info.run_id) == written(folder)
        assert len(written(folder)) == 5 * steps
        assert run.info.status == "FINISHED" and run.info.artifact_uri.startswith("mlflow-artifacts:")
        pictures = client.list_artifacts(run.info.run_id, "pictures")
        assert [file.path for file in pictures] == ["pictures/0000039.jpg"]


def test_a_stage_names_its_data_its_parent_and_its_model(tmp_path, address, client):
    """Two real stages, one step each: what the tracker knows of the second leads back to the first."""
    data = write_face_shards(str(tmp_path / "uv/drawn"), [GOOD])
    widths = {"width": 0.125, "discriminator_width": 0.125, "encoder_width": 0.125}
    runs = {}
    for stage, config, parents in (
        ("morphable", {"width": 0.125}, {}),
        ("inpaint", widths, {"morphable": str(tmp_path / "weights/morphable")}),
    ):
        settings = {
            "builder": "pipelines.stage_builder:build",
            "loader": "tests.support.drawn_loader:open_loader",
        }
        settings |= {
            "stage": stage,
            "config": config,
            "parents": parents,
            "data": (str(tmp_path / "uv/drawn"),),
        }
        job = toy_job(tmp_path, batch_size=2, steps=1, evaluate_batches=1, report_every=1, **settings)
        job = replace(job, model=default_run_model())
        train_stage(job, Progress(io.StringIO()), with_origins(Tracking(address, stage), job))
        runs[stage] = client.get_run(run_id_of(tmp_path / "stages" / stage))
    tags = runs["inpaint"].data.tags
    assert tags["parent.morphable.run_id"] == runs["morphable"].info.run_id
    versions = client.search_model_versions("name = 'facefill-morphable'")
    (parent,) = (version for version in versions if version.run_id == runs["morphable"].info.run_id)
    assert tags["parent.morphable.model_version"] == str(parent.version)
    assert tags["parent.morphable.digest"] == parent.tags["digest"]
    assert client.get_model_version_by_alias("facefill-morphable", "candidate").version == parent.version
    assert tags["data.drawn.digest"] == data.digest()
    assert [item.dataset.name for item in runs["inpaint"].inputs.dataset_inputs] == ["drawn"]
    kinds = {name.split("/")[0] for name in runs["inpaint"].data.metrics}
    assert kinds == {"loss", "metric", "gradient", "rate", "speed", "time"}


def test_the_address_is_the_setting_then_the_environment_then_the_output(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_address("", str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_address("", "s3://bucket/run") == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_address("", str(tmp_path)) == "http://server"
    assert tracking_address("http://other", "s3://bucket/run") == "http://other"


def test_the_commit_is_named():
    assert len(git_commit().removesuffix("+")) in (0, 40)
