"""The one exchange of a training step: gradients are averaged over the ranks, and what all must know rides
along.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from pipelines.train_ranks import Place


@dataclass(frozen=True)
class Heard:
    """What every rank knows after an exchange; booleans that are still on the device.

    bad_gradients: of this step, on any rank. bad_losses: of the step before. stop: a rank is to end.
    """

    bad_gradients: Tensor
    bad_losses: Tensor
    stop: Tensor


class GradientAverage:
    """Called with parameters between backward and the optimizer's step: averages gradients over the ranks and
    returns their norm.

    A gradient with an infinite or undefined value is replaced by zeros on every rank (the flag needs no
    exchange: it is in the average), so one bad batch does not spoil the weights.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._bad_losses = torch.zeros((), device=place.device)
        self._bad_gradients: list[Tensor] = []
        self._told: list[Tensor] = []

    def tell(self, losses_finite: Tensor) -> None:
        """Whether this rank's losses were finite, which the next exchange makes known."""
        self._bad_losses = 1.0 - losses_finite.to(self._bad_losses)

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        stop = torch.full_like(self._bad_losses, float(bool(self._place.notice.reason)))
        told = torch.stack([self._bad_losses, stop])
        if self._place.world_size > 1:
            flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), told])
            torch.distributed.all_reduce(flat)
            *pieces, told = flat.split([*(gradient.numel() for gradient in gradients), len(told)])
            for gradient, piece in zip(gradients, pieces, strict=True):
                torch.div(piece.view_as(gradient), self._place.world_size, out=gradient)
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = norm.isfinite()
        self._bad_gradients.append(~finite)
        self._told.append(told > 0)
        if finite.device.type != "cpu" or not finite:
            for gradient in gradients:
                gradient.masked_fill_(~finite, 0.0)
        return norm

    def take(self) -> Heard:
        """What was heard since the last call."""
        none = torch.zeros((), dtype=torch.bool, device=self._place.device)
        bad = torch.stack(self._bad_gradients).any() if self._bad_gradients else none
        bad_losses, stop = torch.stack(self._told).any(0) if self._told else (none, none)
        self._bad_gradients, self._told = [], []
        return Heard(bad, bad_losses, stop)
