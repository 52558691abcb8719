"""A real MLflow server with SQLite and artifacts on S3 that can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from s3_server import free_ports

START_LIMIT_S = 90


class MlflowServer:
    """One `mlflow server`; clients send artifacts through it and need no keys of the storage."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        (self.port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, again on the same port and store after `kill`, and wait until it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self.port}"),
            *("--workers=1", f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination=s3://facefill/mlflow", "--serve-artifacts"),
        ]
        # without the switch it starts a job runner and seven more processes
        environment = os.environ | self.environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End it and its children at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own
            self.process.wait()
            self.process = None
