"""Layouts: each file has the fields, types and conventions of its release."""

import io

import numpy as np
import pytest
import scipy.io
import torch

from facefill.face_parsing import CELEBAMASK_PARTS
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import vertices_from_coefficients
from facefill.landmarks import five_from_68
from facefill.synthetic import celeba, celebamask_hq, parts, three_hundred_w
from facefill.synthetic.head import Head
from facefill.synthetic.render import Portrait, Sitter
from facefill.synthetic.scene import Scene


def test_part_codes_are_the_releases_labels() -> None:
    codes = {
        "background": parts.BACKGROUND, "skin": parts.SKIN, "nose": parts.NOSE, "eye_g": parts.GLASSES,
        "l_eye": parts.LEFT_EYE, "r_eye": parts.RIGHT_EYE, "l_brow": parts.LEFT_BROW,
        "r_brow": parts.RIGHT_BROW,
        "l_ear": parts.LEFT_EAR, "r_ear": parts.RIGHT_EAR, "mouth": parts.MOUTH, "u_lip": parts.UPPER_LIP,
        "l_lip": parts.LOWER_LIP, "hair": parts.HAIR, "hat": parts.HAT, "ear_r": parts.EARRING,
        "neck_l": parts.NECKLACE, "neck": parts.NECK, "cloth": parts.CLOTH,
    }  # fmt: skip
    assert tuple(sorted(codes, key=codes.__getitem__)) == CELEBAMASK_PARTS


def test_mat_fields_and_projection(sitter: Sitter, scene: Scene, portrait: Portrait) -> None:
    """What a reader of the release computes from the .mat lands on pt2d."""
    stored = scipy.io.loadmat(
        io.BytesIO(three_hundred_w.mat_file(three_hundred_w.fields_of(sitter, scene, portrait)))
    )
    kinds = {
        "pt2d": ((2, 68), "float64"), "roi": ((1, 4), "int16"), "Illum_Para": ((1, 10), "float64"),
        "Color_Para": ((1, 7), "float32"), "Tex_Para": ((199, 1), "float64"),
        "Shape_Para": ((199, 1), "float64"),
        "Exp_Para": ((29, 1), "float64"), "Pose_Para": ((1, 7), "float32"),
    }  # fmt: skip
    fields = {name: value for name, value in stored.items() if not name.startswith("__")}
    assert {name: (value.shape, str(value.dtype)) for name, value in fields.items()} == kinds
    assert stored["__header__"].startswith(b"MATLAB 5.0 MAT-file")

    model = default_model()
    identity = torch.from_numpy(fields["Shape_Para"].T / model.identity_sigma.numpy()).float()
    expression = torch.from_numpy(fields["Exp_Para"].T / model.expression_sigma.numpy()).float()
    vertices = vertices_from_coefficients(model, identity, expression)[:, model.landmarks]
    pitch, yaw, roll, x, y, _, scale = fields["Pose_Para"][0].tolist()
    camera = WeakPerspective(torch.tensor([scale]), torch.tensor([[pitch, yaw, roll]]), torch.zeros(1, 2))
    centred = project(vertices, camera)[0].numpy()  # row grows downwards from the projected origin
    column, row = x + centred[:, 0], portrait.picture.shape[0] + 1 - (y - centred[:, 1])
    assert np.abs(np.stack((column, row)) - fields["pt2d"]).max() < 0.02


def test_the_mat_file_has_no_date() -> None:
    fields = {"pt2d": np.zeros((2, 68))}
    assert three_hundred_w.mat_file(fields) == three_hundred_w.mat_file(fields)


def test_all_subsets_occur_in_the_released_proportions() -> None:
    plan = three_hundred_w.ThreeHundredWPlan(0, 400, 4)
    paths = [plan.path_of(number) for number in range(400)]
    assert len(set(paths)) == 400
    subsets = [path.split("/")[0] for path in paths]
    assert set(subsets[:4]) == {"AFW", "HELEN", "IBUG", "LFPW"}
    assert 0.5 < subsets.count("HELEN") / 400 < 0.7


def test_celeba_partition_keeps_people_apart_and_numbers_in_order() -> None:
    plan = celeba.CelebaPlan(0, 200, 4)
    split = [plan.part_of(plan.identity_of(number)) for number in range(1, 201)]
    assert split == sorted(split) and set(split) == {0, 1, 2}
    for identity in range(plan.identities):
        numbers = plan.numbers_of(identity)
        assert len(numbers) == 4 and all(plan.identity_of(number) == identity for number in numbers)
    gaps = np.diff([plan.numbers_of(identity) for identity in range(20)])
    assert (gaps > 1).mean() > 0.5, "a person's pictures are scattered"


@pytest.mark.parametrize(("pictures", "parts_there"), [(1, {0}), (8, {0}), (12, {0, 1, 2})])
def test_small_plans_have_the_parts_that_they_can(pictures: int, parts_there: set[int]) -> None:
    plan = celeba.CelebaPlan(0, pictures, 4)
    assert {plan.part_of(identity) for identity in range(plan.identities)} == parts_there


def test_aligned_similarity_puts_eyes_and_mouth_in_place(portrait: Portrait) -> None:
    five = five_from_68(portrait.landmarks)
    similarity = celeba.aligned_similarity(five)
    moved = five[[0, 1, 3, 4]] @ similarity[:, :2].T + similarity[:, 2]
    assert np.abs(moved - celeba.ALIGNED_POINTS).mean() < 3
    linear = similarity[:, :2]
    assert np.allclose(linear @ linear.T, np.eye(2) * np.linalg.det(linear)), "no shear, no mirror"


def test_celeba_lists_have_the_releases_shape(sitter: Sitter, head: Head) -> None:
    plan = celeba.CelebaPlan(0, 4, 4)
    rows = [celeba.row_of(plan, number, sitter, head) for number in (1, 2)]
    files = {file.path: file.content.decode() for file in celeba.annotations(rows)}
    for name, columns in (
        ("list_landmarks_celeba", 10), ("list_landmarks_align_celeba", 10), ("list_bbox_celeba", 4),
        ("list_attr_celeba", 40),
    ):  # fmt: skip
        lines = files[f"celeba/Anno/{name}.txt"].splitlines()
        assert lines[0] == "2" and len(lines) == 4
        header = lines[1].split()
        assert len(header) == (columns + 1 if name == "list_bbox_celeba" else columns)
        assert [line.split()[0] for line in lines[2:]] == ["000001.jpg", "000002.jpg"]
        assert all(len(line.split()) == columns + 1 for line in lines[2:])
    assert files["celeba/Eval/list_eval_partition.txt"].splitlines()[0].split()[0] == "000001.jpg"
    csv = files["celeba/landmarks68.csv"].splitlines()
    assert csv[0].startswith("image_id,detected,x0,y0,x1,y1") and len(csv[1].split(",")) == 2 + 136


def test_mapping_has_the_releases_columns() -> None:
    row = celebamask_hq.CelebaMaskHqRow(0, 119614, 1.0, 2.0, 3.0, [1] * 40)
    files = {file.path: file.content.decode() for file in celebamask_hq.annotations([row])}
    lines = files["celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt"].splitlines()
    assert lines[0] == "idx        orig_idx   orig_file"
    assert lines[1] == "0          119613     119614.jpg"
    assert files["celebamask_hq/CelebAMask-HQ-pose-anno.txt"].splitlines()[:2] == ["1", "Yaw Pitch Raw"]


def test_skin_mask_covers_what_lies_on_it_and_absent_parts_are_absent(portrait: Portrait) -> None:
    masks = celebamask_hq.part_masks(np.kron(portrait.labels[:256, :256], np.ones((2, 2), np.uint8)))
    assert "eye_g" not in masks and "hat" not in masks and "background" not in masks
    for mask in masks.values():
        assert mask.shape == (512, 512) and set(np.unique(mask)) == {0, 255}
    for part in ("nose", "l_eye", "r_eye", "l_brow", "u_lip", "l_lip"):
        assert (masks["skin"][masks[part] > 0] == 255).all()
    for part in ("hair", "neck", "cloth"):
        assert (masks["skin"][masks[part] > 0] == 0).all()
