"""CelebAMask-HQ as it is released: 1024 pictures, a 512 PNG per part, mapping, pose and attribute lists.

Each picture is one of the CelebA plan's, taken again at high resolution in the CelebA-HQ frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from facefill.alignment import celeba_hq_similarity
from facefill.face_parsing import CELEBAMASK_PARTS
from facefill.landmarks import five_from_68
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes
from facefill.synthetic.attributes import NAMES, attributes_of
from facefill.synthetic.celeba import CelebaPlan
from facefill.synthetic.celeba import name_of as celeba_name
from facefill.synthetic.head import Head
from facefill.synthetic.pictures import File, jpeg, png, truth
from facefill.synthetic.render import Sitter, take_picture
from facefill.synthetic.seeds import seed_of
from facefill.synthetic.view import Frame, landmarks_in, own_frame

FOLDER = "celebamask_hq"
CHOICE = 21
SIZE, MASK_SIZE = 1024, 512
FILES_PER_FOLDER = 2000
SMALLEST_PART = 12  # pixels of a mask; fewer count as absent


@dataclass(frozen=True)
class CelebaMaskHqPlan:
    """Which CelebA picture each CelebA-HQ index shows: distinct ones, in random order."""

    celeba: CelebaPlan
    pictures: int

    def number_of(self, index: int) -> int:
        """CelebA picture number of an index."""
        return _numbers(self)[index]

    def indices_of(self, identity: int) -> list[int]:
        """The indices that show a person."""
        return [k for k, number in enumerate(_numbers(self)) if self.celeba.identity_of(number) == identity]


@dataclass(frozen=True)
class CelebaMaskHqRow:
    """One picture's entries in the lists."""

    index: int
    number: int
    yaw: float
    pitch: float
    roll: float
    attributes: list[int]


def write_picture(
    plan: CelebaMaskHqPlan, index: int, sitter: Sitter, head: Head
) -> tuple[list[File], CelebaMaskHqRow]:
    """A picture, its part masks and its ground truth, and its row."""
    number = plan.number_of(index)
    scene = plan.celeba.scene_of(number, sitter.person, head)
    five = np.rint(five_from_68(landmarks_in(sitter.person, scene, own_frame(scene), head)))
    frame = Frame(celeba_hq_similarity(five, SIZE), SIZE, SIZE, 1)
    portrait = take_picture(sitter, scene, frame, head)
    files = [File(f"{FOLDER}/CelebA-HQ-img/{index}.jpg", jpeg(portrait.picture, 95))]
    for part, mask in part_masks(portrait.labels).items():
        path = f"{FOLDER}/CelebAMask-HQ-mask-anno/{index // FILES_PER_FOLDER}/{index:05d}_{part}.png"
        files.append(File(path, png(mask)))
    files.append(truth(f"truth/{FOLDER}/{index}.npz", sitter, scene, portrait))
    pitch, yaw, roll = (math.degrees(angle) for angle in portrait.camera.euler_xyz[0].tolist())
    return files, CelebaMaskHqRow(index, number, yaw, pitch, roll, attributes_of(sitter.person, scene))


def part_masks(labels: Bytes) -> dict[str, Bytes]:
    """Part name -> (512, 512) mask of 0 and 255; absent parts left out; skin covers what lies on it."""
    import cv2

    small = cv2.resize(labels, (MASK_SIZE, MASK_SIZE), interpolation=cv2.INTER_NEAREST)
    masks = {}
    for code, part in enumerate(CELEBAMASK_PARTS):
        shown = np.isin(small, (parts.SKIN, *parts.ON_SKIN)) if code == parts.SKIN else small == code
        if code != parts.BACKGROUND and shown.sum() >= SMALLEST_PART:
            masks[part] = np.where(shown, np.uint8(255), np.uint8(0))
    return masks


def annotations(rows: list[CelebaMaskHqRow]) -> Iterator[File]:
    """The lists of all pictures, rows sorted by index."""
    mapping = ["idx        orig_idx   orig_file"]
    mapping += [f"{row.index:<11d}{row.number - 1:<11d}{celeba_name(row.number)}" for row in rows]
    yield File(f"{FOLDER}/CelebA-HQ-to-CelebA-mapping.txt", "\n".join([*mapping, ""]).encode())
    pose = [str(len(rows)), "Yaw Pitch Raw"]
    pose += [f"{row.index}.jpg {row.yaw:.7g} {row.pitch:.7g} {row.roll:.7g}" for row in rows]
    yield File(f"{FOLDER}/CelebAMask-HQ-pose-anno.txt", "\n".join([*pose, ""]).encode())
    attributes = [str(len(rows)), " ".join(NAMES)]
    attributes += [f"{row.index}.jpg  " + " ".join(str(value) for value in row.attributes) for row in rows]
    yield File(f"{FOLDER}/CelebAMask-HQ-attribute-anno.txt", "\n".join([*attributes, ""]).encode())


@cache
def _numbers(plan: CelebaMaskHqPlan) -> list[int]:
    draw = np.random.default_rng(seed_of(plan.celeba.seed, CHOICE))
    return (draw.permutation(plan.celeba.pictures)[: plan.pictures] + 1).tolist()
