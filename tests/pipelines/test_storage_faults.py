"""A network and a server that fail in every way, in front of a real S3 server: reads and writes end right."""

import random
import threading
import time
from dataclasses import replace

import pytest
from faulty_proxy import Fault, FaultyProxy
from s3_server import client, environment_of

from facefill.errors import UserError
from pipelines import remote_file, storage, storage_faults

CONTENT = random.Random(7).randbytes(300_000)
LARGE = random.Random(8).randbytes(2 * storage.PART_BYTES + 1)


@pytest.fixture
def proxy(running_s3, monkeypatch):
    proxy = FaultyProxy(running_s3.port)
    for name, value in environment_of(proxy.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage_faults, "FIRST_PAUSE_S", 0.02)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(proxy, tmp_path):
    return f"s3://facefill/{tmp_path.name}"


@pytest.fixture
def direct(running_s3):
    """The server without the proxy: what is really there."""
    return client(running_s3.environment["AWS_ENDPOINT_URL"])


def stored(direct, url: str) -> bytes | None:
    try:
        return direct.get_object(Bucket="facefill", Key=url.split("/", 3)[3])["Body"].read()
    except direct.exceptions.NoSuchKey:
        return None


def name_of(value) -> str:
    if isinstance(value, Fault):
        return f"{value.kind}-{value.number}"
    return value if isinstance(value, str) else "parts" if len(value) > storage.PART_BYTES else "whole"


READ_FAULTS = [
    ("read_bytes", Fault("status", "GET", 500, 3)),
    ("read_bytes", Fault("cut", "GET", 100_000, 4)),
    ("read_bytes", Fault("slow", "GET", 20_000)),
    ("open", Fault("status", "GET", 503, 3)),
    ("open", Fault("cut", "GET", 100_000, 4)),
    ("open", Fault("reset", "GET", 10, 3)),
    ("open", Fault("short", "GET", 1000)),
    ("local_copy", Fault("cut", "GET", 0, 3)),
    ("local_copy", Fault("cut", "GET", 100_000, 4)),
    ("local_copy", Fault("short", "GET", 1000)),
]


@pytest.mark.parametrize(("way", "fault"), READ_FAULTS, ids=name_of)
def test_reads_end_with_the_whole_content(proxy, bucket, tmp_path, way, fault):
    url = storage.join(bucket, "x.bin")
    storage.write_bytes(url, CONTENT)
    proxy.faults.append(replace(fault))
    if way == "open":
        with storage.open(url) as file:
            file.seek(1000)
            assert file.read() == CONTENT[1000:]
    elif way == "local_copy":
        assert storage.local_copy(url, tmp_path / "cache").read_bytes() == CONTENT
    else:
        assert storage.read_bytes(url) == CONTENT
    assert proxy.done == [fault.kind] * fault.times


def test_a_stream_asks_for_large_pieces(proxy, bucket):
    url = storage.join(bucket, "x.bin")
    storage.write_bytes(url, LARGE)
    with storage.open(url) as file:
        assert file.read(10) == LARGE[:10]
        assert file.read() == LARGE[10:]
    assert 0 < proxy.requests.count("GET") <= len(LARGE) // remote_file.BLOCK + 2


def test_listings_and_questions_end_right(proxy, bucket):
    storage.write_bytes(storage.join(bucket, "x"), CONTENT)
    for fault in (Fault("status", "GET", 503), Fault("cut", "GET", 50, 2), Fault("reset", "GET", 1, 2)):
        proxy.faults.append(fault)
        assert storage.list_files(bucket) == [storage.join(bucket, "x")]
    for fault in (Fault("status", "HEAD", 503, 2), Fault("reset", "HEAD", 1, 2)):
        proxy.faults.append(fault)
        assert storage.exists(storage.join(bucket, "x"))
        assert storage.size(storage.join(bucket, "x")) == len(CONTENT)
    proxy.faults.append(Fault("status", "HEAD", 500, 2))
    assert not storage.exists(storage.join(bucket, "y"))
    proxy.faults.append(Fault("status", "DELETE", 500, 2))
    storage.remove(storage.join(bucket, "x"))
    assert not storage.exists(storage.join(bucket, "x"))
    assert not [fault for fault in proxy.faults if fault.times]


WRITE_FAULTS = [
    (CONTENT, Fault("status", "PUT", 500, 2)),
    (CONTENT, Fault("status", "PUT", 503, 2)),
    (CONTENT, Fault("reset", "PUT", 100_000, 3)),
    (CONTENT, Fault("cut", "PUT", 0, 2)),
    (LARGE, Fault("status", "PUT", 503, 2)),
    (LARGE, Fault("reset", "PUT", 100_000, 3)),
    (LARGE, Fault("status", "POST", 500, 2)),  # begins and completes the upload of parts
]


@pytest.mark.parametrize(("content", "fault"), WRITE_FAULTS, ids=name_of)
def test_writes_end_with_the_whole_content(proxy, bucket, direct, content, fault):
    url = storage.join(bucket, "x.bin")
    storage.write_bytes(url, b"old")
    proxy.faults.append(replace(fault))
    storage.write_bytes(url, content)
    assert stored(direct, url) == content
    assert proxy.done == [fault.kind] * fault.times


@pytest.mark.parametrize(("content", "there"), [(CONTENT, b"old"), (LARGE, None)], ids=["whole", "parts"])
def test_a_write_that_never_gets_through_leaves_what_was_there(
    proxy, bucket, direct, content, there, monkeypatch, tmp_path
):
    monkeypatch.setattr(storage_faults, "REMOTE_PATIENCE_S", 0.5)
    url = storage.join(bucket, "x.bin")
    if there is not None:
        storage.write_bytes(url, there)
    proxy.faults.append(Fault("reset", "PUT", 200_000, 1000))
    with pytest.raises(UserError, match=rf"{url}: the storage does not answer"):
        storage.write_bytes(url, content)
    assert stored(direct, url) == there
    proxy.faults.clear()
    uploads = direct.list_multipart_uploads(Bucket="facefill").get("Uploads", [])
    assert not [upload for upload in uploads if tmp_path.name in upload["Key"]]  # nothing that costs storage
    storage.write_bytes(url, content)
    assert stored(direct, url) == content


def test_a_server_that_is_away_for_some_seconds_is_waited_for(proxy, bucket, direct):
    url = storage.join(bucket, "x.bin")
    storage.write_bytes(url, CONTENT)
    others = [storage.join(bucket, f"{number}.bin") for number in range(3)]
    read = []
    jobs = [threading.Thread(target=storage.write_bytes, args=(other, CONTENT)) for other in others]
    jobs.append(threading.Thread(target=lambda: read.append(storage.read_bytes(url))))
    with proxy.away():
        for job in jobs:
            job.start()
        time.sleep(3)
        assert all(job.is_alive() for job in jobs)
    for job in jobs:
        job.join(60)
    assert read == [CONTENT]
    assert [stored(direct, other) for other in others] == [CONTENT] * 3
