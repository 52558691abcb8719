"""UV shards: their members, what is visible, what is refused, what is kept, when a projection is stale."""

import json

import numpy as np
import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.reconstruction import fit_from_vector, reconstruct
from facefill.geometry.texture import render
from facefill.samples import decode_sample
from pipelines import storage, tables
from pipelines.fit import fit_dataset, fit_tasks, write_fits
from pipelines.manifest import Manifest, load_manifest
from pipelines.project_uv import project_dataset
from pipelines.run_model import default_run_model
from pipelines.shard_reader import ShardReader
from tests.support.face_shards import FIVE, GOOD, NO_PICTURE, NONE, flip_in_picture, write_face_shards
from tests.support.faces import model_and_atlas


def projected(tmp_path, kinds: list[str], folder: str = "uv", workers: int = 0) -> Manifest:
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    if not (tmp_path / "shards").exists():
        write_face_shards(shards, kinds)
    fit_dataset(shards, fits, workers=0)
    return project_dataset(shards, fits, str(tmp_path / folder), workers=workers)


def samples_of(manifest: Manifest) -> list[dict[str, np.ndarray]]:
    reader = ShardReader()
    return [decode_sample(reader.members(manifest, row)) for row in manifest.rows]


def test_members_of_a_uv_sample(tmp_path):
    manifest = projected(tmp_path, [GOOD, FIVE])
    source = load_manifest(str(tmp_path / "shards"))
    reader = ShardReader()
    assert [shard.url for shard in manifest.shards] == ["drawn-uv-train-000000.tar"]
    for row, before in zip(manifest.rows, source.rows, strict=True):
        members, original = reader.members(manifest, row), reader.members(source, before)
        assert members["image.jpg"] == original["image.jpg"]
        sample = decode_sample(members)
        assert sample["landmarks"].shape == (68, 2) and row.landmarks == 68
        assert sample["uv_texture"].shape == sample["uv_albedo"].shape == (192, 256, 3)
        assert sample["uv_visible"].shape == (192, 256) and sample["uv_visible"].dtype == bool
        assert sample["fit"].shape == (261,)
        assert (row.key, row.identity, row.source) == (before.key, before.identity, before.source)
    given = decode_sample(reader.members(source, source.rows[0]))["landmarks"]
    np.testing.assert_array_equal(samples_of(manifest)[0]["landmarks"], given)


def test_five_points_become_the_68_of_the_fit(tmp_path):
    manifest = projected(tmp_path, [FIVE])
    sample = samples_of(manifest)[0]
    model, atlas = model_and_atlas()
    mesh = reconstruct(fit_from_vector(torch.from_numpy(sample["fit"])[None]), model, atlas, 256, 256)
    expected = mesh.projected[0, model.landmarks, :2]
    torch.testing.assert_close(torch.from_numpy(sample["landmarks"]), expected, atol=0.01, rtol=0)


def test_texture_renders_back_to_the_picture_and_albedo_is_texture_without_shading(tmp_path):
    manifest = projected(tmp_path, [GOOD, GOOD])
    model, atlas = model_and_atlas()
    for sample in samples_of(manifest):
        mesh = reconstruct(fit_from_vector(torch.from_numpy(sample["fit"])[None]), model, atlas, 256, 256)
        texture = torch.from_numpy(sample["uv_texture"]).permute(2, 0, 1)[None] / 255
        visible = torch.from_numpy(sample["uv_visible"])[None, None].float()
        image = torch.from_numpy(sample["image"]).permute(2, 0, 1)[None] / 255
        pixels = (render(visible, mesh.fragments, model) > 0.999).expand_as(image)
        assert pixels.float().mean() > 0.2
        assert (render(texture, mesh.fragments, model) - image)[pixels].square().mean() < 10**-3.6
        albedo = torch.from_numpy(sample["uv_albedo"]).permute(2, 0, 1)[None] / 255
        expected = (texture / mesh.shading).clamp(0, 1)
        seen = (visible > 0).expand_as(albedo)
        assert (albedo - expected)[seen].abs().mean() < 0.01
        assert (mesh.uv_normals[:, 2:][visible > 0] > 0.1).all() and not visible[0, 0][~atlas.face].any()


def test_refused_fits_are_rejected_with_their_reason(tmp_path):
    manifest = projected(tmp_path, [GOOD, NONE, GOOD])
    assert [row.key for row in manifest.rows] == ["drawn/000", "drawn/002"]
    assert [(r.key, r.reason) for r in manifest.rejected] == [
        ("drawn/001", "no landmarks to fit the face by")
    ]


def test_a_damaged_tar_ends_the_command_and_no_rejection_is_kept(tmp_path):
    shards, fits, uv = (str(tmp_path / name) for name in ("shards", "fits", "uv"))
    manifest = write_face_shards(shards, [GOOD] * 2)
    tar = tmp_path / "shards" / manifest.shards[0].url
    fit_dataset(shards, fits, workers=0)
    whole = tar.read_bytes()
    flip_in_picture(manifest, 1, 2000)  # it still decodes
    with pytest.raises(UserError, match=r"000000\.tar: sample drawn/001: .*; run `facefill verify"):
        project_dataset(shards, fits, uv, workers=0)
    tar.unlink()
    with pytest.raises(UserError, match="the tar is absent"):
        project_dataset(shards, fits, uv, workers=0)
    assert not storage.list_files(uv)
    tar.write_bytes(whole)
    assert not project_dataset(shards, fits, uv, workers=0).rejected


def test_an_image_that_cannot_be_decoded_is_rejected_alone(tmp_path):
    manifest = projected(tmp_path, [GOOD, NO_PICTURE])
    assert [kept.key for kept in manifest.rows] == ["drawn/000"]
    assert "image.jpg cannot be read" in manifest.rejected[0].reason


def test_torch_keeps_its_threads_in_the_driver(tmp_path, monkeypatch):
    threads: list[int] = [3]  # what torch would be told, for a machine may have one thread only
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    projected(tmp_path, [GOOD])
    assert threads[-1] == 3 and 1 in threads


def tar_times(tmp_path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted((tmp_path / "uv").glob("*.tar"))]


def test_valid_shards_are_kept_and_a_projection_older_than_its_fit_is_made_again(tmp_path):
    kinds = [GOOD] * 4
    first = projected(tmp_path, kinds)
    times = tar_times(tmp_path)
    assert projected(tmp_path, kinds).digest() == first.digest() and tar_times(tmp_path) == times

    table = tmp_path / "fits" / "drawn-train-000001.parquet"
    changed = tables.read_table(str(table))
    changed[0]["fit"][228] *= 1.01
    task = fit_tasks(load_manifest(str(tmp_path / "shards")), str(table.parent), default_run_model(), "")[1]
    write_fits(task, changed)
    again = project_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), str(tmp_path / "uv"), workers=0)
    assert again.digest() != first.digest()
    assert [now == before for now, before in zip(tar_times(tmp_path), times, strict=True)] == [True, False]


def test_tables_that_are_not_the_fits_of_the_shard_are_refused(tmp_path):
    shards, fits, uv = (str(tmp_path / name) for name in ("shards", "fits", "uv"))
    write_face_shards(shards, [NONE])
    fit_dataset(shards, fits, workers=0)
    [table] = (tmp_path / "fits").glob("*.parquet")
    record = table.with_name(f"{table.name}.json")
    whole, told = table.read_bytes(), record.read_text()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 1
    foreign = json.dumps(json.loads(told) | {"inputs": "of another tar"})
    for data, text in ((spoilt, told), (whole, foreign), (whole, "{"), (whole, "[]")):
        table.write_bytes(data)
        record.write_text(text)
        with pytest.raises(UserError, match="the command that fits the data set again"):
            project_dataset(shards, fits, uv, workers=0)
    record.unlink()
    with pytest.raises(UserError, match="the command that fits the data set again"):
        project_dataset(shards, fits, uv, workers=0)
    by_encoder = json.loads(told)
    by_encoder["inputs"] += f" encoder {'ab' * 32}"
    record.write_text(json.dumps(by_encoder))
    with pytest.raises(UserError, match="none of its pictures can be used"):  # as far as that
        project_dataset(shards, fits, uv, workers=0)


def test_the_same_bytes_from_ray_workers(tmp_path, ray_session):
    first = projected(tmp_path, [GOOD, FIVE, NONE, GOOD], "one")
    second = projected(tmp_path, [], "two", workers=2)
    assert first.digest() == second.digest()
    for path in sorted((tmp_path / "one").glob("*.tar")):
        assert storage.sha256(str(path)) == storage.sha256(str(tmp_path / "two" / path.name))
