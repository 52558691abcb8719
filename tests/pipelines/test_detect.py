"""The rule that chooses a face, on faces made by hand."""

import numpy as np

from facefill.landmarks import five_from_68
from pipelines.detect import AGREES, LEAST_SCORE, SMALLEST_FACE, DetectedFace, choose_face, choose_face_at


def face(left: float, top: float, width: float, score: float = 0.9) -> DetectedFace:
    points = np.full((68, 2), [left + width / 2, top + width / 2])
    return DetectedFace((left, top, left + width, top + width), score, points)


def test_the_largest_face_wins_wherever_it_is():
    faces = [face(150, 150, 60), face(5, 5, 120), face(300, 300, 50)]
    choice = choose_face(faces, 400, 400)
    assert choice.face is faces[1]
    assert (choice.seen, choice.reason, choice.note) == (3, "", "")


def test_among_faces_of_similar_size_the_one_nearest_the_centre_wins_with_a_note():
    faces = [face(0, 150, 100), face(160, 150, 80), face(300, 150, 90)]
    choice = choose_face(faces, 400, 400)
    assert choice.face is faces[1]
    assert choice.note == "3 faces of similar size; the one nearest the picture's centre is taken"


def test_equal_faces_at_equal_distance_are_decided_by_place_not_by_order():
    faces = [face(0, 150, 100), face(299, 150, 100)]  # mirror images about column 199.5
    there = choose_face(faces, 400, 350).face
    assert there is not None and there is choose_face(faces[::-1], 400, 350).face


def test_no_face():
    choice = choose_face([], 400, 400)
    assert choice.face is None and choice.seen == 0 and choice.reason == "no face found"


def test_an_unsure_face_is_none_and_the_reason_gives_its_score():
    choice = choose_face([face(100, 100, 100, LEAST_SCORE - 0.08)], 400, 400)
    assert choice.face is None and choice.seen == 0
    assert choice.reason == "no face found (the likeliest place scores 0.42; at least 0.5 is needed)"
    assert choose_face([face(100, 100, 100, LEAST_SCORE)], 400, 400).face is not None


def test_a_tiny_face_is_refused_and_measured():
    choice = choose_face([face(100, 100, 23), face(200, 200, 12)], 400, 400)
    assert choice.face is None and choice.seen == 2
    assert choice.reason == "the largest face is 23 px wide; at least 40 are needed"
    assert choose_face([face(100, 100, SMALLEST_FACE)], 400, 400).face is not None


def test_a_tiny_face_is_no_rival():
    faces = [face(0, 0, 45), face(180, 180, 38)]
    choice = choose_face(faces, 400, 400)
    assert choice.face is faces[0] and not choice.note


def test_points_outside_the_picture_are_no_face():
    assert choose_face([face(-49, 10, 100)], 400, 400).face is not None
    assert choose_face([face(-120, 10, 100)], 400, 400).face is None


def spread(left: float, top: float, width: float, score: float = 0.9) -> DetectedFace:
    """A face whose points fill its box, so that its five points differ."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 4)), -1).reshape(68, 2)
    return DetectedFace((left, top, left + width, top + width), score, grid * width + [left, top])


def test_known_points_choose_their_face_whatever_its_size_and_place():
    faces = [spread(100, 100, 200), spread(0, 0, 20)]
    choice = choose_face_at(faces, five_from_68(faces[1].points) + 0.5)
    assert choice.face is faces[1] and choice.seen == 2 and not choice.reason


def test_known_points_far_from_every_sure_face_choose_none():
    face = spread(100, 100, 200)
    five = five_from_68(face.points)
    length = np.linalg.norm(five[3:].mean(0) - five[:2].mean(0))
    assert choose_face_at([face], five + [0.99 * AGREES * length, 0]).face is face
    far = choose_face_at([face], five + [1.01 * AGREES * length, 0])
    unsure = choose_face_at([spread(100, 100, 200, LEAST_SCORE - 0.1)], five)
    for choice in (far, unsure):
        assert choice.face is None and choice.reason == "no face found where its five points are"
