"""Components from a stated distribution of face-unit activations."""

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.expression_components import (
    MEAN_ACTIVATION,
    directions,
    expression_components,
)
from facefill.geometry.ict_model import UNITS

VERTICES = 60


def fields_and_mirror() -> tuple[dict[str, NDArray], NDArray]:
    """Random unit fields (60, 3), those of a pair mirror images of each other."""
    rng = np.random.default_rng(0)
    mirror = np.arange(VERTICES)[::-1].copy()
    flip = np.array([-1.0, 1.0, 1.0])
    fields: dict[str, NDArray] = {}
    for name in UNITS:
        other = name[:-2] + "_R" if name.endswith("_L") else name.replace("Left", "Right")
        if name in fields:
            continue
        fields[name] = rng.normal(size=(VERTICES, 3))
        if other != name:
            fields[other] = fields[name][mirror] * flip
    return fields, mirror


def test_components_have_the_covariance_of_the_stated_directions() -> None:
    fields, mirror = fields_and_mirror()
    _, components = expression_components(fields, mirror, 200)
    flat = components.reshape(len(components), -1)
    total = np.zeros((3 * VERTICES, 3 * VERTICES))
    for direction in directions(fields):
        shape = direction.sigma * sum(w * fields[n] for n, w in direction.weights.items())
        shape = 0.5 * (shape + direction.parity * shape[mirror] * [-1.0, 1.0, 1.0])
        total += np.outer(shape, shape)
    assert np.allclose(flat.T @ flat, total, atol=1e-9)


def test_components_are_exactly_symmetric_or_antisymmetric_and_ordered() -> None:
    fields, mirror = fields_and_mirror()
    _, components = expression_components(fields, mirror, 29)
    mirrored = components[:, mirror] * [-1.0, 1.0, 1.0]
    parity = np.sign((components * mirrored).sum((1, 2)))
    assert np.allclose(mirrored, parity[:, None, None] * components, atol=1e-12)
    assert {-1.0, 1.0} == set(parity)
    strength = (components**2).sum((1, 2))
    assert (np.diff(strength) <= 1e-9).all()
    assert components.shape == (29, VERTICES, 3)


def test_the_mean_holds_the_mean_activation_of_both_sides() -> None:
    fields, mirror = fields_and_mirror()
    mean, _ = expression_components(fields, mirror, 5)
    jaw = 0.5 * (fields["jawOpen"] + fields["jawOpen"][mirror] * [-1.0, 1.0, 1.0])
    smile = fields["mouthSmile_L"] + fields["mouthSmile_R"]
    expected = MEAN_ACTIVATION["jawOpen"] * jaw + MEAN_ACTIVATION["mouthSmile"] * smile
    assert np.allclose(mean, expected)
