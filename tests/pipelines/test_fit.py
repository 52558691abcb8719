"""Fits of a shard set: what they hold, what is refused and why, what is kept, what makes them stale."""

import dataclasses

import numpy as np
import psutil
import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.photometric_rows import photometric_rows
from facefill.geometry.reconstruction import fit_from_vector, reconstruct
from pipelines import fit, shard_reader, storage, tables
from pipelines.fit import COLUMNS, fit_dataset, fit_from_parameters
from pipelines.manifest import Manifest
from pipelines.rows import Row
from pipelines.run_model import default_run_model, published
from pipelines.verify import remove_damaged, verify_set
from tests.support.face_shards import (
    FIVE,
    GOOD,
    HALF_KNOWN,
    NO_PICTURE,
    NONE,
    SCATTERED,
    UPSIDE_DOWN,
    drawn,
    flip_in_picture,
    parameters_of,
    write_face_shards,
)
from tests.support.faces import degrees_between, model_and_atlas
from tests.support.small_model import small_model_and_atlas


def rows_below(folder) -> list[dict]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in tables.read_table(str(path))]


def test_fits_sit_on_the_drawn_faces(tmp_path):
    write_face_shards(str(tmp_path / "shards"), [GOOD] * 4)
    outcome = fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), workers=0)
    rows = rows_below(tmp_path / "fits")
    assert [row["key"] for row in rows] == [f"drawn/{place:03d}" for place in range(4)]
    assert set(rows[0]) == set(COLUMNS) and outcome["fits"] == 4 and outcome["rejected"] == 0
    model, atlas = model_and_atlas()
    found = fit_from_vector(torch.tensor([row["fit"] for row in rows], dtype=torch.float32))
    true = fit_from_vector(drawn()["fit"])
    assert degrees_between(found.camera.rotation, true.camera.rotation).mean() < 3
    mesh = reconstruct(found, model, atlas, 256, 256)
    distance = torch.linalg.vector_norm(mesh.projected[:, model.landmarks, :2] - drawn()["landmarks"], dim=2)
    assert distance[:, 17:].mean() < 0.7
    assert np.mean([row["landmark_px"] for row in rows]) == pytest.approx(outcome["landmark_px"])
    assert max(row["photometric"] for row in rows) < 0.06


def test_what_cannot_be_fitted_is_refused_with_its_reason(tmp_path):
    kinds = [GOOD, NONE, SCATTERED, HALF_KNOWN, UPSIDE_DOWN, FIVE]
    write_face_shards(str(tmp_path / "shards"), kinds)
    outcome = fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), workers=0)
    reasons = [row["reason"] for row in rows_below(tmp_path / "fits")]
    assert reasons[0] == reasons[5] == ""
    assert reasons[1] == reasons[3] == "no landmarks to fit the face by"
    assert "not those of a face" in reasons[2]
    assert reasons[4]
    assert (outcome["fits"], outcome["rejected"]) == (2, 4)
    assert [row["fit"] == [] for row in rows_below(tmp_path / "fits")] == [bool(reason) for reason in reasons]


def test_an_unreadable_member_is_one_refused_row(tmp_path):
    write_face_shards(str(tmp_path / "shards"), [GOOD, NO_PICTURE, GOOD])
    outcome = fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), workers=0)
    assert (outcome["fits"], outcome["rejected"]) == (2, 1)
    assert "image.jpg cannot be read" in rows_below(tmp_path / "fits")[1]["reason"]


def test_stored_parameters_of_the_same_model_give_shape_and_pose(tmp_path):
    write_face_shards(str(tmp_path / "shards"), [GOOD] * 2, with_parameters=True)
    name = default_model().name
    fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), name, workers=0)
    vectors = torch.tensor([row["fit"] for row in rows_below(tmp_path / "fits")], dtype=torch.float32)
    torch.testing.assert_close(vectors[:, :234], drawn()["fit"][:2, :234], rtol=1e-4, atol=1e-4)
    assert (vectors[:, 234:].abs().sum(1) > 0).all() and parameters_of(0).shape == (234,)


def test_parameters_of_another_model_are_left_aside_and_that_is_said(tmp_path):
    shards = str(tmp_path / "shards")
    write_face_shards(shards, [GOOD] * 2, with_parameters=True)
    outcome = fit_dataset(shards, str(tmp_path / "a"), "bfm2009", workers=0)
    assert "stored parameters of bfm2009 left aside for facefill-head-cc0" in outcome["summary"]
    without = fit_dataset(shards, str(tmp_path / "b"), workers=0)
    assert "left aside" not in without["summary"] and outcome["digest"] == without["digest"]


def test_components_that_the_model_lacks_have_no_share_in_stored_parameters():
    model, _ = small_model_and_atlas()
    sigma = model.identity_sigma.clone()
    sigma[100:] = 0
    model = dataclasses.replace(model, identity_sigma=sigma)
    parameters = torch.full((1, 234), 5e3)
    fit = fit_from_parameters(parameters, model)
    assert (fit.identity[0, :100] == 2).all() and (fit.identity[0, 100:] == 0).all()
    assert fit.expression.isfinite().all()


def test_valid_tables_are_kept_and_others_made_again(tmp_path, monkeypatch):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    write_face_shards(shards, [GOOD] * 4)
    first = fit_dataset(shards, fits, workers=0)
    tables_at = sorted((tmp_path / "fits").glob("*.parquet"))
    times = [path.stat().st_mtime_ns for path in tables_at]
    assert fit_dataset(shards, fits, workers=0) == first
    assert [path.stat().st_mtime_ns for path in tables_at] == times

    tables_at[1].write_bytes(b"cut off")
    assert fit_dataset(shards, fits, workers=0)["digest"] == first["digest"]
    assert tables_at[0].stat().st_mtime_ns == times[0] and tables_at[1].stat().st_mtime_ns != times[1]

    other = published(small_model_and_atlas()[0], "saved", str(tmp_path))
    with_other = fit_dataset(shards, fits, model=other, workers=0)
    assert tables_at[0].stat().st_mtime_ns != times[0] and with_other["digest"] != first["digest"]


def test_ray_workers_write_the_same_bytes(tmp_path, ray_session):
    shards = str(tmp_path / "shards")
    write_face_shards(shards, [GOOD, FIVE, NONE, GOOD])
    outcomes = [
        fit_dataset(shards, str(tmp_path / place), workers=workers) for place, workers in (("a", 0), ("b", 2))
    ]
    assert outcomes[0] == outcomes[1]
    for table in sorted((tmp_path / "a").glob("*.parquet")):
        assert storage.sha256(str(table)) == storage.sha256(str(tmp_path / "b" / table.name))


def test_progress_counts_pictures_within_a_shard(tmp_path):
    seen: list[tuple[int, int]] = []
    write_face_shards(str(tmp_path / "shards"), [NONE] * 13, per_shard=10)
    fit_dataset(
        str(tmp_path / "shards"),
        str(tmp_path / "fits"),
        workers=0,
        on_progress=lambda done, total, _: seen.append((done, total)),
    )
    assert seen == [(done, 13) for done in range(1, 14)]


def test_model_and_atlas_are_made_once_per_process():
    geometry = fit.geometry_of(default_run_model())
    assert fit.geometry_of(default_run_model()) is geometry
    rows = photometric_rows(*geometry)
    assert photometric_rows(*fit.geometry_of(default_run_model())) is rows


def test_shards_of_a_remote_storage(tmp_path):
    write_face_shards("memory://fits/shards", [GOOD, FIVE])
    write_face_shards(str(tmp_path / "shards"), [GOOD, FIVE])
    remote = fit_dataset("memory://fits/shards", "memory://fits/fits", workers=0)
    assert remote == fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), workers=0)


def test_a_killed_worker_is_replaced_and_the_bytes_are_the_same(tmp_path, ray_session):
    shards = str(tmp_path / "shards")
    write_face_shards(shards, [GOOD] * 8, per_shard=2)
    undisturbed = fit_dataset(shards, str(tmp_path / "a"), workers=0)
    killed: list[int] = []

    def kill_once(done: int, total: int, left: float) -> None:
        at_work = (child for child in psutil.Process().children(recursive=True) if at_a_fit(child))
        if not killed and (victim := next(at_work, None)) is not None:
            killed.append(victim.pid)
            victim.kill()

    assert fit_dataset(shards, str(tmp_path / "b"), workers=2, on_progress=kill_once) == undisturbed
    assert killed


def at_a_fit(process: psutil.Process) -> bool:
    try:
        return "".join(process.cmdline()).startswith(("ray::fit", "ray::_Worker"))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def test_a_damaged_tar_ends_the_command_and_no_refusal_is_kept(tmp_path):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    manifest = write_face_shards(shards, [GOOD] * 2)
    tar = tmp_path / "shards" / manifest.shards[0].url
    whole = tar.read_bytes()
    tar.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="--remove-damaged"):
        fit_dataset(shards, fits, workers=0)
    tar.unlink()
    with pytest.raises(UserError, match="the tar is absent"):
        fit_dataset(shards, fits, workers=0)
    tar.write_bytes(whole)
    assert fit_dataset(shards, fits, workers=0)["rejected"] == 0


@pytest.mark.parametrize("byte", [0, 2000])  # the second still decodes
def test_a_flipped_bit_costs_no_face(tmp_path, byte):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    manifest = write_face_shards(shards, [NONE, GOOD], per_shard=1)
    undisturbed = fit_dataset(shards, str(tmp_path / "undisturbed"), workers=0)
    flip_in_picture(manifest, 1, byte)
    with pytest.raises(UserError, match=r"train-000001\.tar: sample drawn/001: .*; run `facefill verify"):
        fit_dataset(shards, fits, workers=0)
    assert [file.name for file in (tmp_path / "fits").glob("*.json")] == ["drawn-train-000000.parquet.json"]
    remove_damaged(verify_set(shards, workers=0))
    write_face_shards(shards, [NONE, GOOD], per_shard=1)
    assert fit_dataset(shards, fits, workers=0) == undisturbed
    for file in (tmp_path / "undisturbed").iterdir():
        assert (tmp_path / "fits" / file.name).read_bytes() == file.read_bytes()


def test_a_storage_that_does_not_answer_refuses_no_picture(tmp_path, monkeypatch):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    write_face_shards(shards, [GOOD])

    def no_answer(manifest: Manifest, row: Row) -> None:
        raise UserError(f"{manifest.shard_url(row)}: the storage does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(shard_reader, "_descriptor", no_answer)
        with pytest.raises(UserError, match="does not answer"):
            fit_dataset(shards, fits, workers=0)
    assert fit_dataset(shards, fits, workers=0)["rejected"] == 0


def test_torch_keeps_its_threads_in_the_driver(tmp_path, monkeypatch):
    threads: list[int] = [3]  # what torch would be told, for a machine may have one thread only
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    write_face_shards(str(tmp_path / "shards"), [NONE])
    fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), workers=0)
    assert threads == [3, 1, 3]
    with pytest.raises(RuntimeError), fit.one_thread():
        raise RuntimeError
    assert threads[-1] == 3
