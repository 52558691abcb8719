"""What every stage shares: optimizer, update, crops and flips, and the weighted sum of named losses."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from facefill.config import OptimizerConfig, Precision
from facefill.stages import Synchronize


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, learning_rate: float
) -> torch.optim.Adam:
    """Adam as the paper sets it."""
    return torch.optim.Adam(
        list(parameters), learning_rate, (config.beta1, config.beta2), weight_decay=config.weight_decay
    )


def update(
    optimizer: torch.optim.Adam,
    loss: Tensor,
    config: OptimizerConfig,
    learning_rate: float,
    step: int,
    synchronize: Synchronize,
) -> None:
    """One step of `optimizer` down `loss` with the learning rate that belongs to `step`.

    The rate is a function of the step, so a continued run needs no scheduler state. Gradients outside the
    optimizer's parameters are not computed.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
    synchronize(parameters)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * config.decay ** (step // config.decay_every)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


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


def frozen(network: nn.Module) -> nn.Module:
    """A network that only answers."""
    return network.eval().requires_grad_(False)
