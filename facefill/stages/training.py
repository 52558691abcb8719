"""What every stage shares: the descent of a loss, averaged weights, precision, and sums of named losses."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from facefill.config import OptimizerConfig, Precision, StageConfig
from facefill.errors import UserError
from facefill.stages import Synchronize

Network = TypeVar("Network", bound=nn.Module)


class Descent:
    """Adam as the paper sets it, down a loss that may come in parts (gradient accumulation).

    The learning rate is a function of the step, so a continued run needs no scheduler state. `name` is that
    of the reported `gradient/{name}` and `rate/{name}`.
    """

    def __init__(
        self,
        name: str,
        parameters: Iterable[nn.Parameter],
        config: OptimizerConfig,
        learning_rate: float,
        synchronize: Synchronize,
    ) -> None:
        self.name = name
        self.config = config
        self.learning_rate = learning_rate
        self.synchronize = synchronize
        self.parameters = list(parameters)
        self.adam = torch.optim.Adam(
            self.parameters,
            learning_rate,
            (config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def add(self, loss: Tensor, share: float = 1.0) -> None:
        """Add the gradient of share · loss. Gradients of other parameters are not computed."""
        gradients = torch.autograd.grad(loss * share, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if parameter.grad is not None:
                if gradient is not None:
                    parameter.grad += gradient
            elif gradient is None:
                parameter.grad = torch.zeros_like(parameter)
            else:
                # copied, for it may lie channels last, and the fused Adam of CPUs walks through memory as if
                # both lay alike
                parameter.grad = torch.empty_like(parameter).copy_(gradient)

    def step(self, step: int) -> dict[str, Tensor]:
        """One update with what was added; the gradient's norm (over all ranks) and the learning rate.

        Nothing moves where the norm is not finite.
        """
        norm = self.synchronize(self.parameters)
        self.adam.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # as a GradScaler does
        rate = self.learning_rate * self.config.decay ** (step // self.config.decay_every)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return {f"gradient/{self.name}": norm.detach(), f"rate/{self.name}": torch.tensor(rate)}


class Averaged:
    """Exponential moving average of a network's weights: a copy that answers instead of it.

    After update t it moves by 1 - min(decay, (1 + t) / (10 + t)) towards the network, so that early weights
    are forgotten soon. Buffers are those of the network. A decay of 0 is the network itself.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = frozen(copy.deepcopy(network))

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Take in the weights after update `step` (0, 1, …)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, [*map(torch.Tensor.detach, network.parameters())], 1 - decay)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def mean_terms(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each name over the parts of a batch, detached."""
    return {name: torch.stack([part[name].detach() for part in parts]).mean() for name in parts[0]}


def weighted_sum(losses: dict[str, Tensor], weights: Any) -> Tensor:
    """Sum of `loss/name` times the weight of that name."""
    table = asdict(weights)
    return torch.stack([table[name.removeprefix("loss/")] * value for name, value in losses.items()]).sum()


def save_networks(networks: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """State of each network, detached copies on the CPU."""
    return {
        name: {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
        for name, network in networks.items()
    }


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Convolutions in `precision`; losses, geometry and weights stay in float32 whatever it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def placed(network: Network, device: torch.device, config: StageConfig) -> Network:
    """The network on the device, in the memory layout and compiled as the settings say.

    Raises UserError for what was seen to give wrong gradients: compiled bfloat16 on a CPU.
    """
    # compiled code brings its own loops, so the layout that ours want is no gain there
    layout = config.channels_last if not config.compile else bool(config.channels_last)
    cast(Any, network).channels_last = layout
    network = network.to(device)
    if config.compile:
        if device.type == "cpu" and config.precision == "bfloat16":
            raise UserError(
                "compile: true with precision: bfloat16 gives wrong gradients on CPUs: set one of them back"
            )
        network.compile()
    return network


def frozen(network: nn.Module) -> nn.Module:
    """A network that only answers."""
    return network.eval().requires_grad_(False)
