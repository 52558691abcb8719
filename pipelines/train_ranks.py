"""Where the ranks of one training run are, and what they find out together: means, mistakes, and what rank 0
chose.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from facefill.errors import UserError
from pipelines.checkpoints import Checkpoint
from pipelines.stop_notice import StopNotice

Result = TypeVar("Result")


class CommonError(UserError):
    """A mistake that every rank raises at the same point; to try again would be in vain."""


@dataclass(frozen=True)
class Place:
    """Where one rank runs, and where it is told to stop."""

    rank: int
    world_size: int
    device: torch.device
    notice: StopNotice = field(default_factory=StopNotice)


class Means:
    """Running means of named scalars, kept on the device until taken; what is not finite is left out."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sums: dict[tuple[str, ...], Tensor] = {}  # names that come together -> sums and counts
        self._calls = 0
        self._since = time.perf_counter()

    def add(self, values: dict[str, Tensor], weight: float = 1.0) -> None:
        """One more value of each name, on the rank's device; names need not be the same every time."""
        self._calls += 1
        if not values:
            return
        given = torch.stack([value.detach() for value in values.values()]).double()
        finite = given.isfinite()
        row = weight * torch.stack([given.masked_fill(~finite, 0.0), finite.double()])
        names = tuple(values)
        self._sums[names] = self._sums[names] + row if names in self._sums else row

    def take(self) -> dict[str, float]:
        """The means over all ranks and `time/step` in seconds; starts anew. Reads the device."""
        mine = {
            (names, place): row[:, place]
            for names, row in self._sums.items()
            for place, _ in enumerate(names)
        }
        names = sorted(set(itertools.chain(*gathered([names[place] for names, place in mine], self._place))))
        table = torch.zeros(2, len(names), dtype=torch.float64, device=self._place.device)
        for (group, place), pair in mine.items():
            table[:, names.index(group[place])] += pair
        if self._place.world_size > 1:
            torch.distributed.all_reduce(table)
        sums, counts = table.tolist()
        means = {name: sums[i] / counts[i] if counts[i] else float("nan") for i, name in enumerate(names)}
        means["time/step"] = (time.perf_counter() - self._since) / max(self._calls, 1)
        self._sums, self._calls, self._since = {}, 0, time.perf_counter()
        return means


def in_common(work: Callable[[], Result], place: Place) -> Result:
    """What the work gives, which every rank does. Where one raises UserError, all raise CommonError."""
    results, mistake = [], ""
    try:
        results.append(work())
    except UserError as error:
        mistake = str(error)
    if found := next(filter(None, gathered(mistake, place)), ""):
        raise CommonError(found)
    return results[0]


def gathered(item: Any, place: Place) -> list[Any]:
    """Every rank's item, on every rank."""
    if place.world_size == 1:
        return [item]
    box: list[Any] = [None] * place.world_size
    torch.distributed.all_gather_object(box, item)
    return box


def agreed(checkpoint: Checkpoint | None, place: Place) -> Checkpoint | None:
    """Rank 0's choice, on every rank."""
    if place.world_size == 1:
        return checkpoint
    box = [checkpoint]
    torch.distributed.broadcast_object_list(box, src=0, device=place.device)
    return box[0]
