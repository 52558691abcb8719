"""One head, one sitter and one portrait, made once."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("numba")

from facefill.synthetic.hair import SHORT
from facefill.synthetic.head import Head, load_head
from facefill.synthetic.people import sample_person
from facefill.synthetic.render import Portrait, Sitter, prepare, take_picture
from facefill.synthetic.scene import PoseRange, Scene, sample_scene
from facefill.synthetic.view import own_frame


@pytest.fixture(scope="session")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="session")
def sitter(head: Head) -> Sitter:
    """Nobody hides behind glasses or a fringe here."""
    person = replace(sample_person(11), glasses=False, hair=SHORT, earrings=False)
    return prepare(person, head)


@pytest.fixture(scope="session")
def scene(head: Head, sitter: Sitter) -> Scene:
    """A nearly frontal face, nothing before it."""
    drawn = sample_scene(5, 300, 360, (56, 56), PoseRange(8, 3, 3), head.model, sitter.person.tone)
    return replace(drawn, glasses=False, hat=False, microphone=False, noise=0.0)


@pytest.fixture(scope="session")
def portrait(head: Head, sitter: Sitter, scene: Scene) -> Portrait:
    return take_picture(sitter, scene, own_frame(scene), head)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)
