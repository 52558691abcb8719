"""Points of a search: drawn from a space of settings, applied to a stage's, printed as a command."""

import copy
import math
import random
from collections.abc import Mapping
from typing import Any

from facefill.errors import UserError

Point = dict[str, Any]  # dotted setting below the stage's model -> value
DIGITS = 4  # of a drawn number, so that the printed command repeats it exactly
DRAWS_PER_TRIAL = 200


def sample_points(space: Mapping[str, Any], trials: int, seed: int) -> list[Point]:
    """`trials` different points; the n-th depends on the space, the seed and n only.

    space: dotted setting -> list of choices, or {"low": a, "high": b} for a uniform number, with "log": true
    for a log-uniform one. Raises UserError for anything else and for a space with fewer points than trials.
    """
    for name, values in space.items():
        check_range(name, values)
    points: list[Point] = []
    for number in range(trials):
        for draw in range(DRAWS_PER_TRIAL):
            generator = random.Random(f"{seed}/{number}/{draw}")
            point = {name: draw_value(space[name], generator) for name in sorted(space)}
            if point not in points:
                points.append(point)
                break
        else:
            raise UserError(
                f"sweep.trials is {trials}, but sweep.space has no more than {len(points)} different points: "
                "lower trials or add choices"
            )
    return points


def check_range(name: str, values: Any) -> None:
    """Raise UserError unless a value can be drawn."""
    if isinstance(values, list | tuple) and values:
        return
    if isinstance(values, Mapping) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        low, high = values["low"], values["high"]
        if (
            all(isinstance(x, int | float) for x in (low, high))
            and low < high
            and (low > 0 or not values.get("log"))
        ):
            return
    raise UserError(
        f"sweep.space.{name} is {values!r}: give a list of choices, or low and high with low < high, and "
        "log: true only above zero"
    )


def draw_value(values: Any, generator: random.Random) -> Any:
    """One value of a checked range."""
    if not isinstance(values, Mapping):
        return generator.choice(list(values))
    low, high = float(values["low"]), float(values["high"])
    if values.get("log"):
        value = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        value = generator.uniform(low, high)
    return float(f"{value:.{DIGITS}g}")


def apply_point(config: Mapping[str, Any], point: Point, stage: str) -> dict[str, Any]:
    """The stage's settings with the point's values. Raises UserError for a setting that the stage has not."""
    changed = copy.deepcopy(dict(config))
    for name, value in point.items():
        *parents, last = name.split(".")
        node: Any = changed
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise UserError(f"sweep.space.{name}: the stage {stage} has no such setting; see its config.yaml")
        node[last] = value
    return changed


def as_settings(point: Point, stage: str) -> list[str]:
    """The point as `key=value` settings of `facefill train`."""
    return [f"stages.{stage}.model.{name}={value}" for name, value in point.items()]


def as_tree(point: Point, stage: str) -> dict[str, Any]:
    """The point as the nested settings of a config file."""
    tree: dict[str, Any] = {}
    for name, value in point.items():
        node = tree
        for part in ["stages", stage, "model", *name.split(".")[:-1]]:
            node = node.setdefault(part, {})
        node[name.split(".")[-1]] = value
    return tree
