"""The verbs `complete` and `views`: files in, pictures out."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.errors import UserError
from facefill.face_parsing import OCCLUDER
from facefill.geometry.default_model import default_model
from facefill.geometry.texture import render
from facefill.landmarks import five_from_68
from facefill.photo import PhotoCompletion, aligned_crop, complete_photo, similarity_of
from facefill.photographs import decode_photograph
from facefill.views import render_views
from facefill.weights import FaceCompleter, load_completer


def complete_files(options: argparse.Namespace) -> None:
    """Read, complete and write; prints the files written."""
    photo = read_photo(options.photo)
    five = None if options.landmarks is None else read_landmarks(options.landmarks)
    similarity = similarity_of(photo, five)
    completer = load_completer(options.weights, default_model())
    if options.mask is None:
        mask = occluded(photo, similarity, completer)
    else:
        mask = read_photo(options.mask)[..., 0] > 127
    completed = complete_photo(photo, mask, similarity, completer, options.iterations)
    if options.verb == "views":
        pictures = {
            "views": side_by_side(
                list(render_views(completed.iterations[-1], completer.model, completer.atlas))
            )
        }
    else:
        pictures = pictures_of(photo, mask, completed, completer)
    write_pictures(options.out, pictures, options)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Upright RGB of a picture file; UserError names a missing or unreadable one."""
    try:
        return decode_photograph(path.read_bytes(), str(path))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such picture; check the path") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def read_landmarks(path: Path) -> NDArray[np.float64]:
    """Five points (5, 2) from a text file of 5 or 68 lines `x y`, in CelebA's order."""
    if not path.is_file():
        raise UserError(f"landmarks {path}: no such file; give 5 or 68 lines `x y`")
    try:
        points = np.loadtxt(path, delimiter="," if "," in path.read_text() else None, dtype=np.float64)
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"landmarks {path}: expected 5 or 68 lines `x y` in pixels") from None
    if points.shape == (68, 2):
        return five_from_68(points)
    if points.shape != (5, 2):
        raise UserError(f"landmarks {path}: expected 5 or 68 lines `x y`, got shape {points.shape}")
    return points


def occluded(
    photo: NDArray[np.uint8], similarity: NDArray[np.float64], completer: FaceCompleter
) -> NDArray[np.bool_]:
    """The pixels of the photograph that the segmenter calls occluder, inside the aligned face."""
    if completer.segmenter is None:
        raise UserError("no --mask given and these weights have no segmenter; give a mask")
    from facefill.alignment import align_image
    from facefill.augmentation import ALIGNED, CENTRE, CROP

    image, _ = aligned_crop(photo, np.zeros(photo.shape[:2], bool), similarity)
    with torch.no_grad():
        classes = completer.segmenter(image).argmax(1)[0]
    canvas = np.zeros((ALIGNED, ALIGNED, 3), np.uint8)
    canvas[CENTRE : CENTRE + CROP, CENTRE : CENTRE + CROP] = (classes == OCCLUDER).numpy()[
        ..., None
    ] * np.uint8(255)
    inverse = np.linalg.inv(np.vstack([similarity, [0, 0, 1]]))[:2]
    side = max(photo.shape[:2])
    mask = align_image(canvas, inverse, side)[: photo.shape[0], : photo.shape[1], 0] > 127
    if not mask.any():
        raise UserError("no --mask given and nothing that hides the face was found; give a mask")
    return mask


def pictures_of(
    photo: NDArray[np.uint8], mask: NDArray[np.bool_], completed: PhotoCompletion, completer: FaceCompleter
) -> dict[str, NDArray[np.uint8]]:
    """Everything that `complete` writes, by file stem."""
    last = completed.iterations[-1]
    shading = last.factors.reconstruction.shading
    relief = render(shading / shading.amax(), last.factors.reconstruction.fragments, completer.model)
    pictures = {
        "completed": completed.photo,
        "uncertainty": as_uint8(heat(last.image_log_sigma * last.coverage)[0]),
        "albedo": as_uint8(last.albedo[0]),
        "texture": as_uint8(last.texture[0]),
        "shading": as_uint8(relief[0]),
        "views": side_by_side(list(render_views(last, completer.model, completer.atlas))),
    }
    for number, iteration in enumerate(completed.iterations, 1):
        pictures[f"iteration{number}"] = as_uint8(iteration.image[0])
    image, hole = aligned_crop(photo, mask, completed.similarity)
    row = [
        torch.where(hole[0] > 0, torch.ones(3, 1, 1), image[0]),
        *(i.image[0] for i in completed.iterations),
    ]
    pictures["overview"] = side_by_side(
        [*row, last.rendered[0], relief[0], heat(last.image_log_sigma * last.coverage)[0]]
    )
    return pictures


def heat(log_sigma: Tensor) -> Tensor:
    """A map (N, 1, H, W) stretched over its own range, dark = certain, as (N, 3, H, W)."""
    low, high = log_sigma.amin((2, 3), True), log_sigma.amax((2, 3), True)
    level = (log_sigma - low) / (high - low).clamp(min=1e-6)
    return torch.cat(
        [(1.5 * level).clamp(0, 1), (1.5 * level - 0.5).clamp(0, 1), (3 * level - 2).clamp(0, 1)], 1
    )


def side_by_side(pictures: list[Tensor]) -> NDArray[np.uint8]:
    """Pictures (3, H, W) of one height as one row."""
    return as_uint8(torch.cat(pictures, -1))


def as_uint8(picture: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] to (H, W, 3) bytes."""
    return (picture.detach().permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def write_pictures(folder: Path, pictures: dict[str, NDArray[np.uint8]], options: argparse.Namespace) -> None:
    """PNG files (lossless, so that untouched pixels stay what they were) and what they were made with."""
    import cv2

    from pipelines import storage

    for stem, picture in pictures.items():
        encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        storage.write_bytes(str(folder / f"{stem}.png"), encoded)
    record = {
        "photo": options.photo.name,
        "mask": options.mask.name if options.mask else "segmenter",
        "weights": str(options.weights),
        "iterations": options.iterations,
    }
    storage.write_text(str(folder / "completion.json"), json.dumps(record, indent=2) + "\n")
    print("\n".join(str(folder / f"{stem}.png") for stem in pictures))
