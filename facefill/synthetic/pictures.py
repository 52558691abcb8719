"""What the layouts have in common: files as bytes, JPEG and PNG, the ground truth beside a release."""

import io
from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry.camera import WeakPerspective, transform_camera
from facefill.geometry.reconstruction import Fit, fit_to_vector
from facefill.synthetic.arrays import Bytes, Floats
from facefill.synthetic.render import Portrait, Sitter
from facefill.synthetic.scene import Scene, turn_light


@dataclass(frozen=True)
class File:
    """A file to write: its path below the folder that holds all data sets, and its content."""

    path: str
    content: bytes


def jpeg(picture: Bytes, quality: int) -> bytes:
    """An RGB picture (H, W, 3) as a baseline JPEG."""
    import cv2

    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return data.tobytes()


def png(mask: Bytes) -> bytes:
    """A grey picture (H, W) as PNG."""
    import cv2

    _, data = cv2.imencode(".png", mask)
    return data.tobytes()


def truth(path: str, sitter: Sitter, scene: Scene, portrait: Portrait) -> File:
    """The picture's ground truth: `fit` (261,) in its own pixels, `landmarks` (68, 2)."""
    return truth_of(path, sitter, scene, portrait.camera, portrait.illumination, portrait.landmarks)


def truth_of(
    path: str, sitter: Sitter, scene: Scene, camera: WeakPerspective, illumination: Floats, landmarks: Floats
) -> File:
    """As `truth`, from its parts."""
    fit = Fit(
        torch.from_numpy(sitter.person.identity)[None], torch.from_numpy(scene.expression)[None], camera,
        torch.from_numpy(illumination)[None],
    )  # fmt: skip
    stream = io.BytesIO()
    np.savez(stream, fit=fit_to_vector(fit)[0].numpy(), landmarks=landmarks.astype(np.float32))
    return File(path, stream.getvalue())


def transformed_truth(
    path: str, sitter: Sitter, scene: Scene, portrait: Portrait, similarity: Floats
) -> File:
    """The ground truth of the picture that `similarity` (2, 3) makes of a portrait."""
    camera = transform_camera(portrait.camera, torch.from_numpy(similarity).float()[None])
    angle = float(np.arctan2(similarity[1, 0], similarity[0, 0]))
    landmarks = portrait.landmarks @ similarity[:, :2].T + similarity[:, 2]
    return truth_of(
        path, sitter, scene, camera, turn_light(portrait.illumination, angle), landmarks.astype(np.float32)
    )
