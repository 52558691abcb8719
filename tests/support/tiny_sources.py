"""Tiny folders of the data sets that come without lists: photographs, Multi-PIE, FFHQ, UV textures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_releases import face_68, smooth_noise


def write_photograph(path: Path, width: int = 160, height: int = 200) -> Path:
    """One picture; its folder is made. The name decides the format and the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(list(path.name.encode("utf-8", "surrogateescape")))
    smooth_noise(generator, width, height).save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")
    return path


def write_csv(path: Path, rows: dict[str, tuple[np.ndarray, int]]) -> Path:
    """The csv of 68 points: name -> ((68, 2), detected)."""
    lines = [",".join(["image_id", "detected", *(f"{axis}{point}" for point in range(68) for axis in "xy")])]
    for name, (points, detected) in rows.items():
        quoted = f'"{name}"' if "," in name else name
        lines.append(",".join([quoted, str(detected), *map(str, points.ravel())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_multipie(root: Path, names: tuple[str, ...]) -> Path:
    """Pictures under the release's path scheme: PPP_SS_RR_CCc_LL."""
    for name in names:
        person, session, recording, camera, _ = name.split("_")
        folder = root / f"data/session{session}/multiview/{person}/{recording}/{camera[:2]}_{camera[2]}"
        write_photograph(folder / f"{name}.png", 64, 48)
    return root


def write_ffhq(root: Path, numbers: tuple[int, ...], size: int = 128) -> Path:
    """Pictures of one size and the annotations, whose pixels are those of 1024 x 1024."""
    folder = root / ("images1024x1024" if size == 1024 else f"thumbnails{size}x{size}")
    entries = {}
    for number in numbers:
        name = f"{number // 1000 * 1000:05d}/{number:05d}.png"
        write_photograph(folder / name, size, size)
        category = "validation" if number >= 60000 else "training"
        image = {"file_path": f"images1024x1024/{name}", "face_landmarks": face_68((512, 560), 280).tolist()}
        wild = {"face_landmarks": face_68((700, 800), 300).tolist(), "pixel_size": [1500, 1500]}
        metadata = {"author": "Zoë", "license": "Public Domain Mark 1.0"}
        entries[str(number)] = {
            "category": category,
            "metadata": metadata,
            "image": image,
            "in_the_wild": wild,
        }
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(entries))
    return root


def write_texture(path: Path, width: int = 400, height: int = 300) -> Path:
    """A UV texture: colour inside an ellipse, black around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - width / 2) / (width / 2.2)) ** 2 + ((rows - height / 2) / (height / 2.2)) ** 2 < 1
    colour = np.stack([120 + columns * 100 // width, 90 + rows * 60 // height, rows * 0 + 80], -1)
    Image.fromarray(np.where(inside[..., None], colour, 0).astype(np.uint8)).save(path)
    return path
