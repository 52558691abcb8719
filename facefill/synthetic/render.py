"""A photograph of a synthetic person: picture, part labels, landmarks and the fit that made it.

Diffuse light on skin is exactly albedo x shading of `facefill.geometry.spherical_harmonics` at the mesh's normals;
highlights, hair shadows, noise and JPEG are added as a camera would. Everything is a function of person, scene and frame.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry.camera import WeakPerspective, transform_camera
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.spherical_harmonics import shade
from facefill.landmarks import LEFT_EYE, RIGHT_EYE
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes, Floats, Integers, floats
from facefill.synthetic.backdrop import draw_backdrop
from facefill.synthetic.clothing import FABRIC, Clothes, chest_below, hat_mesh, ring_triangles, sample_clothes
from facefill.synthetic.hair import Hair, grow_hair
from facefill.synthetic.head import (
    MAP_HEIGHT,
    MAP_REACH,
    MAP_WIDTH,
    SURFACE_CLOTH,
    SURFACE_EYE,
    SURFACE_HAT,
    SURFACE_MOUTH,
    SURFACE_SKIN,
    SURFACE_TEETH,
    TEXELS_PER_UM,
    Head,
)
from facefill.synthetic.noise import smooth_step, window
from facefill.synthetic.people import Person
from facefill.synthetic.pixels import gather
from facefill.synthetic.scene import Scene, turn_light
from facefill.synthetic.skin import SkinMap, paint_skin
from facefill.synthetic.strands import draw

STRAND_WIDTH = 950.0  # micrometres: a hair and its neighbours
IRIS_RADIUS = 6000.0
VIEW = floats([0, 0, 1])


@dataclass(frozen=True)
class Sitter:
    """A person with all that is made once for many pictures."""

    person: Person
    skin: SkinMap
    hair: Hair | None


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in its scene: pixel = similarity · (column, row, 1) of the scene's own frame."""

    similarity: Floats  # (2, 3)
    width: int
    height: int
    supersampling: int


@dataclass(frozen=True)
class Portrait:
    """A finished picture and what is known about it."""

    picture: Bytes  # (H, W, 3) RGB
    labels: Bytes  # (H, W) codes of `parts`
    landmarks: Floats  # (68, 2) column, row
    camera: WeakPerspective  # of one picture
    illumination: Floats  # (3, 9)


def own_frame(scene: Scene) -> Frame:
    """The picture as the scene's camera takes it."""
    return Frame(np.array([[1.0, 0, 0], [0, 1, 0]]), scene.width, scene.height, 2)


def prepare(person: Person, head: Head) -> Sitter:
    """Paint and comb a person."""
    generator = np.random.default_rng([person.seed, 6])
    vertices = head.vertices(person.identity, np.zeros(29, np.float32))
    return Sitter(
        person,
        paint_skin(person, head),
        grow_hair(person.hair, person.hair_colour, vertices, head.anatomy, generator),
    )


def take_picture(sitter: Sitter, scene: Scene, frame: Frame, head: Head) -> Portrait:
    """The portrait of one person in one scene, seen in `frame`."""
    person = sitter.person
    view = _View(scene, frame)
    clothes = sample_clothes(scene.clothes_seed, person.male)
    vertices = head.vertices(person.identity, scene.expression)
    body = _assemble(vertices, head, scene, clothes)
    positions = view.turn(body.positions, body.follow)
    projected = view.project(positions)
    normals = _normals(positions, body.triangles)
    light = shade(torch.from_numpy(normals)[None], torch.from_numpy(view.illumination)[None])[0].numpy()

    size = (view.height, view.width)
    fragments = rasterize(torch.from_numpy(projected)[None], torch.from_numpy(body.triangles), *size)
    triangle, barycentric = fragments.triangle[0].numpy(), fragments.barycentric[0].numpy()
    depth = fragments.depth[0].numpy().copy()
    values = gather(
        np.concatenate((light, normals, body.map_position, body.occlusion[:, None], body.ear[:, None], body.below), 1),
        body.triangles, triangle, barycentric,
    )  # fmt: skip
    surface = np.where(triangle >= 0, body.surface[triangle], 255).astype(np.uint8)
    pixel = _Pixels(
        values[..., :3],
        values[..., 3:6],
        values[..., 6:8],
        values[..., 8],
        values[..., 9],
        values[..., 10:12],
        surface,
    )

    canvas = _Canvas(_backdrop(scene, frame, view), np.zeros(size, np.uint8), depth)
    _paint_skin_pixels(canvas, pixel, sitter, view)
    _paint_cloth(canvas, pixel, clothes)
    _paint_eyes(canvas, pixel, triangle, barycentric, body, person, scene, view, head)
    _paint_mouth(canvas, pixel)
    bare = canvas.labels.copy()
    if sitter.hair is not None:
        _draw_hair(canvas, sitter.hair, view, scene, head, person)
    _draw_lashes(canvas, vertices[head.landmark_vertices], person, view)
    if person.glasses or scene.glasses:
        _draw_glasses(canvas, vertices, head, view, scene)
    _cast_hair_shadow(canvas, bare, view)
    if scene.microphone:
        _draw_microphone(canvas, view, scene, head)

    return Portrait(
        picture=_develop(canvas.picture, scene, frame),
        labels=_shrink_labels(canvas.labels, frame),
        landmarks=landmarks_in(person, scene, frame, head),
        camera=view.camera,
        illumination=view.illumination,
    )


def landmarks_in(person: Person, scene: Scene, frame: Frame, head: Head) -> Floats:
    """(68, 2) column and row of the landmark vertices in the frame's pixels; nothing is drawn for it."""
    view = _View(scene, frame)
    points = head.vertices(person.identity, scene.expression)[head.landmark_vertices]
    raster = view.project(view.turn(points, np.ones(68, np.float32)))[:, :2]
    return ((raster + 0.5) / frame.supersampling - 0.5).astype(np.float32)


def visible_landmarks(person: Person, scene: Scene, frame: Frame, head: Head) -> Floats:
    """(68, 2) as a landmark detector marks them: the jaw of the far cheek lies on the outline that is seen."""
    view = _View(scene, frame)
    vertices = head.vertices(person.identity, scene.expression)[head.cheek_vertices]
    raster = view.project(view.turn(vertices, np.ones(len(vertices), np.float32)))[:, :2]
    pixels = (raster + 0.5) / frame.supersampling - 0.5
    places = head.canonical[head.cheek_vertices]
    landmarks = landmarks_in(person, scene, frame, head)
    # The model's x axis points away from the camera on the far side; in the picture, `outward` is its direction.
    far = 1 if view.rotation[2, 0] < 0 else -1
    outward = far * view.rotation[:2, 0] * floats([1, -1])
    for point in range(0, 7) if far < 0 else range(10, 17):
        at = head.landmarks[point]
        level = (
            (np.abs(places[:, 1] - at[1]) < 2500) & (places[:, 0] * far > 0) & (places[:, 2] > at[2] - 5000)
        )
        if level.any():
            outline = pixels[level][np.argmax(pixels[level] @ outward)]
            if (outline - landmarks[point]) @ outward > 0:
                landmarks[point] = outline
    return landmarks


class _View:
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


@dataclass(frozen=True)
class _Body:
    """Head, chest and hat as one mesh, in the model frame."""

    positions: Floats
    triangles: Integers
    surface: Bytes
    map_position: Floats
    occlusion: Floats
    ear: Floats
    follow: Floats  # 1 moves with the head
    below: Floats  # (V, 2) micrometres below the necklines of the outermost and the inner layer


@dataclass(frozen=True)
class _Pixels:
    """Interpolated values of all pixels; meaningless where surface is 255."""

    light: Floats  # (H, W, 3)
    normal: Floats  # (H, W, 3)
    map_position: Floats  # (H, W, 2)
    occlusion: Floats  # (H, W)
    ear: Floats  # (H, W)
    below: Floats  # (H, W, 2) micrometres below the necklines
    surface: Bytes  # (H, W)


@dataclass
class _Canvas:
    """The picture in the making."""

    picture: Floats  # (H, W, 3)
    labels: Bytes  # (H, W)
    depth: Floats  # (H, W)


def _assemble(vertices: Floats, head: Head, scene: Scene, clothes: Clothes) -> _Body:
    """Head and neck, the chest grown from the border of the shoulders, and a hat if there is one."""
    border = head.shoulder_border
    chest = chest_below(vertices[border])
    rings, around, _ = chest.shape
    ids = np.concatenate((border, len(vertices) + np.arange(rings * around)))
    drop = (vertices[border, 1] - chest[..., 1])[..., None] * floats([0, TEXELS_PER_UM])
    chest_map = (head.map_position[border] + drop).reshape(-1, 2)
    chest_triangles = ids[ring_triangles(rings + 1, around)]
    count = rings * around
    follow = smooth_step(-135e3, -88e3, head.canonical[:, 1])
    kind = [head.surface, np.full(len(chest_triangles), SURFACE_CLOTH, np.uint8)]
    positions, triangles = [vertices, chest.reshape(-1, 3)], [head.triangles, chest_triangles]
    maps, follows = [head.map_position, chest_map.astype(np.float32)], [follow, np.zeros(count, np.float32)]
    if scene.hat:
        hat, hat_triangles = hat_mesh(
            *head.anatomy.skull(vertices), head.anatomy.brow, scene.clothes_seed % 2 == 0
        )
        triangles.append(hat_triangles + len(vertices) + count)
        kind.append(np.full(len(hat_triangles), SURFACE_HAT, np.uint8))
        positions.append(hat)
        maps.append(hat[:, :2] / 500)
        follows.append(np.ones(len(hat), np.float32))
    total = sum(len(part) for part in positions)
    occlusion, ear = np.ones(total, np.float32), np.zeros(total, np.float32)
    occlusion[: len(vertices)], ear[: len(vertices)] = head.occlusion, head.ear
    below = np.full((total, 2), 99e3, np.float32)
    for layer, line in enumerate((clothes.neckline, clothes.inner_neckline)):
        below[: len(vertices), layer] = line.depth_below(head.canonical)
    return _Body(
        np.concatenate(positions), np.concatenate(triangles), np.concatenate(kind), np.concatenate(maps), occlusion, ear,
        np.concatenate(follows), below,
    )  # fmt: skip


def _normals(positions: Floats, triangles: Integers) -> Floats:
    corners = positions[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = triangles.ravel()
    normals = np.stack([np.bincount(flat, np.repeat(face[:, k], 3), len(positions)) for k in range(3)], 1)
    return (normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)).astype(np.float32)


def _backdrop(scene: Scene, frame: Frame, view: _View) -> Floats:
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


def _look_up(image: Floats, position: Floats, nearest: bool = False) -> Floats:
    import cv2

    method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, position[..., 0], position[..., 1], method, borderMode=cv2.BORDER_REPLICATE)


def _paint_skin_pixels(canvas: _Canvas, pixel: _Pixels, sitter: Sitter, view: _View) -> None:
    """Skin: albedo x occlusion x shading, plus a highlight; cloth where the map's row lies below the neckline."""
    skin = (pixel.surface == SURFACE_SKIN) | (pixel.surface == SURFACE_EYE)
    rows, columns = np.flatnonzero(skin.any(1)), np.flatnonzero(skin.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    place = pixel.map_position[box]
    albedo = _look_up(sitter.skin.albedo, place) * pixel.occlusion[box][..., None]
    labels = _look_up(sitter.skin.parts, place, nearest=True)
    gloss = _look_up(sitter.skin.gloss, place)
    half = view.light + VIEW
    half /= np.linalg.norm(half)
    facing = np.clip(pixel.normal[box] @ half, 0, 1)
    edge = 1 - np.clip(pixel.normal[box][..., 2], 0, 1)
    shine = gloss * pixel.occlusion[box] * (0.10 * facing**18 + 0.05 * facing**60 + 0.05 * edge**3 * facing)
    colour = albedo * pixel.light[box] + shine[..., None] * view.light_colour
    canvas.picture[box][skin[box]] = colour[skin[box]]
    is_ear = (pixel.ear[box] > 0.5) & np.isin(labels, (parts.SKIN, parts.NECK))
    labels = np.where(
        is_ear, np.where(place[..., 0] < MAP_WIDTH / 2, parts.RIGHT_EAR, parts.LEFT_EAR), labels
    )
    canvas.labels[box][skin[box]] = labels[skin[box]]


def _paint_cloth(canvas: _Canvas, pixel: _Pixels, clothes: Clothes) -> None:
    """Fabric on the chest and on the neck below the neckline, and on the hat."""
    on_neck = (pixel.surface == SURFACE_SKIN) & (pixel.below.max(2) > 0)
    cloth = on_neck | (pixel.surface == SURFACE_CLOTH)
    hat = pixel.surface == SURFACE_HAT
    for mask, part in ((cloth, parts.CLOTH), (hat, parts.HAT)):
        if not mask.any():
            continue
        place = pixel.map_position[mask].astype(np.int64) % FABRIC
        colour = clothes.fabric[place[:, 1], place[:, 0]]
        outer, inner = pixel.below[mask].T
        if part == parts.HAT:
            colour = colour.mean(1, keepdims=True) / max(0.05, float(clothes.fabric.mean())) * clothes.hat
        else:
            colour[outer <= 0] = clothes.inner
        # A hem is dark at its very edge and casts a little shadow onto the layer below.
        hem = np.where(outer > 0, smooth_step(0, 2500, outer), smooth_step(0, 2500, inner))
        shaded = np.where(outer > 0, 1.0, 0.75 + 0.25 * smooth_step(0, -9000, outer))
        canvas.picture[mask] = colour * pixel.light[mask] * ((0.6 + 0.4 * hem) * shaded)[:, None]
        canvas.labels[mask] = part


def _paint_eyes(
    canvas: _Canvas, pixel: _Pixels, triangle: Integers, barycentric: Floats, body: _Body, person: Person,
    scene: Scene, view: _View, head: Head,
) -> None:  # fmt: skip
    """Eyeballs: white, iris and pupil around the gaze, shade under the lid, a catch-light."""
    import cv2

    for group, code in ((LEFT_EYE, parts.RIGHT_EYE), (RIGHT_EYE, parts.LEFT_EYE)):
        corners = body.positions[head.landmark_vertices[list(group)]]
        side = np.sign(corners[:, 0].mean())
        mask = (pixel.surface == SURFACE_EYE) & (np.sign(pixel.map_position[..., 0] - MAP_WIDTH / 2) == side)
        if mask.sum() < 6:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = mask[box]
        seen = body.triangles[triangle[box][inside]]
        point = (body.positions[seen] * barycentric[box][inside][..., None]).sum(1)
        middle = (corners[0] + corners[3]) / 2 + floats([0, 900, 0])
        centre = middle[:2] + scene.gaze + floats([-side * 600, 0])
        offset = point[:, :2] - centre
        away = np.hypot(offset[:, 0], offset[:, 1]) / IRIS_RADIUS
        soft = 1.2 / (view.scale * IRIS_RADIUS)  # a pixel, in iris radii
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        fibres = 0.5 * np.sin(23 * angle + 3 * np.sin(5 * angle)) + 0.5 * np.sin(41 * angle + 7 * away)
        iris = person.iris * (1 + 0.22 * fibres + 0.35 * smooth_step(0.9, 0.4, away))[:, None]
        iris = iris * (1 - 0.6 * smooth_step(0.78, 1.0, away))[:, None]
        pupil = smooth_step(0.40 + soft, 0.40 - soft, away) if soft < 0.4 else smooth_step(0.7, 0.1, away)
        iris = iris * (1 - 0.95 * pupil)[:, None]
        corner = np.abs(point[:, 0] - middle[0]) / (np.linalg.norm(corners[0] - corners[3]) / 2)
        white = floats([0.86, 0.83, 0.81]) - floats([0.04, 0.13, 0.13]) * (corner**3)[:, None]
        cover = smooth_step(1.02 + soft, 1.02 - soft, away)[:, None]
        albedo = white + (iris - white) * cover

        border = np.pad(inside.astype(np.uint8), 1)
        border[-1, 1:-1] = 1  # the lower lid casts no shadow
        inner = cv2.distanceTransform(border, cv2.DIST_L2, 3)[1:-1, 1:-1][inside] / max(6, len(columns))
        lid = 0.42 + 0.58 * smooth_step(-0.02, 0.17, inner.astype(np.float32))
        colour = albedo * (0.35 + 0.65 * pixel.light[box][inside]) * lid[:, None]
        glint_at = centre + IRIS_RADIUS * 0.42 * floats([view.light[0], 0.55 + 0.4 * view.light[1]])
        glint = np.hypot(*(point[:, :2] - glint_at).T) / IRIS_RADIUS
        shine = (
            0.9 * smooth_step(0.26 + soft, 0.16, glint) * smooth_step(-0.4, 0.2, np.float32(view.light[2]))
        )
        wet = 0.10 * smooth_step(
            0.9, 0.1, np.hypot(*(point[:, :2] - glint_at - floats([2500, -3500])).T) / IRIS_RADIUS
        )
        colour = colour + (shine + wet)[:, None] * np.minimum(1.0, view.light_colour + 0.3)
        canvas.picture[box][inside] = colour
        canvas.labels[box][inside] = code


def _paint_mouth(canvas: _Canvas, pixel: _Pixels) -> None:
    """Inner mouth, dark towards the throat, and teeth with the gaps between them."""
    mouth, teeth = pixel.surface == SURFACE_MOUTH, pixel.surface == SURFACE_TEETH
    flesh = floats([0.36, 0.13, 0.12])
    canvas.picture[mouth] = flesh * pixel.light[mouth] * (0.6 * pixel.occlusion[mouth])[:, None]
    from_middle = np.abs(pixel.map_position[teeth][:, 0] - MAP_WIDTH / 2)
    gap = np.abs((from_middle / 25 + 0.5) % 1 - 0.5) * 25  # texels to the nearest gap; an incisor is 25 wide
    shade_of_cheek = 0.88 - 0.55 * smooth_step(20, 95, from_middle)
    white = (
        floats([0.90, 0.86, 0.79]) * (shade_of_cheek * (0.72 + 0.28 * smooth_step(0.2, 2.2, gap)))[:, None]
    )
    canvas.picture[teeth] = white * pixel.light[teeth]
    canvas.labels[mouth | teeth] = parts.MOUTH


def _draw_hair(canvas: _Canvas, hair: Hair, view: _View, scene: Scene, head: Head, person: Person) -> None:
    """Strands lit as cylinders, within the soft light of the layer that they lie in."""
    points = hair.points
    follow = smooth_step(-190e3, -90e3, points[..., 1])
    if scene.hat:
        points = _under_hat(points, head, person)
    positions = view.turn(points, follow)
    outward = hair.outward @ view.rotation.T
    tangent = np.diff(positions, axis=1)
    tangent = np.concatenate((tangent, tangent[:, -1:]), 1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-6
    across = np.sqrt(np.clip(1 - (tangent @ view.light) ** 2, 0, 1))
    half = view.light + VIEW
    half = half / np.linalg.norm(half)
    shine = np.clip(1 - (tangent @ half) ** 2, 0, 1) ** 36
    count, steps, _ = points.shape
    light = shade(
        torch.from_numpy(outward.reshape(1, -1, 3).astype(np.float32)), torch.from_numpy(view.illumination)[None]
    )[0].numpy().reshape(count, steps, 3)  # fmt: skip
    towards = np.clip(0.35 + 0.65 * (outward @ view.light), 0, 1)
    colour = hair.tint * light * (0.45 + 0.6 * across)[..., None]
    colour = colour + (0.20 * shine * towards)[..., None] * (0.5 * hair.tint + 0.14) * light
    width = np.full(count, float(np.clip(view.scale * STRAND_WIDTH, 1.0, 2.6)), np.float32)
    draw(
        view.project(positions),
        colour.astype(np.float32),
        width,
        parts.HAIR,
        canvas.picture,
        canvas.depth,
        canvas.labels,
    )


def _under_hat(points: Floats, head: Head, person: Person) -> Floats:
    """Strand points (S, K, 3) pressed to the skull above the brows, where a hat covers them."""
    centre, skull = head.anatomy.skull(head.vertices(person.identity, np.zeros(29, np.float32)))
    relative = points - centre
    distance = np.linalg.norm(relative, axis=2)
    rows, columns = skull.shape
    row = np.arccos(np.clip(relative[..., 1] / distance, -1, 1)) / np.pi * (rows - 1)
    column = (np.arctan2(relative[..., 0], relative[..., 2]) / (2 * np.pi) + 0.5) * columns
    limit = skull[np.round(row).astype(int), np.round(column).astype(int) % columns] + 3e3
    limit = limit + 40e3 * smooth_step(
        head.anatomy.brow[1] + 15e3, head.anatomy.brow[1] - 20e3, points[..., 1]
    )
    return (centre + relative * np.minimum(1, limit / distance)[..., None]).astype(np.float32)


def _draw_lashes(canvas: _Canvas, landmarks: Floats, person: Person, view: _View) -> None:
    """Upper lashes: short dark curves along the lid, longer to the outside."""
    kept = canvas.labels.copy()
    for outer, lid in ((36, (36, 37, 38, 39)), (45, (45, 44, 43, 42))):
        edge = landmarks[list(lid)]
        side = np.sign(landmarks[outer, 0])
        t = np.linspace(0.02, 0.92, 26)
        along = np.stack([np.interp(t, np.linspace(0, 1, 4), edge[:, k]) for k in range(3)], 1)
        length = (2600 + 2600 * person.eye_paint) * (1.15 - 0.6 * t)
        fan = side * (0.9 - 1.1 * t)
        tip = along + np.stack((length * fan, 0.55 * length, 0.75 * length), 1)
        middle = (along + tip) / 2 + np.stack((0 * length, -0.28 * length, 0.12 * length), 1)
        points = np.stack((along + [0, 0, 600], middle + [0, 0, 600], tip + [0, 0, 600]), 1).astype(
            np.float32
        )
        colour = np.full(points.shape, 0.05, np.float32)
        colour[:, :, 0] = 0.07
        width = np.full(len(points), max(0.8, view.scale * 420), np.float32)
        draw(view.project(view.turn(points, np.ones(points.shape[:2], np.float32))), colour, width, parts.SKIN,
             canvas.picture, canvas.depth, canvas.labels)  # fmt: skip
    canvas.labels[:] = kept


def _draw_glasses(canvas: _Canvas, vertices: Floats, head: Head, view: _View, scene: Scene) -> None:
    """Two rims, a bridge and the arms to the ears; the lenses belong to the glasses' label."""
    import cv2

    generator = np.random.default_rng([scene.clothes_seed, 7])
    landmarks = vertices[head.landmark_vertices]
    square = generator.uniform(2, 5)
    tone = np.float32(generator.choice([0.04, 0.12, 0.35])) * floats([1, 0.8, 0.6])
    front = float(landmarks[[19, 24, 27, 36, 45], 2].max()) + 9e3
    angle = np.linspace(0, 2 * np.pi, 40)
    lines, lenses = [], []
    rim_width, rim_height = generator.uniform(25e3, 28e3), generator.uniform(18e3, 23e3)
    for group in (LEFT_EYE, RIGHT_EYE):
        centre = landmarks[list(group)].mean(0)
        wide = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / square)
        high = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / square)
        x = centre[0] * 1.06 + rim_width * wide
        rim = np.stack((x, centre[1] - 2500 + rim_height * high, front - 0.10 * np.abs(x)), 1)
        lines.append(rim)
        lenses.append(rim)
        side = np.sign(centre[0])
        hinge = np.array([side * (abs(centre[0]) * 1.06 + rim_width), centre[1] + 3000, front - 6e3])
        ear = head.anatomy.ear * floats([side, 1, 1]) + floats([side * 2e3, 22e3, 0])
        lines.append(np.linspace(hinge, ear, 40))
    bridge = np.linspace(lines[0][0], lines[2][20], 40)
    bridge[:, 1] += 3e3 * np.sin(np.linspace(0, np.pi, 40))
    lines.append(bridge)
    glass = np.zeros(canvas.labels.shape, np.uint8)
    ones = np.ones(40, np.float32)
    for lens in lenses:
        outline = view.project(view.turn(lens.astype(np.float32), ones))[:, :2]
        cv2.fillPoly(glass, [np.round(outline).astype(np.int32).reshape(-1, 1, 2)], 1)
    covered = (glass > 0) & (canvas.labels != parts.BACKGROUND) & (canvas.labels != parts.HAIR)
    canvas.picture[covered] = (
        canvas.picture[covered] * np.float32(generator.choice([0.96, 0.9, 0.35])) + 0.015
    )
    canvas.labels[covered] = parts.GLASSES
    points = view.project(
        view.turn(np.stack(lines).astype(np.float32), np.ones((len(lines), 40), np.float32))
    )
    width = np.full(len(lines), max(1.0, view.scale * generator.uniform(1800, 3600)), np.float32)
    colour = np.broadcast_to(tone, points.shape).astype(np.float32)
    draw(
        points,
        colour,
        width,
        parts.GLASSES,
        canvas.picture,
        canvas.depth,
        canvas.labels,
        taper=0.0,
        bias=2500,
    )


def _cast_hair_shadow(canvas: _Canvas, bare: Bytes, view: _View) -> None:
    """Skin next to hair lies in its soft shadow, away from the light."""
    import cv2

    hair = ((canvas.labels == parts.HAIR) | (canvas.labels == parts.HAT)).astype(np.float32)
    reach = view.scale * 9e3
    small = cv2.resize(hair, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.6, reach / 5))
    shift = floats([[1, 0, -0.2 * reach * view.light[0]], [0, 1, 0.2 * reach * view.light[1]]])
    small = cv2.warpAffine(small, shift, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    shadow = cv2.resize(small, hair.shape[::-1], interpolation=cv2.INTER_LINEAR)
    skin = (canvas.labels == bare) & (canvas.labels != parts.BACKGROUND)
    canvas.picture[skin] *= (1 - 0.42 * np.clip(1.5 * shadow[skin], 0, 1))[:, None]


def _draw_microphone(canvas: _Canvas, view: _View, scene: Scene, head: Head) -> None:
    """A microphone before chin or cheek: nothing that the part labels name."""
    import cv2

    generator = np.random.default_rng([scene.clothes_seed, 8])
    place = floats(
        [generator.uniform(-35e3, 35e3), head.anatomy.chin[1] + generator.uniform(-25e3, 25e3), 125e3]
    )
    middle = view.project(view.turn(place, floats(1)))[:2]
    radius = view.scale * 24e3
    foot = middle + [view.scale * generator.uniform(-60e3, 60e3), view.scale * 190e3]
    mask = np.zeros(canvas.labels.shape, np.uint8)
    cv2.line(mask, _whole(middle), _whole(foot), 1, max(1, round(1.1 * radius)))
    cv2.circle(mask, _whole(middle), max(1, round(radius)), 2, -1)
    rows, columns = np.nonzero(mask)
    x, y = (columns - middle[0]) / radius, (rows - middle[1]) / radius
    ball = mask[rows, columns] == 2
    z = np.sqrt(np.clip(1 - x**2 - np.where(ball, y**2, 0), 0, 1))
    lit = np.clip(view.light[0] * x - np.where(ball, view.light[1] * y, 0) + view.light[2] * z, 0, 1)
    mesh = np.where(ball, 0.75 + 0.25 * np.sin(14 * x) * np.sin(14 * y), 1)
    base = np.where(ball, 0.16, 0.07)
    tone = base * mesh * (0.35 + 0.9 * lit) + 0.25 * lit**20
    canvas.picture[rows, columns] = tone[:, None]
    canvas.labels[rows, columns] = parts.BACKGROUND


def _whole(point: Floats) -> tuple[int, int]:
    return int(round(float(point[0]))), int(round(float(point[1])))


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
