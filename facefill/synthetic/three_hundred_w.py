"""300W-3D as it is released: AFW, HELEN, IBUG and LFPW with a .jpg and a .mat per face.

The coefficients are those of the default morphable model, multiplied by sigma as in the release; Tex_Para
belongs to the Basel model's texture basis, which has no counterpart here, and is zero.
"""

import io
import math
from dataclasses import dataclass

import numpy as np

from facefill.geometry.default_model import default_model
from facefill.synthetic.arrays import Floats
from facefill.synthetic.head import Head
from facefill.synthetic.people import Person, sample_person
from facefill.synthetic.pictures import File, jpeg, truth
from facefill.synthetic.render import Portrait, Sitter, take_picture
from facefill.synthetic.scene import PoseRange, Scene, sample_scene
from facefill.synthetic.seeds import seed_of
from facefill.synthetic.view import own_frame

FOLDER = "three_hundred_w"
PEOPLE, SCENES = 11, 12
SIZE = 450
POSE = PoseRange(50)
EYE_DISTANCE = (66.0, 84.0)  # pixels
# Shares of the subsets and how their files are called; {number} counts photographs, one face each.
SUBSETS = (
    ("HELEN", 0.61, "HELEN_{number:010d}_1_0"),
    ("LFPW", 0.27, "LFPW_image_train_{number:04d}_0"),
    ("AFW", 0.08, "AFW_{number:09d}_1_0"),
    ("IBUG", 0.04, "IBUG_image_{number:03d}_1_0"),
)


@dataclass(frozen=True)
class ThreeHundredWPlan:
    """Which person is on which picture; pictures are numbered from 0, a person's follow each other."""

    seed: int
    pictures: int
    pictures_per_identity: int

    @property
    def identities(self) -> int:
        """How many people there are."""
        return math.ceil(self.pictures / self.pictures_per_identity)

    def person_of(self, identity: int) -> Person:
        """The person, identities counted from 0."""
        return sample_person(seed_of(self.seed, PEOPLE, identity))

    def numbers_of(self, identity: int) -> list[int]:
        """The picture numbers of a person."""
        first = identity * self.pictures_per_identity
        return list(range(first, min(first + self.pictures_per_identity, self.pictures)))

    def scene_of(self, number: int, person: Person, head: Head) -> Scene:
        """The photograph of a number."""
        return sample_scene(
            seed_of(self.seed, SCENES, number), SIZE, SIZE, EYE_DISTANCE, POSE, head.model, person.tone
        )

    def path_of(self, number: int) -> str:
        """Subset and name of a picture, without ending."""
        # Golden-ratio steps spread the small subsets over all numbers; the first four pictures show all of
        # them.
        place = (number * 0.618034) % 1.0 if number >= len(SUBSETS) else (0.0, 0.7, 0.9, 0.97)[number]
        borders = np.cumsum([share for _, share, _ in SUBSETS])
        subset, _, name = SUBSETS[min(int(np.searchsorted(borders, place, "right")), len(SUBSETS) - 1)]
        return f"{subset}/{name.format(number=number + 1)}"


def write_picture(plan: ThreeHundredWPlan, number: int, sitter: Sitter, head: Head) -> list[File]:
    """A picture, its .mat and its ground truth."""
    scene = plan.scene_of(number, sitter.person, head)
    portrait = take_picture(sitter, scene, own_frame(scene), head)
    path = plan.path_of(number)
    return [
        File(f"{FOLDER}/{path}.jpg", jpeg(portrait.picture, scene.quality)),
        File(f"{FOLDER}/{path}.mat", mat_file(fields_of(sitter, scene, portrait))),
        truth(f"truth/{FOLDER}/{path}.npz", sitter, scene, portrait),
    ]


def fields_of(sitter: Sitter, scene: Scene, portrait: Portrait) -> dict[str, Floats]:
    """The eight fields of a .mat: pixels count from 1, the camera's y points up."""
    model = default_model()
    shape = sitter.person.identity.astype(np.float64) * model.identity_sigma.double().numpy()
    expression = scene.expression.astype(np.float64) * model.expression_sigma.double().numpy()
    camera = portrait.camera
    column, row = camera.translation[0].tolist()
    pitch, yaw, roll = camera.euler_xyz[0].tolist()
    height, width, _ = portrait.picture.shape
    x, y, z = (float(value) for value in scene.light.direction)
    ambient = np.clip(portrait.illumination[:, 0] * 0.28209, 0, 2)
    lamp = np.clip(scene.light.colour, 0, 2)
    return {
        "pt2d": np.asfortranarray(portrait.landmarks.T.astype(np.float64) + 1),
        "roi": np.array([[1, 1, width, height]], np.int16),
        "Illum_Para": np.array([[*ambient, *lamp, math.asin(y), math.atan2(x, z), 0.0, 20.0]], np.float64),
        "Color_Para": np.array([[1, 1, 1, 0, 0, 0, 1]], np.float32),
        "Tex_Para": np.zeros((199, 1)),
        "Shape_Para": shape[:, None],
        "Exp_Para": expression[:, None],
        "Pose_Para": np.array(
            [[pitch, yaw, roll, column + 1, height - row, 0.0, float(camera.scale[0])]], np.float32
        ),
    }


def mat_file(fields: dict[str, Floats]) -> bytes:
    """The fields as a MATLAB 5 file, without the date that scipy writes into its header."""
    import scipy.io

    stream = io.BytesIO()
    scipy.io.savemat(stream, fields)
    data = bytearray(stream.getvalue())
    text = b"MATLAB 5.0 MAT-file, Platform: PCWIN64, Created on: Wed Nov 18 08:59:42 2015"
    data[:116] = text.ljust(116)
    return bytes(data)
