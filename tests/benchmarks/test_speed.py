"""The speed benchmark end to end: every way to call it, every row of its tables; no time is judged."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import speed_job, speed_maps, speed_projection, speed_rasterizers
from benchmarks.faces import drawn_faces
from benchmarks.meshes import posed
from benchmarks.peers import load_peers
from benchmarks.speed_networks import decoding_cases
from benchmarks.timing import Case, measured
from benchmarks.usual_stack import plain_barycentrics, plain_depth
from facefill.geometry.default_model import default_model
from facefill.geometry.rasterizer import rasterize
from facefill.samples import decode_jpeg
from pipelines.project_uv import project, project_dataset

ROOT = Path(__file__).resolve().parents[2]


def rows_of(cases: list[Case]) -> list[str]:
    """The names in the table of the cases, timed once."""
    return [line.split(" | ")[1] for line in measured(cases, 1).splitlines()[2:]]


@pytest.mark.parametrize(
    "command", [["-m", "benchmarks", "speed"], ["-m", "benchmarks.speed"], ["benchmarks/speed.py"]]
)
def test_every_way_to_call_it(command: list[str]) -> None:
    called = [sys.executable, *command, "geometry", "--rounds", "0"]
    done = subprocess.run(called, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "benchmarks: --rounds, --threads and --faces count from 1: give a number above 0\n"


def test_weights_that_are_not_there() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "speed",
        "networks",
        "--weights",
        "nowhere",
        "--rounds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("benchmarks: weights nowhere")
    assert len(done.stderr.splitlines()) == 1


def test_rasterizers() -> None:
    model = default_model()
    mesh = posed("head", model.mean, model.triangles, 48, 2)
    peers = load_peers(None)
    rows = rows_of([*speed_rasterizers.z_buffer_cases(mesh, peers), *speed_rasterizers.gradient_cases(mesh)])
    assert rows == [
        "ours, compiled: ids, barycentrics, depth",
        "ours, compiled: ids",
        "ours, plain torch: ids",
        "ours",
        "plain torch z-buffer and barycentrics",
    ]
    assert "plain torch 100.000 %" in speed_rasterizers.agreement([mesh], peers)


def test_plain_torch_finds_what_ours_finds() -> None:
    model = default_model()
    mesh = posed("head", model.mean, model.triangles, 48, 2)
    ours = rasterize(mesh.projected, mesh.triangles, 48, 48)
    seen = ours.triangle >= 0
    plain = plain_barycentrics(ours.triangle, mesh.projected, mesh.triangles)
    assert (plain - ours.barycentric).abs().max() < 0.01
    depth = plain_depth(ours.triangle[0], mesh.projected[0], mesh.triangles)
    assert (depth - ours.depth[0])[seen[0]].abs().max() < 20  # micrometres


def test_both_gradients_are_the_same() -> None:
    model = default_model()
    torch.manual_seed(0)
    ours, plain = speed_rasterizers.gradient_cases(posed("head", model.mean, model.triangles, 48, 2))
    own, theirs = ours.run(), plain.run()
    assert isinstance(own, torch.Tensor) and isinstance(theirs, torch.Tensor)
    assert torch.linalg.vector_norm(own - theirs) < 0.05 * torch.linalg.vector_norm(own)


def test_maps() -> None:
    with torch.no_grad():
        cases = [
            *speed_maps.basis_cases(vertex_count=10, count=2),
            *speed_maps.resampling_cases(1),
            *speed_maps.fitting_cases(drawn_faces(1)),
        ]
        assert len(rows_of(cases)) == 3 + 6 + 2


def test_linear_model_is_the_same_in_every_way() -> None:
    batch, halved, single = (case.run() for case in speed_maps.basis_cases(vertex_count=50, count=3))
    assert isinstance(batch, torch.Tensor) and isinstance(halved, torch.Tensor) and isinstance(single, list)
    assert torch.allclose(torch.stack(single).view_as(batch), batch, atol=1e-3)
    assert (halved - batch).abs().max() < 0.5


def test_projection() -> None:
    rows = rows_of(speed_projection.projection_cases(default_model(), load_peers(None), count=2))
    assert rows[:2] == ["ours", "usual stack with a torch z-buffer, 11,680 vertices"]
    assert "decode" in rows and "encode three PNG" in rows and "basis" in rows
    assert len(rows) == 2 + 4 + 8


def test_usual_stack_makes_the_same_maps() -> None:
    import cv2
    import numpy as np

    model = default_model()
    stored = speed_projection.stored_faces(1, model)
    image, faces = speed_projection.decoded(stored), stored.faces
    maps = project(image, stored.vectors, model, faces.atlas)
    geometry = speed_projection.geometry_of(load_peers(None), model.triangles)
    stack = speed_projection.usual_stack(model, faces.atlas, *geometry)
    fit = speed_projection.single_fits(stored.vectors)[0]
    made = speed_projection.project_usually(stack, stored.members[0]["image.jpg"], fit, 256)
    decoded = {
        name: np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
        for name, data in made.items()
    }
    seen = maps["uv_visible"][0] & (decoded["visible.png"][..., 0] > 0)
    assert seen.mean() > 0.9 * maps["uv_visible"][0].mean()
    for name in ("texture", "albedo"):
        difference = maps[f"uv_{name}"][0].astype(float) - decoded[f"{name}.png"]
        assert np.abs(difference[seen]).mean() < 2  # of 255


def test_sets_of_the_job_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_job, "DISTINCT", 2)
    manifest = speed_job.write_faces(tmp_path / "set", 3, 2)
    speed_job.write_fits(manifest)
    projected = project_dataset(manifest.folder, speed_job.fits_of(manifest), str(tmp_path / "uv"), workers=0)
    assert len(manifest.shards) == 2
    assert [row.key for row in projected.rows] == [speed_job.key_of(number) for number in range(3)]
    assert projected.rejected == ()


@pytest.mark.usefixtures("ray_session")
def test_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_job, "DISTINCT", 2)
    monkeypatch.setattr(speed_job, "REPETITIONS", 1)
    lines = speed_job.measure_job(4).splitlines()
    assert lines[0].startswith("Ray's start took ")
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]]
    assert names == [
        "project, hardly more than the start",
        "project shards",
        "fit, hardly more than the start",
        "fit shards",
    ]


def test_decoding() -> None:
    assert rows_of(decoding_cases()) == ["simplejpeg", "OpenCV", "Pillow"]


def test_pictures_are_about_as_long_as_photographs() -> None:
    stored = speed_projection.stored_faces(2, default_model())
    for members in stored.members:
        assert 20_000 < len(members["image.jpg"]) < 40_000
        assert decode_jpeg(members["image.jpg"]).shape == (256, 256, 3)


def test_job_is_judged_by_wall_time() -> None:
    fast = speed_job.Pace("fast", 500, 1.0, 250)
    slow = speed_job.Pace("slow", 500, 4.0, 250)
    free = speed_job.Pace("free", 500, 4.0, None)
    assert speed_job.table([fast, slow, free]).splitlines()[2:] == [
        "| fast | 500 | 1.0 | 500 | ≥ 250 faces/s | yes |",
        "| slow | 500 | 4.0 | 125 | ≥ 250 faces/s | **no** |",
        "| free | 500 | 4.0 | 125 |  |  |",
    ]
