"""The whole chain for real: rendered faces to a report, on this machine and against a cluster started
apart.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines import storage
from pipelines.checkpoints import list_checkpoints
from pipelines.cli import main
from pipelines.evaluate import METHODS
from pipelines.manifest import load_manifest
from pipelines.tables import read_table
from tests.support.s3_server import free_ports
from tests.support.tiny_run import tiny_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """The folder of a run that went through, with the config beside it."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_tree(str(folder / "run"), workers=0)))
    assert main(["run", str(folder / "tiny.yaml")]) == 0
    return folder / "run"


def test_every_arrow_leaves_what_the_next_one_needs(finished: Path) -> None:
    assert load_manifest(str(finished / "shards" / "celeba")).counts()["train"] > 0
    projected = load_manifest(str(finished / "uv" / "celeba"))
    assert {"uv_texture.jpg", "uv_albedo.jpg", "uv_visible.png", "fit.npy", "image.jpg"} <= set(
        projected.rows[0].members
    )
    for stage in ("morphable", "morphable_finetune", "segment", "inpaint"):
        card = json.loads((finished / "weights" / stage / "card.json").read_text())
        assert card["stage"] == stage and card["networks"]
    assert len(read_table(str(finished / "sweep" / "table.parquet"))) == 2
    rows = read_table(str(finished / "evaluation" / "metrics.parquet"))
    assert {row["method"] for row in rows} == set(METHODS)
    report = (finished / "evaluation" / "report.html").read_text()
    assert report.count("data:image/") > 4
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_ground_truth_of_the_right_model_is_taken(finished: Path) -> None:
    fits = [
        row
        for url in storage.list_files(str(finished / "fits" / "300w"), ".parquet")
        for row in read_table(url)
    ]
    assert fits and all(row["landmark_px"] < 0.6 for row in fits if not row["reason"])


def test_every_stage_is_a_run_at_the_tracker_and_trials_are_nested(finished: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    runs = {e.name: client.search_runs([e.experiment_id]) for e in client.search_experiments()}
    for stage in ("morphable", "morphable_finetune", "segment", "inpaint"):
        stage_runs = runs[f"3dfacefill/{stage}"]
        assert any(run.info.status == "FINISHED" and run.data.metrics for run in stage_runs)
    children = [r for r in runs["3dfacefill/inpaint"] if "mlflow.parentRunId" in r.data.tags]
    assert len(children) == 2
    (evaluation,) = runs["3dfacefill/evaluate"]
    assert "metric/psnr_hole" in evaluation.data.metrics
    assert "report.html" in {file.path for file in client.list_artifacts(evaluation.info.run_id)}


def test_the_second_time_everything_is_valid(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")}
    started = time.monotonic()
    assert main(["run", str(finished.parent / "tiny.yaml")]) == 0
    assert time.monotonic() - started < 10
    printed = capfd.readouterr()
    assert printed.err.count("valid, skipped") == 14
    assert printed.out.strip().endswith("report.html")
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")}


def test_a_trained_run_completes_a_photograph(finished: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    photo = sorted((finished / "raw" / "celeba" / "Img" / "img_align_celeba").glob("*.jpg"))[0]
    mask = np.zeros((218, 178), np.uint8)
    mask[100:140, 70:110] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    out = tmp_path / "out"
    arguments = ["complete", str(photo), "--mask", str(tmp_path / "mask.png"), "--out", str(out)]
    assert main([*arguments, "--weights", str(finished / "weights")]) == 0
    assert (out / "completed.png").is_file()


def test_changed_settings_do_not_go_on_from_other_checkpoints(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(finished.parent / "tiny.yaml")
    assert main(["train", config, "stages.segment.model.focal_gamma=1.0"]) == 2
    assert "checkpoint of another configuration" in capsys.readouterr().err


def test_sigterm_ends_the_command_with_143_and_costs_no_bit(finished: Path, tmp_path: Path) -> None:
    weights = {}
    for name in ("whole", "stopped"):
        shutil.copytree(finished, tmp_path / name)
        settings = [f"output={tmp_path / name}", "stages.inpaint.training.steps=16"]
        command = [sys.executable, "-m", "pipelines", "train", str(finished.parent / "tiny.yaml"), *settings]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if name == "stopped":
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            while not (tmp_path / name / "stages/inpaint/checkpoint-0000004/meta.json").exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            _, printed = process.communicate(timeout=120)
            step = list_checkpoints(str(tmp_path / name / "stages/inpaint"))[-1].step
            assert (process.returncode, step < 16) == (143, True)
            words = "train inpaint stopped; the same command goes on from its checkpoint at step"
            assert f"facefill: {words} {step}\n" in printed
        assert main(command[3:]) == 0
        card = json.loads((tmp_path / name / "weights/inpaint/card.json").read_text())
        weights[name] = {network: entry["sha256"] for network, entry in card["networks"].items()}
    assert weights["whole"] == weights["stopped"]


@pytest.fixture
def head(s3_server: dict[str, str]) -> Iterator[str]:
    """The address of a cluster that was started apart from us, on machines that have the storage's keys."""
    (port, dashboard, client) = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=4"),
            *(f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
            *("--node-ip-address=127.0.0.1", f"--temp-dir={scratch}", "--disable-usage-stats"),
        ]
        environment = os.environ | s3_server | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
        environment.pop("RAY_ADDRESS", None)
        with (Path(scratch) / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=scratch
            )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_started_apart_and_an_object_store(
    head: str, s3_server: dict[str, str], tmp_path: Path
) -> None:
    tree = tiny_tree("s3://facefill/chain", workers=1, celeba=16)
    tree["stages"].pop("morphable_finetune")
    tree["stages"].pop("segment")
    tree.pop("sweep")
    tree["synthesis"] |= {"three_hundred_w": 0, "celebamask_hq": 0}
    tree["datasets"] = tree["datasets"][:1]
    tree["stages"]["morphable"]["training"]["data"] = ["celeba"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    environment = os.environ | s3_server | {"RAY_ADDRESS": head, "RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = str(ROOT)
    environment["FACEFILL_CACHE"] = str(tmp_path / "cache")
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "run", str(tmp_path / "tiny.yaml")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=800,
        )
        if "cannot join the Ray cluster" not in done.stderr or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Ray cluster (joined)" in done.stderr
    assert done.stdout.strip() == "report: s3://facefill/chain/evaluation/report.html"
