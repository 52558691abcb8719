"""The readers that are compared read the same pictures, and are judged by the right numbers."""

from pathlib import Path

import pytest
import simplejpeg

from benchmarks import peers_data, speed_data
from pipelines.manifest import Manifest
from pipelines.shard_reader import ShardReader


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return speed_data.write_pictures(tmp_path_factory.mktemp("speed") / "set", 70, 30)


def test_pictures_are_as_large_as_promised(manifest: Manifest) -> None:
    assert [shard.nsamples for shard in manifest.shards] == [30, 30, 10]
    reader = ShardReader()
    sizes = []
    for row in manifest.rows:
        members = reader.members(manifest, row)
        assert simplejpeg.decode_jpeg(members["image.jpg"]).shape == (256, 256, 3)
        sizes.append(len(members["image.jpg"]))
    assert 15_000 < sum(sizes) / len(sizes) < 19_000


def test_every_reader_sees_every_picture(manifest: Manifest) -> None:
    for name, reader in speed_data.local_readers(manifest).items():
        ours = name.startswith("ours")
        assert reader() == (64 if ours else 70), name  # in training the rest of an epoch waits for another
        assert reader() == (64 if ours else 70), name


@pytest.mark.usefixtures("ray_session")
def test_ray_data_sees_every_picture(manifest: Manifest) -> None:
    assert peers_data.ray_data_reader(manifest)() == 70


def test_targets_go_by_cpu_and_ray_datas_by_the_clock() -> None:
    paces = {
        speed_data.LIMIT: speed_data.Pace([0.19, 0.31], [9000.0, 10000.0]),
        speed_data.OURS: speed_data.Pace([0.2, 0.4], [5000.0, 8000.0]),
        speed_data.PILLOW: speed_data.Pace([0.5], [1000.0]),
        speed_data.RAY: speed_data.Pace([0.8], [1000.0]),
        "another": speed_data.Pace([0.4], [4000.0]),
    }
    rows = [line.strip("| ").split(" | ") for line in speed_data.table(paces).splitlines()[2:]]
    assert rows[0][1:] == ["0.190", "0.250", "10526", "10000", "0.95 x", "0.80 x", "≥ 0.9", "yes"]
    assert rows[2][5:] == ["2.50 x", "8.00 x", "≥ 3", "**no**"]
    assert rows[3][5:] == ["4.00 x", "8.00 x", "≥ 8", "yes"]
    assert rows[4][5:7] == ["2.00 x", "2.00 x"]


def test_remote_reading_leaves_nothing(manifest: Manifest, tmp_path: Path) -> None:
    from pipelines import storage

    remote = f"memory://{tmp_path.name}/speed"
    rows = speed_data.remote_table(manifest, remote, tmp_path).splitlines()
    assert rows[2].startswith("| remote, cold cache |") and rows[3].startswith("| remote, warm cache |")
    assert len(list((tmp_path / "cache/shards").glob("*.tar"))) == 3
    assert storage.list_files(remote) == []


def test_absent_readers_are_named() -> None:
    assert all(sentence.endswith("it is not installed.") for sentence in peers_data.absent_peers())
