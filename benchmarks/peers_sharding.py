"""Others' ways to the same shards: Pillow's alignment, webdataset's writer, GNU tar, Ray Data.

Pass-through: every picture file and the JSON beside it, bytes as they are, into tars of `per_shard` samples.
"""

import io
import logging
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.alignment import align_image, celeba_hq_similarity
from facefill.photographs import decode_photograph
from facefill.samples import encode_jpeg

SIZE = 256
Files = tuple[Path, Path]  # a picture and its JSON
QUALITY = 95


def aligned_by_pillow(picture: bytes, five: NDArray[np.floating]) -> bytes:
    """JPEG to JPEG as the usual scripts do it: crop, pad and blur, QUAD at twice the size, Lanczos."""
    from PIL import Image

    drawn = drawn_by_pillow(picture, five, 2 * SIZE).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    drawn.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def drawn_by_pillow(picture: bytes, five: NDArray[np.floating], size: int) -> Any:
    """The face of a picture, `size` pixels wide, by Pillow's QUAD."""
    from PIL import Image, ImageFilter

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    quad = quad_of(five)
    side = float(np.hypot(*(quad[3] - quad[0])))
    border = max(round(side * 0.1), 3)
    low, high = np.floor(quad.min(0)).astype(int) - border, np.ceil(quad.max(0)).astype(int) + border
    corner = np.maximum(low, 0)
    image = image.crop((*corner.tolist(), *np.minimum(high, image.size).tolist()))
    quad = quad - corner
    before = np.maximum(-np.floor(quad.min(0)).astype(int) + border, 0)
    after = np.maximum(np.ceil(quad.max(0)).astype(int) - image.size + border, 0)
    if max(*before, *after) > border - 4:
        before, after = np.maximum(before, round(side * 0.3)), np.maximum(after, round(side * 0.3))
        pixels = np.pad(
            np.asarray(image, np.float32),
            ((before[1], after[1]), (before[0], after[0]), (0, 0)),
            mode="reflect",
        )
        padded = Image.fromarray(pixels.astype(np.uint8))
        height, width = pixels.shape[:2]
        rows, columns, _ = np.ogrid[:height, :width, :1]
        near = np.minimum(columns / before[0], (width - 1 - columns) / after[0])
        mask = 1 - np.minimum(near, np.minimum(rows / before[1], (height - 1 - rows) / after[1]))
        blurred = np.asarray(padded.filter(ImageFilter.GaussianBlur(side * 0.02)), np.float32)
        pixels += (blurred - pixels) * np.clip(mask * 3 + 1, 0, 1)
        pixels += (np.median(pixels, (0, 1)) - pixels) * np.clip(mask, 0, 1)
        image = Image.fromarray(np.uint8(np.clip(np.rint(pixels), 0, 255)))
        quad = quad + before
    corners = tuple((quad + 0.5).ravel())
    return image.transform((size, size), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)


def quad_of(five: NDArray[np.floating]) -> NDArray[np.float64]:
    """Progressive GAN's quad of a face: top left, bottom left, bottom right, top right."""
    left, right, _, mouth_left, mouth_right = np.asarray(five, np.float64)
    eyes, mouth = (left + right) / 2 + 0.5, (mouth_left + mouth_right) / 2 + 0.5
    across, down = right - left, mouth - eyes
    x = across - np.array([-down[1], down[0]])
    x *= max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + down * 0.1
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def aligned_by_us(picture: bytes, five: NDArray[np.floating]) -> bytes:
    """The same by facefill's functions."""
    return encode_jpeg(align_image(decode_photograph(picture, ""), celeba_hq_similarity(five), SIZE))


def webdataset_writes(files: Sequence[Files], folder: Path, per_shard: int) -> None:
    """webdataset's TarWriter, with time 0, in this process."""
    from webdataset import TarWriter

    folder.mkdir()
    for start in range(0, len(files), per_shard):
        with TarWriter(str(folder / f"{start:06d}.tar"), mtime=0, encoder=False) as writer:
            for file, beside in files[start : start + per_shard]:
                writer.write({"__key__": file.stem, "jpg": file.read_bytes(), "json": beside.read_bytes()})


def gnu_tar_writes(files: Sequence[Files], folder: Path, per_shard: int) -> None:
    """GNU tar, one call per shard, one after another."""
    folder.mkdir()
    for start in range(0, len(files), per_shard):
        names = [each.name for pair in files[start : start + per_shard] for each in pair]
        command = [
            "tar",
            "--format=ustar",
            "-cf",
            str(folder / f"{start:06d}.tar"),
            "-C",
            str(files[0][0].parent),
        ]
        subprocess.run([*command, "-T", "-"], input="\n".join(names), text=True, check=True)


def ray_data_writes(files: Sequence[Files], folder: Path, per_shard: int) -> None:
    """Ray Data: from_items, map, write_webdataset. Needs a running session."""
    import ray.data

    _quieten_ray_data()
    rows = [{"file": str(file), "beside": str(beside)} for file, beside in files]
    data = ray.data.from_items(rows, override_num_blocks=-(-len(files) // per_shard)).map(_row_of_file)
    data.write_webdataset(str(folder), encoder=None)


def ray_data_aligns(
    pictures: Sequence[tuple[Path, NDArray[np.floating]]], folder: Path, per_shard: int
) -> None:
    """The same with our alignment in the map."""
    import ray.data

    _quieten_ray_data()
    rows = [
        {"key": f"{number:06d}", "file": str(file), "five": five}
        for number, (file, five) in enumerate(pictures)
    ]
    data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // per_shard)).map(_aligned_row)
    data.write_webdataset(str(folder), encoder=None)


def _quieten_ray_data() -> None:
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def _row_of_file(row: dict[str, Any]) -> dict[str, Any]:
    file = Path(row["file"])
    return {
        "__key__": file.stem,
        "jpg": file.read_bytes(),
        "json": Path(row["beside"]).read_bytes(),
    }


def _aligned_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "__key__": row["key"],
        "jpg": aligned_by_us(Path(row["file"]).read_bytes(), np.array(row["five"])),
    }


def absent() -> list[str]:
    """A sentence for each writer that is not installed here."""
    import importlib.util

    lines = [
        f"{name} was not measured: it is not installed."
        for name in ("streaming", "litdata", "img2dataset")
        if importlib.util.find_spec(name) is None
    ]
    return lines if shutil.which("tar") else [*lines, "GNU tar was not measured: there is none."]
