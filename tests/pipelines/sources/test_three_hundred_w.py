"""300W-3D and AFLW2000-3D: conventions checked against genuine files, refusals against damaged ones."""

import shutil

import numpy as np
import pytest
import scipy.io
from tiny_releases import face_68, fields_300w, write_300w

from facefill.errors import UserError
from pipelines.align import align_parameters, prepare
from pipelines.sources.records import RejectedSample, SourceSettings
from pipelines.sources.three_hundred_w import (
    landmarks_of,
    list_records,
    parameters_of,
    photograph_of,
)

DEFAULT = SourceSettings("300w_3d")


def test_generated_folder(tmp_path):
    listing = list_records(str(write_300w(tmp_path)), DEFAULT)
    assert [record.key for record in listing.records] == [
        "300w_3d/AFW_1_1_0",
        "300w_3d/AFW_1_1_1",
        "300w_3d/AFW_2_1_0",
    ]
    assert "absent: HELEN, IBUG, LFPW" in listing.notes[0]
    sample = listing.records[0].load()
    assert np.allclose(sample.landmarks, face_68((225, 230), 80))
    assert sample.parameters.shape == (234,)
    assert np.allclose(sample.parameters[-6:], [1.2e-3, -0.1, 0.3, 0.05, 225, 450 - 221])


def test_mirrored_copies_are_not_read(tmp_path):
    root = write_300w(tmp_path)
    (root / "AFW").rename(root / "AFW_Flip")
    write_300w(tmp_path, names=("AFW_1_1_0",))
    listing = list_records(str(root), DEFAULT)
    assert [record.key for record in listing.records] == ["300w_3d/AFW_1_1_0"]


def test_turned_views_take_their_own_points_or_none(tmp_path):
    root = write_300w(tmp_path)
    first, turned = (root / "AFW" / f"AFW_1_1_{view}.mat" for view in (0, 1))
    shutil.copy(first, turned)
    listing = list_records(str(root), DEFAULT)
    samples = [record.load() for record in listing.records]
    assert samples[0].landmarks is not None and samples[1].landmarks is None
    assert "1 turned views have no file in landmarks/" in listing.notes[1]

    (root / "landmarks" / "AFW").mkdir(parents=True)
    points = root / "landmarks" / "AFW" / "AFW_1_1_1_pts.mat"
    scipy.io.savemat(points, {"pts_2d": face_68((230, 220), 70) + 1})
    listing = list_records(str(root), DEFAULT)
    assert np.allclose(listing.records[1].load().landmarks, face_68((230, 220), 70))
    assert len(listing.notes) == 1
    scipy.io.savemat(points, {"pts_3d": np.zeros((68, 2))})
    with pytest.raises(RejectedSample, match="pts_2d is missing"):
        listing.records[1].load()


def test_genuine_turned_views_have_the_points_of_another_picture(realdata):
    """So that nobody takes them: the parameters say that the points moved by several pixels."""
    listing = list_records(str(realdata / "300w_lp"), DEFAULT)
    samples = {record.key.split("/")[1]: record.load() for record in listing.records}
    assert samples["AFW_134212_1_1"].landmarks is None
    own, turned = samples["AFW_134212_1_0"], samples["AFW_134212_1_1"]
    model = sparse_model(realdata)
    inner = slice(17, 68)
    moved = projected(turned.parameters, model)[inner] - projected(own.parameters, model)[inner]
    assert np.linalg.norm(moved, axis=1).mean() > 4


def test_views_of_one_photograph_share_a_split():
    assert photograph_of("x/AFW_134212_1_0.jpg") == photograph_of("x/AFW_134212_2_11.jpg") == "AFW_134212"
    assert photograph_of("LFPW_image_test_0001_3.jpg") == "LFPW_image_test_0001"
    assert photograph_of("image00050.jpg") == "image00050"


def test_genuine_subsets(realdata):
    listing = list_records(str(realdata / "300w_lp"), DEFAULT)
    assert [r.key.split("/")[1] for r in listing.records] == [
        "AFW_134212_1_0",
        "AFW_134212_1_1",
        "IBUG_image_008_1_0",
    ]
    test_set = list_records(str(realdata / "aflw2000_3d"), DEFAULT)
    assert len(test_set.records) == 8 and {r.split for r in test_set.records} == {"test"}


def sparse_model(realdata):
    """3DDFA's 68-point basis: mean (204,), shape (204, 40), expression (204, 10)."""
    folder = realdata / "bfm_3ddfa/sparse68"
    mean = np.loadtxt(folder / "u_base.txt").ravel()
    shape = np.loadtxt(folder / "w_shp_base.txt").reshape(204, 40)
    return mean, shape, np.loadtxt(folder / "w_exp_base.txt").reshape(204, 10)


def projected(parameters: np.ndarray, model) -> np.ndarray:
    import torch

    from facefill.geometry.camera import WeakPerspective, project

    mean, shape, expression = model
    vertices = (mean + shape @ parameters[:40] + expression @ parameters[199:209]).reshape(1, 68, 3)
    pose = torch.from_numpy(parameters[-6:])
    camera = WeakPerspective(pose[:1], pose[1:4][None], pose[4:][None])
    return project(torch.from_numpy(vertices), camera)[0, :, :2].numpy()


def test_genuine_cameras_hit_genuine_landmarks_before_and_after_alignment(realdata):
    """The first 50 of 228 coefficients are enough to see a wrong axis, order or half a face of shift."""
    model = sparse_model(realdata)
    for record in list_records(str(realdata / "aflw2000_3d"), DEFAULT).records:
        sample = record.load()
        error = projected(sample.parameters, model) - sample.landmarks
        assert np.linalg.norm(error, axis=1).mean() < 3, record.key
        assert np.abs(error.mean(0)).max() < 1.6
        similarity = np.reshape(prepare(record).similarity, (2, 3))
        aligned = projected(align_parameters(sample.parameters, similarity), model)
        assert np.allclose(
            aligned, projected(sample.parameters, model) @ similarity[:, :2].T + similarity[:, 2]
        )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Shape_Para", None, "Shape_Para is missing"),
        ("Shape_Para", np.zeros((199, 2)), r"Shape_Para has shape \(199, 2\)"),
        ("Exp_Para", np.full((29, 1), np.nan), "Exp_Para holds NaN"),
        ("Pose_Para", np.zeros((1, 7)), "scale is 0"),
        ("pt2d", np.zeros((2, 21)), r"pt2d has shape \(2, 21\), expected \(2, 68\)"),
        ("pt2d", np.full((2, 68), np.inf), "pt2d holds NaN or infinite"),
        ("Exp_Para", np.array([["a"] * 29]).T, "Exp_Para does not hold numbers"),
    ],
)
def test_damaged_fields_are_rejected_by_name(name, value, reason):
    fields = fields_300w(np.random.default_rng(0))
    if value is None:
        del fields[name]
    else:
        fields[name] = value
    with pytest.raises(RejectedSample, match=reason):
        landmarks_of(fields)
        parameters_of(fields, 450)


def test_damaged_files_are_rejected(tmp_path):
    root = write_300w(tmp_path)
    annotation = root / "AFW/AFW_1_1_0.mat"
    whole = annotation.read_bytes()
    annotation.write_bytes(whole[: len(whole) // 2])
    (root / "AFW/AFW_1_1_1.mat").unlink()
    jpeg = root / "AFW/AFW_2_1_0.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:900])
    listing = list_records(str(root), DEFAULT)
    assert [(r.key, r.reason) for r in listing.rejected] == [("300w_3d/AFW_1_1_1", "AFW_1_1_1.mat is absent")]
    with pytest.raises(RejectedSample, match=r"AFW_1_1_0\.mat is not a \.mat file"):
        listing.records[0].load()
    annotation.write_text("\n<!DOCTYPE html><html>")
    with pytest.raises(RejectedSample, match=r"AFW_1_1_0\.mat is a web page, not a \.mat file"):
        listing.records[0].load()
    with pytest.raises(RejectedSample, match=r"AFW_2_1_0\.jpg: a truncated JPEG"):
        listing.records[1].load()


def test_an_empty_root_names_the_folders(tmp_path):
    with pytest.raises(UserError, match="expected folders AFW, HELEN, IBUG, LFPW"):
        list_records(str(tmp_path), DEFAULT)


def test_uint8_coefficients_of_a_genuine_file_are_numbers(realdata):
    fields = scipy.io.loadmat(realdata / "aflw2000_3d/AFLW2000/image00516.mat")
    assert fields["Exp_Para"].dtype == np.uint8
    assert (parameters_of(fields, 450)[199:228] == 0).all()


def test_300w_3d_names_without_their_subset_do_not_meet_and_capitals_are_read(tmp_path):
    root = write_300w(tmp_path, names=("image_003_1", "AFW_2_1_0"))
    (root / "IBUG").mkdir()
    for ending, new in (("jpg", "JPG"), ("mat", "MAT")):
        (root / f"AFW/AFW_2_1_0.{ending}").rename(root / f"AFW/AFW_2_1_0.{new}")
        (root / f"IBUG/image_003_1.{ending}").write_bytes((root / f"AFW/image_003_1.{ending}").read_bytes())
    (root / "IBUG/image_004_1.mat").write_bytes(b"")
    listing = list_records(str(root), DEFAULT)
    assert [record.key for record in listing.records] == [
        "300w_3d/AFW_2_1_0",
        "300w_3d/AFW_image_003_1",
        "300w_3d/IBUG_image_003_1",
    ]
    assert listing.records[0].load().landmarks.shape == (68, 2)
    assert any("1 .mat files have no picture, first image_004_1.mat" in note for note in listing.notes)
