"""What the ranks of one training run do together: average gradients and metrics, agree, and stop as one."""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from facefill.errors import UserError
from pipelines.checkpoints import Checkpoint

NOT_FINITE_IN_A_ROW = 3


@dataclass(frozen=True)
class Place:
    """Where one rank runs. `barrier(metrics)` returns when every rank has called it."""

    rank: int
    world_size: int
    device: torch.device
    barrier: Callable[[dict[str, float]], None]


class NotFiniteError(UserError):
    """The losses have been infinite or not a number for too long; every rank raises it at the same step."""


class GradientAverage:
    """Called with parameters between backward and the optimizer's step: averages gradients over the ranks and
    returns their norm.

    A gradient with an infinite or undefined value is replaced by zeros on every rank (the flag needs no
    exchange: it is in the average), so one bad batch does not spoil the weights.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._finite: list[Tensor] = []

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.world_size > 1:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            torch.distributed.all_reduce(flat)
            flat /= self.world_size
            pieces = flat.split([gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = norm.isfinite()
        self._finite.append(finite)
        if finite.device.type != "cpu" or not finite:
            for gradient in gradients:
                gradient.masked_fill_(~finite, 0.0)
        return norm

    def take_finite(self) -> Tensor:
        """Whether all gradients since the last call were finite: a boolean scalar on their device."""
        finite, self._finite = self._finite, []
        return torch.stack(finite).all() if finite else torch.tensor(True)


class NotFiniteWatch:
    """Stops a run that has diverged, with the names of the samples it broke on."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._steps: list[tuple[Tensor, list[str]]] = []

    def note(self, finite: Tensor, keys: list[str]) -> None:
        """Remember one step, bad if it is bad on any rank; nothing is read from the device yet."""
        flag = finite.to(self._place.device, torch.float32)
        if self._place.world_size > 1:
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
        self._steps.append((flag, list(keys)))

    def examine(self, label: str, step: int) -> None:
        """Raise NotFiniteError after NOT_FINITE_IN_A_ROW bad steps in a row."""
        flags = torch.stack([flag for flag, _ in self._steps]).tolist()
        bad: list[str] = []
        length = 0
        for flag, (_, keys) in zip(flags, self._steps, strict=True):
            bad, length = ([], 0) if flag else (bad + keys, length + 1)
            if length == NOT_FINITE_IN_A_ROW:
                names = sorted(set(itertools.chain(*gathered(bad, self._place))))
                raise NotFiniteError(
                    f"{label}: losses or gradients were not finite {length} times in a row up to step "
                    f"{step}, on the samples {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}: "
                    "look at these, or lower optimizer.learning_rate"
                )
        self._steps = self._steps[len(self._steps) - length :]


class Means:
    """Running means of named scalars, kept on the device until taken; what is not finite is left out."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._calls = 0
        self._since = time.perf_counter()

    def add(self, values: dict[str, Tensor], weight: float = 1.0) -> None:
        """One more value of each name; names need not be the same every time."""
        self._calls += 1
        for name, value in values.items():
            value = value.detach().double()
            finite = value.isfinite()
            self._sums[name] = self._sums.get(name, 0.0) + weight * value.where(
                finite, torch.zeros_like(value)
            )
            self._counts[name] = self._counts.get(name, 0.0) + weight * finite.double()

    def take(self) -> dict[str, float]:
        """The means over all ranks and `time/step` in seconds; starts anew. Reads the device."""
        names = sorted(set(itertools.chain(*gathered(list(self._sums), self._place))))
        device = self._place.device
        none = torch.zeros((), dtype=torch.float64)
        table = torch.stack(
            [table.get(name, none).to(device) for table in (self._sums, self._counts) for name in names]
            or [none.to(device)]
        )
        if self._place.world_size > 1:
            torch.distributed.all_reduce(table)
        sums, counts = table[: len(names)].tolist(), table[len(names) :].tolist()
        means = {name: sums[i] / counts[i] if counts[i] else float("nan") for i, name in enumerate(names)}
        means["time/step"] = (time.perf_counter() - self._since) / max(self._calls, 1)
        self._sums, self._counts, self._calls, self._since = {}, {}, 0, time.perf_counter()
        return means


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
