"""300W-LP's and AFLW2000-3D's own numbers, projected by our camera, land on their own landmarks.

The public basis reaches to 40 of 199 identity and 10 of 29 expression components, at the 68 landmarks. Of
AFLW2000-3D, `pt3d_68` is the fitted model itself, so the missing components must explain what is left. Of
300W-LP, `pt2d` is what people marked: the fit of the data set is off by a few pixels, and by far more on the
jaw, which is marked on the visible contour.
"""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from numpy.typing import NDArray
from PIL import Image

from facefill.geometry.camera import WeakPerspective, project
from facefill.landmarks import MIRROR_68
from pipelines.sources.three_hundred_w import landmarks_of, parameters_of

IDENTITIES, EXPRESSIONS = 40, 10
AFLW2000 = ("00050", "00251", "00475", "00516", "01322", "02420", "02616", "03614")
INNER = slice(17, 68)


def projected_and_missing(annotation: Path, basis: Path) -> tuple[NDArray, NDArray, float]:
    """Projected points (68, 2), the file's landmarks (68, 2), what the missing components move (px rms)."""
    fields = scipy.io.loadmat(annotation)
    height = Image.open(annotation.with_suffix(".jpg")).height
    numbers = parameters_of(fields, height)
    identity, expression = numbers[:199], numbers[199:228]
    mean, shapes, units = (np.loadtxt(basis / f"{name}_base.txt") for name in ("u", "w_shp", "w_exp"))
    points = mean + shapes @ identity[:IDENTITIES] + units @ expression[:EXPRESSIONS]
    pose = torch.tensor(numbers[None, 228:])
    camera = WeakPerspective(pose[:, 0], pose[:, 1:4], pose[:, 4:6])
    seen = project(torch.tensor(points.reshape(1, 68, 3)), camera)[0, :, :2].numpy()
    # columns of either basis have about the same length, so those that are missing move a point as far
    per_point = [np.linalg.norm(columns, axis=0).mean() / np.sqrt(68) for columns in (shapes, units)]
    left_out = np.hypot(
        per_point[0] * np.linalg.norm(identity[IDENTITIES:]),
        per_point[1] * np.linalg.norm(expression[EXPRESSIONS:]),
    )
    in_the_image = np.sqrt(2 / 3)  # two of the three directions
    return seen, landmarks_of(fields), float(left_out * in_the_image * numbers[228])


@pytest.mark.parametrize("number", AFLW2000)
def test_aflw2000_parameters_give_its_own_landmarks_but_for_the_missing_components(
    realdata: Path, number: str
) -> None:
    annotation = realdata / "aflw2000_3d" / "AFLW2000" / f"image{number}.mat"
    seen, marked, missing = projected_and_missing(annotation, realdata / "bfm_3ddfa" / "sparse68")
    off = np.linalg.norm(seen - marked, axis=1)
    print(f"image{number}: {off.mean():.2f} px on average, inner rms {np.sqrt((off[INNER] ** 2).mean()):.2f}")
    assert off.mean() < 1.6
    assert np.sqrt((off[INNER] ** 2).mean()) < 1.8 * missing + 0.2


def test_the_origin_of_pixels_is_right(realdata: Path) -> None:
    away = []
    for number in AFLW2000:
        annotation = realdata / "aflw2000_3d" / "AFLW2000" / f"image{number}.mat"
        seen, marked, _ = projected_and_missing(annotation, realdata / "bfm_3ddfa" / "sparse68")
        away.append(np.median(seen - marked, axis=0))
    assert np.abs(np.median(away, axis=0)).max() < 0.15  # counting from 1, or from the other edge, gives 1


@pytest.mark.parametrize("name", ["AFW/AFW_134212_1_0", "IBUG/IBUG_image_008_1_0", "AFW_Flip/AFW_134212_1_0"])
def test_300w_lp_parameters_lie_on_the_marked_points(realdata: Path, name: str) -> None:
    annotation = realdata / "300w_lp" / f"{name}.mat"
    seen, marked, _ = projected_and_missing(annotation, realdata / "bfm_3ddfa" / "sparse68")
    if "_Flip" in name:  # mirrored copies keep the order of the points of the original
        marked = marked[list(MIRROR_68)]
    off = np.linalg.norm(seen - marked, axis=1)
    print(f"{name}: inner {off[INNER].mean():.2f} px, jaw {off[:17].mean():.2f} px")
    assert off[INNER].mean() < 5.0  # of a face of 165 to 175 px; 0.9 px to 1.8 px for AFLW2000-3D
    assert off[:17].mean() > 2 * off[INNER].mean()  # the jaw is marked on the visible contour
    assert np.abs((seen - marked)[INNER].mean(0)).max() < 1.5
