"""A photograph of a synthetic person: picture, part labels, landmarks and the fit that made it.

Diffuse light on skin is exactly albedo x shading of `facefill.geometry.spherical_harmonics` at the mesh's
normals; highlights, hair shadows, noise and JPEG are added as a camera would. Everything is a function of
person, scene and frame.
"""

from dataclasses import dataclass

import numpy as np

from facefill.geometry.camera import WeakPerspective
from facefill.synthetic.accessories import draw_earrings, draw_glasses, draw_microphone, draw_necklace
from facefill.synthetic.arrays import Bytes, Floats
from facefill.synthetic.backdrop import draw_backdrop
from facefill.synthetic.body import assemble
from facefill.synthetic.canvas import Canvas, look_at
from facefill.synthetic.clothing import sample_clothes
from facefill.synthetic.eyes import draw_lashes, paint_eyes
from facefill.synthetic.hair import Hair, grow_hair
from facefill.synthetic.hair_drawing import cast_hair_shadow, draw_hair
from facefill.synthetic.head import Head
from facefill.synthetic.noise import window
from facefill.synthetic.people import Person
from facefill.synthetic.scene import Scene
from facefill.synthetic.skin import SkinMap, paint_skin
from facefill.synthetic.surfaces import paint_cloth, paint_mouth, paint_skin_pixels
from facefill.synthetic.view import Frame, View, landmarks_in


@dataclass(frozen=True)
class Sitter:
    """A person with all that is made once for many pictures."""

    person: Person
    skin: SkinMap
    hair: Hair | None


@dataclass(frozen=True)
class Portrait:
    """A finished picture and what is known about it."""

    picture: Bytes  # (H, W, 3) RGB
    labels: Bytes  # (H, W) codes of `parts`
    landmarks: Floats  # (68, 2) column, row
    camera: WeakPerspective  # of one picture
    illumination: Floats  # (3, 9)


def prepare(person: Person, head: Head) -> Sitter:
    """Paint and comb a person."""
    generator = np.random.default_rng([person.seed, 6])
    vertices = head.vertices(person.identity, np.zeros(29, np.float32))
    hair = grow_hair(person.hair, person.hair_colour, vertices, head.anatomy, generator)
    return Sitter(person, paint_skin(person, head), hair)


def take_picture(sitter: Sitter, scene: Scene, frame: Frame, head: Head) -> Portrait:
    """The portrait of one person in one scene, seen in `frame`."""
    person, view = sitter.person, View(scene, frame)
    clothes = sample_clothes(scene.clothes_seed, person.male)
    vertices = head.vertices(person.identity, scene.expression)
    body = assemble(vertices, head, scene, clothes)
    pixels, depth = look_at(body, view)

    canvas = Canvas(_backdrop(scene, frame, view), np.zeros(depth.shape, np.uint8), depth)
    paint_skin_pixels(canvas, pixels, sitter.skin, view)
    paint_cloth(canvas, pixels, clothes)
    paint_eyes(canvas, pixels, body, person, scene, view, head)
    paint_mouth(canvas, pixels)
    bare = canvas.labels.copy()
    if clothes.necklace:
        draw_necklace(canvas, vertices, head, view, scene)
    if person.earrings:
        draw_earrings(canvas, vertices, head, view, scene)
    if sitter.hair is not None:
        draw_hair(canvas, sitter.hair, view, scene, head, person)
    draw_lashes(canvas, vertices[head.landmark_vertices], person, view)
    if person.glasses or scene.glasses:
        draw_glasses(canvas, vertices, head, view, scene)
    cast_hair_shadow(canvas, bare, view)
    if scene.microphone:
        draw_microphone(canvas, view, scene, head)
    return Portrait(
        picture=_develop(canvas.picture, scene, frame),
        labels=_shrink_labels(canvas.labels, frame),
        landmarks=landmarks_in(person, scene, frame, head),
        camera=view.camera,
        illumination=view.illumination,
    )


def _backdrop(scene: Scene, frame: Frame, view: View) -> Floats:
    import cv2

    small = draw_backdrop(scene.backdrop_seed, scene.width, scene.height)
    # From drawn backdrop to scene, to frame, to the supersampled raster.
    zoom = scene.height / len(small)
    to_scene = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2], [0, 0, 1]])
    factor = frame.supersampling
    finer = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
    matrix = finer @ np.vstack((frame.similarity, [0, 0, 1])) @ to_scene
    return cv2.warpAffine(
        small, matrix, (view.width, view.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _develop(picture: Floats, scene: Scene, frame: Frame) -> Bytes:
    """Shrink, soften, add the sensor's noise, and round to bytes."""
    import cv2

    factor = frame.supersampling
    if factor > 1:
        picture = cv2.resize(picture, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    zoom = float(np.hypot(frame.similarity[0, 0], frame.similarity[1, 0]))
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.3, scene.blur * max(1.0, zoom)))
    generator = np.random.default_rng([scene.seed, 9])
    grain = window(generator, frame.height, frame.width, 0.1)
    tinted = np.stack([window(generator, frame.height, frame.width, 0.1) for _ in range(3)], 2)
    picture = picture + scene.noise * (0.8 * grain[..., None] + 0.6 * tinted)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _shrink_labels(labels: Bytes, frame: Frame) -> Bytes:
    import cv2

    if frame.supersampling == 1:
        return cv2.medianBlur(labels, 7)
    return cv2.resize(cv2.medianBlur(labels, 3), (frame.width, frame.height), interpolation=cv2.INTER_NEAREST)
