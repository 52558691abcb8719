"""CelebA as it is released: in-the-wild and aligned pictures, annotation lists, the official partition.

Beside it lies landmarks68.csv with 68 points per in-the-wild picture, as a user's landmark detector writes
them. People keep to one part of the partition; a person's pictures are scattered over its numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from facefill.landmarks import five_from_68
from facefill.synthetic.arrays import Bytes, Floats
from facefill.synthetic.attributes import NAMES, attributes_of
from facefill.synthetic.head import Head
from facefill.synthetic.people import Person, sample_person
from facefill.synthetic.pictures import File, jpeg, transformed_truth, truth
from facefill.synthetic.render import Sitter, take_picture
from facefill.synthetic.scene import PoseRange, Scene, sample_scene
from facefill.synthetic.seeds import seed_of
from facefill.synthetic.view import landmarks_in, own_frame, visible_landmarks

FOLDER = "celeba"
PEOPLE, SCENES, ORDER = 1, 2, 3  # random streams of this data set
POSE = PoseRange(30)
SHARES = (0.80, 0.08, 0.12)  # of people: train, validation, test
CELEBRITIES = 10177
# Where the aligned variant puts eyes and mouth corners (means of the official rows), 178 x 218.
ALIGNED_POINTS = np.array([[69.5, 111.1], [107.5, 111.1], [71.5, 152.3], [105.4, 152.3]])
ALIGNED_WIDTH, ALIGNED_HEIGHT = 178, 218


@dataclass(frozen=True)
class CelebaPlan:
    """Which person is on which picture, a function of seed and counts; pictures are numbered from 1."""

    seed: int
    pictures: int
    pictures_per_identity: int

    @property
    def identities(self) -> int:
        """How many people there are."""
        return math.ceil(self.pictures / self.pictures_per_identity)

    def person_seed(self, identity: int) -> int:
        """Seed of a person, who is the same in CelebA and CelebAMask-HQ."""
        return seed_of(self.seed, PEOPLE, identity)

    def person_of(self, identity: int) -> Person:
        """The person, identities counted from 0."""
        return sample_person(self.person_seed(identity))

    def numbers_of(self, identity: int) -> list[int]:
        """The picture numbers of a person, sorted."""
        return [number for number, owner in enumerate(_owners(self), 1) if owner == identity]

    def identity_of(self, number: int) -> int:
        """The person on a picture."""
        return _owners(self)[number - 1]

    def part_of(self, identity: int) -> int:
        """0 train, 1 validation, 2 test."""
        first, second = _borders(self.identities)
        return 0 if identity < first else 1 if identity < second else 2

    def scene_of(self, number: int, person: Person, head: Head) -> Scene:
        """The photograph of a number."""
        seed = seed_of(self.seed, SCENES, number)
        draw = np.random.default_rng([seed, 1])
        eyes = draw.uniform(50, 68)
        width = round(eyes * draw.uniform(4.9, 6.2))
        return sample_scene(
            seed, width, round(width * draw.uniform(1.1, 1.35)), (eyes, eyes), POSE, head.model, person.tone
        )


@dataclass(frozen=True)
class CelebaRow:
    """One picture's entries in the annotation lists."""

    number: int
    identity: int
    part: int
    five: list[list[int]]
    five_aligned: list[list[int]]
    box: list[int]
    attributes: list[int]
    points68: list[list[float]]


def name_of(number: int) -> str:
    """File name of a picture."""
    return f"{number:06d}.jpg"


def write_picture(plan: CelebaPlan, number: int, sitter: Sitter, head: Head) -> tuple[list[File], CelebaRow]:
    """Both variants of a picture with their ground truth, and its row."""
    scene = plan.scene_of(number, sitter.person, head)
    portrait = take_picture(sitter, scene, own_frame(scene), head)
    five = five_from_68(portrait.landmarks)
    similarity = aligned_similarity(five)
    aligned = _warp(portrait.picture, similarity)
    name = name_of(number)
    stem = f"{number:06d}"
    files = [
        File(f"{FOLDER}/Img/img_celeba/{name}", jpeg(portrait.picture, scene.quality)),
        File(f"{FOLDER}/Img/img_align_celeba/{name}", jpeg(aligned, 95)),
        truth(f"truth/{FOLDER}/img_celeba/{stem}.npz", sitter, scene, portrait),
        transformed_truth(f"truth/{FOLDER}/img_align_celeba/{stem}.npz", sitter, scene, portrait, similarity),
    ]
    return files, row_of(plan, number, sitter, head)


def row_of(plan: CelebaPlan, number: int, sitter: Sitter, head: Head) -> CelebaRow:
    """A picture's row; nothing is drawn for it."""
    scene = plan.scene_of(number, sitter.person, head)
    landmarks = landmarks_in(sitter.person, scene, own_frame(scene), head)
    five = five_from_68(landmarks)
    similarity = aligned_similarity(five)
    identity = plan.identity_of(number)
    detected = visible_landmarks(sitter.person, scene, own_frame(scene), head).astype(np.float64)
    return CelebaRow(
        number=number,
        identity=_celebrity(plan, identity),
        part=plan.part_of(identity),
        five=np.rint(five).astype(int).tolist(),
        five_aligned=np.rint(five @ similarity[:, :2].T + similarity[:, 2]).astype(int).tolist(),
        box=_box(landmarks),
        attributes=attributes_of(sitter.person, scene),
        points68=np.round(detected, 2).tolist(),
    )


def annotations(rows: list[CelebaRow]) -> Iterator[File]:
    """The lists of all pictures, rows sorted by number."""
    names = [name_of(row.number) for row in rows]
    points = " ".join(
        f"{point}_{axis}"
        for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
        for axis in "xy"
    )
    five = [row.five for row in rows]
    aligned = [row.five_aligned for row in rows]
    yield _list("Anno/list_landmarks_celeba.txt", points, names, [_flat(p) for p in five], 5)
    yield _list("Anno/list_landmarks_align_celeba.txt", points, names, [_flat(p) for p in aligned], 5)
    yield _list(
        "Anno/list_bbox_celeba.txt", "image_id x_1 y_1 width height", names, [row.box for row in rows], 5
    )
    yield _list("Anno/list_attr_celeba.txt", " ".join(NAMES), names, [row.attributes for row in rows], 3)
    identities = "".join(f"{name} {row.identity}\n" for name, row in zip(names, rows, strict=True))
    yield File(f"{FOLDER}/Anno/identity_CelebA.txt", identities.encode())
    parts = "".join(f"{name} {row.part}\n" for name, row in zip(names, rows, strict=True))
    yield File(f"{FOLDER}/Eval/list_eval_partition.txt", parts.encode())
    header = ",".join(["image_id", "detected", *(f"{axis}{k}" for k in range(68) for axis in "xy")])
    lines = [
        ",".join([name, "1", *(f"{value:g}" for point in row.points68 for value in point)])
        for name, row in zip(names, rows, strict=True)
    ]
    yield File(f"{FOLDER}/landmarks68.csv", "\n".join([header, *lines, ""]).encode())


def aligned_similarity(five: Floats) -> Floats:
    """(2, 3) from in-the-wild to aligned pixels: least squares on eyes and mouth corners of (5, 2)."""
    source = np.asarray(five, np.float64)[[0, 1, 3, 4]]
    middle, goal = source.mean(0), ALIGNED_POINTS.mean(0)
    a, b = source - middle, ALIGNED_POINTS - goal
    cosine, sine = (a * b).sum(), (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    linear = np.array([[cosine, -sine], [sine, cosine]]) / (a * a).sum()
    return np.column_stack([linear, goal - linear @ middle])


@cache
def _owners(plan: CelebaPlan) -> list[int]:
    """The person on each picture, in the order of numbers: parts one after another, shuffled within."""
    everyone = np.arange(plan.pictures) // plan.pictures_per_identity
    parts = np.array([plan.part_of(identity) for identity in everyone.tolist()])
    order = np.random.default_rng(seed_of(plan.seed, ORDER)).permutation(plan.pictures)
    order = order[np.argsort(parts[order], kind="stable")]
    return everyone[order].tolist()


def _borders(identities: int) -> tuple[int, int]:
    """First person of validation and of test; each part gets one when there are three people or more."""
    if identities < 3:
        return identities, identities
    test = max(1, round(SHARES[2] * identities))
    validation = max(1, round(SHARES[1] * identities))
    return identities - test - validation, identities - test


def _celebrity(plan: CelebaPlan, identity: int) -> int:
    """The person's number in the list: scattered like the released ones."""
    if plan.identities > CELEBRITIES:
        return identity + 1
    return int(np.random.default_rng(seed_of(plan.seed, ORDER, 1)).permutation(CELEBRITIES)[identity]) + 1


def _warp(picture: Bytes, similarity: Floats) -> Bytes:
    """The aligned picture; beyond the border the edge is repeated, as in the release."""
    import cv2

    # Drawn twice as fine and reduced, so that a shrinking picture does not alias.
    finer = 2 * similarity
    finer[:, 2] += 0.5
    large = cv2.warpAffine(
        picture,
        finer,
        (2 * ALIGNED_WIDTH, 2 * ALIGNED_HEIGHT),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(large, (ALIGNED_WIDTH, ALIGNED_HEIGHT), interpolation=cv2.INTER_AREA)


def _flat(points: list[list[int]]) -> list[int]:
    return [value for point in points for value in point]


def _box(landmarks: Floats) -> list[int]:
    """Left, top, width, height of the head around 68 landmarks."""
    low, high = landmarks.min(0), landmarks.max(0)
    size = high - low
    left, top = low - size * [0.18, 0.55]
    return [round(float(left)), round(float(top)), round(float(1.36 * size[0])), round(float(1.75 * size[1]))]


def _list(path: str, columns: str, names: list[str], rows: list[list[int]], width: int) -> File:
    """A list as released: the count, the column names, then name and right-aligned numbers."""
    lines = [
        f"{name} " + "".join(f"{value:>{width}d}" for value in row).lstrip()
        for name, row in zip(names, rows, strict=True)
    ]
    return File(f"{FOLDER}/{path}", "\n".join([str(len(names)), columns, *lines, ""]).encode())
