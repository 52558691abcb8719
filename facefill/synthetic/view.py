"""The camera of a picture: where the head's points lie in it, in any frame of the scene."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry.camera import WeakPerspective, transform_camera
from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.head import Head
from facefill.synthetic.people import Person
from facefill.synthetic.scene import Scene, turn_light

VIEW = floats([0, 0, 1])  # from the head to the camera


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in its scene: pixel = similarity · (column, row, 1) of the scene's own frame."""

    similarity: Floats  # (2, 3)
    width: int
    height: int
    supersampling: int


def own_frame(scene: Scene) -> Frame:
    """The picture as the scene's camera takes it."""
    return Frame(np.array([[1.0, 0, 0], [0, 1, 0]]), scene.width, scene.height, 2)


class View:
    """The camera of a frame, on the supersampled raster."""

    def __init__(self, scene: Scene, frame: Frame) -> None:
        angles = torch.from_numpy(scene.euler_xyz).double()
        camera = WeakPerspective(
            torch.tensor([scene.scale], dtype=torch.float64),
            angles[None],
            torch.from_numpy(scene.translation).double()[None],
        )
        camera = transform_camera(camera, torch.from_numpy(frame.similarity)[None])
        self.camera = WeakPerspective(
            camera.scale.float(), camera.euler_xyz.float(), camera.translation.float()
        )
        in_plane = math.atan2(frame.similarity[1, 0], frame.similarity[0, 0])
        self.illumination = turn_light(scene.light.illumination, in_plane)
        c, s = math.cos(in_plane), math.sin(in_plane)
        x, y, z = scene.light.direction
        # Clockwise to the eye with y up.
        self.light = floats([c * x + s * y, -s * x + c * y, z])
        self.light_colour = scene.light.colour
        factor = frame.supersampling
        self.width, self.height = frame.width * factor, frame.height * factor
        self.scale = float(camera.scale[0]) * factor
        self.translation = ((camera.translation[0].numpy() + 0.5) * factor - 0.5).astype(np.float32)
        self.rotation = self.camera.rotation[0].numpy()
        # The chest turns less than the head.
        calm = WeakPerspective(
            camera.scale, angles[None] * torch.tensor([[0.2, 0.45, 0.35]]).double(), camera.translation
        )
        turned = transform_camera(calm, torch.from_numpy(np.array([[c, -s, 0.0], [s, c, 0.0]]))[None])
        self.chest_rotation = turned.rotation[0].numpy().astype(np.float32)
        self.pivot = floats([0, -105e3, -10e3])

    def turn(self, points: Floats, follow: Floats) -> Floats:
        """Points (..., 3) in the camera frame; `follow` (...) 1 turns with the head, 0 with the chest."""
        with_head = points @ self.rotation.T
        if np.all(follow == 1):
            return with_head.astype(np.float32)
        with_chest = (points - self.pivot) @ self.chest_rotation.T + self.rotation @ self.pivot
        return (with_chest + (with_head - with_chest) * follow[..., None]).astype(np.float32)

    def project(self, points: Floats) -> Floats:
        """Pixels and depth of points (..., 3) in the camera frame."""
        out = np.empty_like(points)
        out[..., 0] = self.translation[0] + self.scale * points[..., 0]
        out[..., 1] = self.translation[1] - self.scale * points[..., 1]
        out[..., 2] = points[..., 2]
        return out


def landmarks_in(person: Person, scene: Scene, frame: Frame, head: Head) -> Floats:
    """(68, 2) column and row of the landmark vertices in the frame's pixels; nothing is drawn for it."""
    view = View(scene, frame)
    points = head.vertices(person.identity, scene.expression)[head.landmark_vertices]
    raster = view.project(view.turn(points, np.ones(68, np.float32)))[:, :2]
    return ((raster + 0.5) / frame.supersampling - 0.5).astype(np.float32)


def visible_landmarks(person: Person, scene: Scene, frame: Frame, head: Head) -> Floats:
    """(68, 2) as a detector marks them: the jaw of the far cheek lies on the outline that is seen."""
    view = View(scene, frame)
    vertices = head.vertices(person.identity, scene.expression)[head.cheek_vertices]
    raster = view.project(view.turn(vertices, np.ones(len(vertices), np.float32)))[:, :2]
    pixels = (raster + 0.5) / frame.supersampling - 0.5
    places = head.canonical[head.cheek_vertices]
    landmarks = landmarks_in(person, scene, frame, head)
    # The model's x axis points away from the camera on the far side; in the picture, `outward` is its
    # direction.
    far = 1 if view.rotation[2, 0] < 0 else -1
    outward = far * view.rotation[:2, 0] * floats([1, -1])
    for point in range(7) if far < 0 else range(10, 17):
        at = head.landmarks[point]
        level = (
            (np.abs(places[:, 1] - at[1]) < 2500) & (places[:, 0] * far > 0) & (places[:, 2] > at[2] - 5000)
        )
        if level.any():
            outline = pixels[level][np.argmax(pixels[level] @ outward)]
            if (outline - landmarks[point]) @ outward > 0:
                landmarks[point] = outline
    return landmarks
