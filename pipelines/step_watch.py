"""What the ranks look for after every step: losses that are no numbers, and the order to stop."""

import itertools

import torch
from torch import Tensor

from pipelines.gradient_average import GradientAverage
from pipelines.train_ranks import CommonError, Place, gathered

NOT_FINITE_IN_A_ROW = 3


class NotFiniteError(CommonError):
    """The losses have been infinite or not a number for too long; every rank raises it at the same step."""


class StepWatch:
    """Remembers steps without reading the device, and judges them, on every rank alike, when asked to."""

    def __init__(self, place: Place, average: GradientAverage) -> None:
        self._place = place
        self._average = average
        self._steps: list[tuple[int, Tensor, list[str]]] = []  # number, whether bad, samples
        self._stop = torch.zeros((), dtype=torch.bool, device=place.device)

    def note(self, number: int, losses: list[Tensor], keys: list[str]) -> None:
        """Remember an update with its losses (on this rank's device) and samples.

        What the losses say is exchanged with the gradients of the next update.
        """
        heard = self._average.take()
        if self._steps:
            before, bad, names = self._steps[-1]
            self._steps[-1] = before, bad | heard.bad_losses, names
        self._steps.append((number, heard.bad_gradients, list(keys)))
        self._stop = self._stop | heard.stop
        self._average.tell(torch.stack(losses).isfinite().all())

    def examine(self, label: str) -> bool:
        """Whether all ranks are to stop here. Reads the device.

        Raises NotFiniteError after NOT_FINITE_IN_A_ROW bad steps in a row.
        """
        known, waiting = self._steps[:-1], self._steps[-1:]  # the last one's losses are not heard yet
        *flags, stop = torch.stack([*(bad for _, bad, _ in known), self._stop]).tolist()
        names: list[str] = []
        length = 0
        for bad, (number, _, keys) in zip(flags, known, strict=True):
            names, length = (names + keys, length + 1) if bad else ([], 0)
            if length == NOT_FINITE_IN_A_ROW:
                samples = sorted(set(itertools.chain(*gathered(names, self._place))))
                shown = ", ".join(samples[:12]) + (" ..." if len(samples) > 12 else "")
                raise NotFiniteError(
                    f"{label}: losses or gradients were not finite {length} times in a row up to step "
                    f"{number}, on the samples {shown}: look at these, or lower optimizer.learning_rate"
                )
        self._steps = known[len(known) - length :] + waiting
        return stop
