"""A range of workers on nodes that go: one without a word, one with notice."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import elastic_driver
import pytest
from toy_stage import toy_job

from pipelines.recording import read_metrics

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 280


@pytest.mark.slow
def test_a_run_goes_on_with_the_workers_that_are_left(tmp_path):
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    environment.pop("RAY_ADDRESS", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, elastic_driver.__file__, str(tmp_path)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.wait(LIMIT_S) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "said").read_text()
    order = [
        r"the workers were started again; goes on from step \d+",
        "2 of at most 3 workers, the cluster has no room for more",
        "goes on with 2 workers where 3 began; the order of the data changes here",
        r"the cluster takes 1 machine\(s\) away; all stopped with a checkpoint and go on with what is left",
        "goes on with 1 workers where 2 began",
    ]
    assert re.search(".*".join(order), said, re.DOTALL), said
    lines = read_metrics(f"{toy_job(tmp_path).folder}/metrics.jsonl")
    steps = [line["step"] for line in lines if line["kind"] == "metrics"]
    assert steps == sorted(set(steps)) and steps[-1] == 400  # nothing twice, nothing left out
