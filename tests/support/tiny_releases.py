"""Tiny folders in the layout of the released data sets, with pictures of noise and made-up points."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
HEADER = " ".join(f"{point}_{axis}" for point in POINTS for axis in "xy")
FIVE = np.array([[69, 111], [107, 112], [88, 134], [73, 152], [104, 152]])


def smooth_noise(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A colourful picture without sharp edges."""
    coarse = generator.integers(0, 255, (height // 16 + 2, width // 16 + 2, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_celeba(root: Path, count: int = 12, flat: bool = False) -> Path:
    """CelebA in both variants; the partition repeats 0, 0, 0, 0, 1, 2; two pictures per identity."""
    generator = np.random.default_rng(0)
    pictures, annotations, evaluation = (
        (root, root, root) if flat else (root / "Img", root / "Anno", root / "Eval")
    )
    for folder in (pictures / "img_align_celeba", pictures / "img_celeba", annotations, evaluation):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    aligned, wild = [], []
    for name in names:
        points = FIVE + generator.integers(-2, 3, FIVE.shape)
        smooth_noise(generator, 178, 218).save(pictures / "img_align_celeba" / name, quality=90)
        smooth_noise(generator, 400, 500).save(pictures / "img_celeba" / name, quality=90)
        aligned.append(" ".join([name, *map(str, points.ravel())]))
        wild.append(" ".join([name, *map(str, (points * 2 + 20).ravel())]))
    for variant, rows in (("list_landmarks_align_celeba", aligned), ("list_landmarks_celeba", wild)):
        text = "\n".join([str(count), HEADER, *rows]) + "\n"
        (annotations / f"{variant}.txt").write_text(text)
    pairs = [f"{name} {100 + place // 2}\n" for place, name in enumerate(names)]
    (annotations / "identity_CelebA.txt").write_text("".join(pairs))
    parts = [f"{name} {(0, 0, 0, 0, 1, 2)[place % 6]}\n" for place, name in enumerate(names)]
    (evaluation / "list_eval_partition.txt").write_text("".join(parts))
    return root


def face_68(centre: tuple[float, float], size: float) -> np.ndarray:
    """68 points that lie roughly as in a frontal face; (68, 2)."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(turn), 0.2 + np.sin(turn)], -1)
    brows = np.stack([np.linspace(-0.8, 0.8, 10), np.full(10, -0.5)], -1)
    nose = np.concatenate(
        [
            np.stack([np.zeros(4), np.linspace(-0.3, 0.2, 4)], -1),
            np.stack([np.linspace(-0.2, 0.2, 5), np.full(5, 0.3)], -1),
        ]
    )
    ring = np.linspace(np.pi, -np.pi, 6, endpoint=False)
    eye = np.stack([np.cos(ring), -np.sin(ring)], -1) * 0.15
    lips = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    outer = np.stack([np.cos(lips) * 0.4, 0.65 - np.sin(lips) * 0.15], -1)
    inner = np.linspace(np.pi, -np.pi, 8, endpoint=False)
    mouth = np.concatenate([outer, np.stack([np.cos(inner) * 0.3, 0.65 - np.sin(inner) * 0.08], -1)])
    points = np.concatenate(
        [jaw, brows, nose, eye - np.array([0.4, 0.3]), eye + np.array([0.4, -0.3]), mouth]
    )
    return points * size + np.array(centre)


def write_300w(root: Path, names: tuple[str, ...] = ("AFW_1_1_0", "AFW_1_1_1", "AFW_2_1_0")) -> Path:
    """300W-3D's AFW folder: 450 x 450 pictures with the fields of the released .mat files."""
    generator = np.random.default_rng(1)
    folder = root / "AFW"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        smooth_noise(generator, 450, 450).save(folder / f"{name}.jpg", quality=90)
        scipy.io.savemat(folder / f"{name}.mat", fields_300w(generator))
    return root


def fields_300w(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The fields of one .mat file."""
    return {
        "pt2d": face_68((225, 230), 80).T + 1,
        "roi": np.array([[1, 1, 450, 450]], np.int16),
        "Illum_Para": np.ones((1, 10), np.float32),
        "Color_Para": np.ones((1, 7), np.float32),
        "Tex_Para": np.zeros((199, 1), np.float32),
        "Shape_Para": generator.normal(size=(199, 1)) * 1e5,
        "Exp_Para": generator.normal(size=(29, 1)),
        "Pose_Para": np.array([[-0.1, 0.3, 0.05, 226.0, 221.0, -80.0, 1.2e-3]], np.float32),
    }


def write_celebamask_hq(root: Path, count: int = 4) -> Path:
    """CelebAMask-HQ: 1024 pictures, 512 part files and the mapping, with file numbers of all partitions."""
    generator = np.random.default_rng(2)
    pictures = root / "CelebA-HQ-img"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = ["idx        orig_idx   orig_file"]
    for index in range(count):
        smooth_noise(generator, 1024, 1024).save(pictures / f"{index}.jpg", quality=90)
        number = (5, 170000, 190000, 7)[index % 4]
        rows.append(f"{index:<10} {number - 1:<10} {number:06d}.jpg")
        folder = root / "CelebAMask-HQ-mask-anno" / str(index // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        for part, (top, bottom) in {"skin": (128, 400), "hair": (32, 160), "mouth": (320, 336)}.items():
            mask = np.zeros((512, 512), np.uint8)
            mask[top:bottom, 128:384] = 255
            Image.fromarray(mask).save(folder / f"{index:05d}_{part}.png")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows) + "\n")
    return root
