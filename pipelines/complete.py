"""The verbs `complete` and `views`: files in, pictures out."""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.face_parsing import OCCLUDER
from facefill.geometry.texture import render
from facefill.landmarks import five_from_68
from facefill.model_of_weights import model_of_weights
from facefill.photo import (
    PhotoCompletion,
    aligned_crop,
    complete_photo,
    is_aligned,
    mask_in_photo,
    similarity_of,
)
from facefill.photographs import decode_photograph
from facefill.relighting import DIRECTIONS, light_from, relight
from facefill.views import render_views
from facefill.weights import FaceCompleter, load_completer
from pipelines.contact_sheet import Tile, tile, uncertainty_tile


def complete_files(options: argparse.Namespace) -> None:
    """Read, complete and write; prints the files written."""
    check_output(options.out)
    photo = read_photo(options.photo)
    similarity = similarity_of(photo, landmarks_of(options, photo))
    completer = load_completer(options.weights, model_of_weights(options.weights, options.model))
    if options.mask is None:
        mask = occluded(photo, similarity, completer)
    else:
        mask = read_photo(options.mask)[..., 0] > 127
    completed = complete_photo(photo, mask, similarity, completer, options.iterations)
    if options.verb == "views":
        pictures = {"views": views_of(completed, completer), "relit": relit_of(completed, completer)}
    else:
        pictures = pictures_of(photo, mask, completed, completer)
    write_pictures(options.out, pictures, options)


def check_output(folder: Path) -> None:
    """Before the work: raise UserError if the folder cannot be written to, or not be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"output {folder}: {existing} is a file; give another --out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"output {folder}: {existing} cannot be written to; give another --out")


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


def landmarks_of(options: argparse.Namespace, photo: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Five points (5, 2): those given, None for an aligned picture, else those of the face that is found."""
    if options.landmarks is not None:
        return read_landmarks(options.landmarks)
    if is_aligned(photo):
        return None
    from pipelines.detect import choose_face
    from pipelines.detector_litert import detector_from, read_bundle

    height, width = photo.shape[:2]
    try:
        detector = detector_from(read_bundle())
    except UserError as error:
        raise UserError(
            f"{options.photo}: where is the face? Give --landmarks with 5 or 68 points; {error}"
        ) from None
    choice = choose_face(detector.faces(photo), width, height)
    if choice.face is None:
        raise UserError(f"{options.photo}: {choice.reason}; give --landmarks with 5 or 68 points")
    box = ", ".join(f"{side:.0f}" for side in choice.face.box)
    print(f"face found at {box}{choice.note and f': {choice.note}'}", file=sys.stderr)
    return five_from_68(choice.face.points)


def occluded(
    photo: NDArray[np.uint8], similarity: NDArray[np.float64], completer: FaceCompleter
) -> NDArray[np.bool_]:
    """The pixels of the photograph that the segmenter calls occluder, inside the aligned face."""
    if completer.segmenter is None:
        raise UserError("no --mask given and these weights have no segmenter; give a mask")
    image, _ = aligned_crop(photo, np.zeros(photo.shape[:2], bool), similarity)
    with torch.no_grad():
        classes = completer.segmenter(image).argmax(1)[0]
    mask = mask_in_photo((classes == OCCLUDER).numpy(), similarity, *photo.shape[:2])
    if not mask.any():
        raise UserError("no --mask given and nothing that hides the face was found; give a mask")
    return mask


def pictures_of(
    photo: NDArray[np.uint8], mask: NDArray[np.bool_], completed: PhotoCompletion, completer: FaceCompleter
) -> dict[str, Tile]:
    """Everything that `complete` writes, by file stem."""
    last = completed.iterations[-1]
    shading = last.factors.reconstruction.shading
    relief = tile(render(shading / shading.amax(), last.factors.reconstruction.fragments, completer.model)[0])
    uncertainty = uncertainty_tile(last.image_log_sigma[0], last.coverage[0])
    passes = [tile(iteration.image[0]) for iteration in completed.iterations]
    image, hole = aligned_crop(photo, mask, completed.similarity)
    hidden = tile(torch.where(hole[0] > 0, torch.ones(3, 1, 1), image[0]))
    return {
        "completed": completed.photo,
        "uncertainty": uncertainty,
        "albedo": tile(last.albedo[0]),
        "texture": tile(last.texture[0]),
        "shading": relief,
        "views": views_of(completed, completer),
        **{f"iteration{number}": picture for number, picture in enumerate(passes, 1)},
        "overview": side_by_side([hidden, *passes, tile(last.rendered[0]), relief, uncertainty]),
    }


def relit_of(completed: PhotoCompletion, completer: FaceCompleter) -> Tile:
    """The completed face as it is, then under lamps from the left, above, the front and the right."""
    last = completed.iterations[-1]
    faces = [last.image]
    for direction in DIRECTIONS.values():
        light = light_from(last.fit, direction)
        faces.append(relight(last.image, last.fit, light, completer.model, completer.atlas))
    return side_by_side([tile(face[0]) for face in faces])


def views_of(completed: PhotoCompletion, completer: FaceCompleter) -> Tile:
    """The completed face from five viewpoints, in one row."""
    views = render_views(completed.iterations[-1], completer.model, completer.atlas)
    return side_by_side([tile(view) for view in views])


def side_by_side(tiles: list[Tile]) -> Tile:
    """Tiles of one height as one row."""
    return np.concatenate(tiles, 1)


def write_pictures(folder: Path, pictures: dict[str, Tile], options: argparse.Namespace) -> None:
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
