"""Starting and joining a cluster, and what its workers find there."""

import os
import time

import pytest

from facefill.errors import UserError
from pipelines import cluster_session
from pipelines.cluster_session import session, worker_environment


def test_a_wrong_address_is_a_mistake_that_is_named_at_once(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    began = time.monotonic()
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(UserError, match=rf"cannot join the Ray cluster at {address} .*ray start --head"):
            session(address).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9"):
        session().__enter__()
    assert time.monotonic() - began < 5


def test_workers_get_the_source_tree_only_where_it_is_not_installed(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setattr(cluster_session, "_installed", lambda: True)
    environment = worker_environment()
    assert environment["PYTHONPATH"] == "elsewhere" and environment["OMP_NUM_THREADS"] == "1"
    assert environment["AWS_ENDPOINT_URL"] == "http://store" and "secret" not in environment.values()
    monkeypatch.setattr(cluster_session, "_installed", lambda: False)
    root = str(cluster_session.SOURCE_ROOT)
    assert worker_environment()["PYTHONPATH"] == os.pathsep.join(["elsewhere", root])


def test_the_private_cluster_answers_and_its_dashboard_knows_it(ray_session):
    import ray

    with session() as inner:  # joins the one that runs, and leaves it running
        assert inner.cpus == 4 and not inner.private
        answer = ray.remote(lambda: dict(os.environ)).remote()
        environment = ray.get(answer)
        assert environment["RAY_API_SERVER_ADDRESS"] == f"http://{inner.dashboard}"
        assert environment["OMP_NUM_THREADS"] == "1"
    assert ray.is_initialized()
    if os.environ.get("RAY_AUTH_MODE") != "disabled":
        import urllib.request

        request = urllib.request.Request(f"http://{inner.dashboard}/api/v0/actors")
        with pytest.raises(
            urllib.error.HTTPError, match=r"401|403"
        ):  # strangers on this machine are turned away
            urllib.request.urlopen(request, timeout=10)
