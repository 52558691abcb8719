"""Points of a search: reproducible, distinct, applicable, printable."""

import math

import pytest

from facefill.errors import UserError
from pipelines.search_space import apply_point, as_settings, as_tree, sample_points

SPACE = {"loss_weights.symmetry": [0.1, 1.0, 10.0], "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}


def test_the_same_seed_gives_the_same_points_and_more_trials_only_add():
    points = sample_points(SPACE, 12, seed=7)
    assert points == sample_points(SPACE, 12, seed=7) == sample_points(SPACE, 20, seed=7)[:12]
    assert points != sample_points(SPACE, 12, seed=8)
    assert sample_points(dict(reversed(SPACE.items())), 12, seed=7) == points


def test_values_lie_in_their_ranges_evenly_on_a_log_scale():
    points = sample_points(SPACE, 400, seed=0)
    assert {point["loss_weights.symmetry"] for point in points} == {0.1, 1.0, 10.0}
    exponents = [math.log10(point["learning_rate"]) for point in points]
    assert -5 <= min(exponents) < -4.8 and -2.2 < max(exponents) <= -2
    assert sum(exponents) / len(exponents) == pytest.approx(-3.5, abs=0.15)


def test_points_differ_and_an_exhausted_space_is_said():
    points = sample_points({"a": [1, 2], "b": [3, 4]}, 4, seed=0)
    assert len({tuple(point.items()) for point in points}) == 4
    with pytest.raises(UserError, match="no more than 4 different points"):
        sample_points({"a": [1, 2], "b": [3, 4]}, 5, seed=0)


@pytest.mark.parametrize(
    "values",
    [[], 3, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, {"low": "a", "high": 2}],
)
def test_ranges_that_cannot_be_drawn_from_are_named(values):
    with pytest.raises(UserError, match=r"sweep\.space\.x is"):
        sample_points({"x": values}, 1, seed=0)


def test_a_point_is_applied_to_known_settings_only():
    config = {"loss_weights": {"symmetry": 1.0}, "width": 1.0}
    assert apply_point(config, {"loss_weights.symmetry": 3}, "inpaint")["loss_weights"] == {"symmetry": 3}
    assert config["loss_weights"] == {"symmetry": 1.0}
    for unknown in ("loss_weights.symetry", "width.x", "nothing"):
        with pytest.raises(UserError, match=f"sweep.space.{unknown}"):
            apply_point(config, {unknown: 1}, "inpaint")


def test_a_point_prints_as_settings_and_as_a_config():
    point = {"loss_weights.symmetry": 0.5, "optimizer.learning_rate": 0.001}
    assert as_settings(point, "inpaint") == [
        "stages.inpaint.model.loss_weights.symmetry=0.5",
        "stages.inpaint.model.optimizer.learning_rate=0.001",
    ]
    tree = as_tree(point, "inpaint")["stages"]["inpaint"]["model"]
    assert tree == {"loss_weights": {"symmetry": 0.5}, "optimizer": {"learning_rate": 0.001}}
