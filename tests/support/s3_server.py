"""A real S3 server on this machine that can be killed and started again."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

KEY, SECRET = "testkey", "testsecret0123456"
START_LIMIT_S = 60
PORTS = (
    *("s3.port", "s3.port.grpc", "s3.port.iceberg", "master.port", "master.port.grpc"),
    *("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
)


def find_weed() -> str | None:
    """SeaweedFS's program, beside the interpreter or on the path."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


class S3Server:
    """One SeaweedFS process with master, volume, filer and S3 gateway; its bucket is `facefill`."""

    def __init__(self, weed: str, folder: Path) -> None:
        self.weed, self.folder = weed, folder
        self.ports = free_ports(len(PORTS))
        self.port = self.ports[0]
        self.process: subprocess.Popen | None = None
        identity = {
            "name": "test",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that reach it."""
        return environment_of(self.port)

    def start(self) -> None:
        """Start it, again on the same ports and data after `kill`, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self.folder)
        wait_until_ready(f"http://127.0.0.1:{self.port}", self.process, self.folder / "log")

    def kill(self) -> None:
        """End it at once: a polite end would linger ten seconds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            *(self.weed, "-logtostderr=true", "server", f"-dir={folder}/data"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-{name}={port}" for name, port in zip(PORTS, self.ports, strict=True)),
            *("-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-master.electionTimeout=1s"),
            *("-volume.max=1000", "-volume.preStopSeconds=1", "-volume.minFreeSpace=100MiB"),
            *("-s3", "-s3.port.lance=0", f"-s3.config={folder}/identities.json"),
            *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
        ]


def environment_of(port: int) -> dict[str, str]:
    """The variables that reach an S3 server, or a proxy of it, on a port of this machine."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


def client(endpoint: str):
    """Plain botocore, which gives up at once."""
    import botocore.session
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=2),
    )


def wait_until_ready(endpoint: str, process: subprocess.Popen, log: Path) -> None:
    """Until a signed put works; the port is open earlier than that."""
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = client(endpoint)
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if "facefill" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
                s3.create_bucket(Bucket="facefill")
            s3.put_object(Bucket="facefill", Key="ready", Body=b"x")
            s3.delete_object(Bucket="facefill", Key="ready")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
