"""Files in the layouts of the Basel Face Model 2009 and of 3DDFA, with smooth made-up bases."""

from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

ORIGINAL_VERTICES, VERTICES = 53490, 53215
IDENTITIES, EXPRESSIONS, COLOURS = 6, 4, 3


def waves(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """Smooth orthonormal columns (3V, count) over points (V, 3) µm."""
    rng = np.random.default_rng(seed)
    directions, phases = rng.normal(size=(count, 3, 3)), rng.uniform(0, 6, (count, 3))
    fields = np.sin(np.einsum("vd,kcd->kvc", points / 8e4, directions) + phases[:, None])
    return np.linalg.qr(fields.reshape(count, -1).T)[0]


def basel_mean(pieces: Path) -> NDArray[np.float64]:
    """The genuine mean face (53215, 3) µm of the samples in `pieces`."""
    return np.load(pieces / "u_shp.npy").reshape(-1, 3).astype(np.float64)


def write_original(folder: Path, pieces: Path) -> dict[str, NDArray]:
    """01_MorphableModel.mat, BFM_exp_idx.mat, tri.mat and Model_Expression.mat; returns what they hold."""
    trim = scipy.io.loadmat(pieces / "deep3d" / "BFM_exp_idx.mat")["trimIndex"].ravel().astype(int) - 1
    points = np.zeros((ORIGINAL_VERTICES, 3))
    points[trim] = basel_mean(pieces)
    identity, colour = waves(points, IDENTITIES, 1), waves(points, COLOURS, 2)
    colours = np.full((ORIGINAL_VERTICES, 3), [180.0, 130.0, 110.0])
    colours[trim, 0] += points[trim, 1] / 4e3
    fields = {
        "shapeMU": points.reshape(-1, 1).astype(np.float32),
        "shapePC": identity.astype(np.float32),
        "shapeEV": np.linspace(9e5, 2e5, IDENTITIES)[:, None].astype(np.float32),
        "texMU": colours.reshape(-1, 1).astype(np.float32),
        "texPC": colour.astype(np.float32),
        "texEV": np.linspace(4e3, 2e3, COLOURS)[:, None].astype(np.float32),
    }
    scipy.io.savemat(folder / "01_MorphableModel.mat", fields)
    (folder / "BFM_exp_idx.mat").write_bytes((pieces / "deep3d" / "BFM_exp_idx.mat").read_bytes())
    (folder / "tri.mat").write_bytes((pieces / "tri.mat").read_bytes())
    return fields | write_expression(folder, pieces) | {"trim": trim}


def write_expression(folder: Path, pieces: Path) -> dict[str, NDArray]:
    """Model_Expression.mat; returns what it holds."""
    points = basel_mean(pieces)
    fields = {
        "mu_exp": (waves(points, 1, 3) * 2e4).astype(np.float32),
        "w_exp": (waves(points, EXPRESSIONS, 4) * 4e5).astype(np.float32),
        "sigma_exp": np.array([[1.5], [1.4], [0.5], [0.4]]),
    }
    scipy.io.savemat(folder / "Model_Expression.mat", fields)
    return fields


def write_trimmed(folder: Path, pieces: Path) -> dict[str, NDArray]:
    """Model_Shape.mat and Model_Expression.mat as 3DDFA has them; returns what they hold."""
    points = basel_mean(pieces)
    keypoints = np.load(pieces / "keypoints_sim.npy")[::3] // 3 + 1
    fields = {
        "mu_shape": points.reshape(-1, 1).astype(np.float32),
        "w": waves(points, IDENTITIES, 1).astype(np.float32),
        "sigma": np.linspace(9e5, 2e5, IDENTITIES)[:, None],
        "tri": scipy.io.loadmat(pieces / "tri.mat")["tri"],
        "keypoints": keypoints[None].astype(np.uint16),
        "tex": np.full((3, VERTICES), 128.0, dtype=np.float32),
    }
    scipy.io.savemat(folder / "Model_Shape.mat", fields)
    return fields | write_expression(folder, pieces)


def write_principal(folder: Path, pieces: Path, count: int = 79) -> NDArray[np.float32]:
    """Exp_Pca.bin and std_exp.txt; returns the first components (29, 53215, 3)."""
    basis = np.zeros((count, VERTICES * 3), dtype=np.float32)
    basis[:8] = waves(basel_mean(pieces), 8, 5).T
    with (folder / "Exp_Pca.bin").open("wb") as stream:
        np.array([count], np.int32).tofile(stream)
        np.full(VERTICES * 3, 7.0, np.float32).tofile(stream)
        basis.tofile(stream)
    (folder / "std_exp.txt").write_text((pieces / "deep3d" / "std_exp.txt").read_text())
    return basis[:29].reshape(29, VERTICES, 3)
