"""Group norm together with what follows it: an added map and an activation.

On the CPU, maps whose channels lie last run as compiled loops (`normalization_numba`), where numba is there;
everything else is torch's own operators. The parameters are those of `nn.GroupNorm`.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facefill.geometry.compiled import numba_is_importable

Activation = Literal["none", "elu", "sigmoid", "leaky_relu"]
CHANNELS_PER_GROUP = 4
LEAK = 0.2


class NormalizedActivation(nn.GroupNorm):
    """activation(group_norm(features) [+ added]) with groups of four channels; (N, C, H, W) as it came."""

    def __init__(self, channels: int, activation: Activation = "none") -> None:
        super().__init__(channels // CHANNELS_PER_GROUP, channels)
        self.activation = activation

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        if added is not None:
            added = added.to(features.dtype)
        return normalized(features, self.weight, self.bias, added, self.num_groups, self.eps, self.activation)


def normalized(
    features: Tensor,  # (N, C, H, W)
    weight: Tensor,  # (C,)
    bias: Tensor,  # (C,)
    added: Tensor | None,  # (N, C, H, W)
    groups: int,
    eps: float,
    activation: Activation,
) -> Tensor:
    """activation(group_norm(features) [+ added]), in the features' precision."""
    if may_run_channels_last(features) and (added is None or may_run_channels_last(added)):
        from facefill.networks.normalization_numba import NormalizedChannelsLast

        return NormalizedChannelsLast.apply(features, weight, bias, added, groups, eps, activation)
    return normalized_with_torch(features, weight, bias, added, groups, eps, activation)


def may_run_channels_last(maps: Tensor) -> bool:
    """Whether the compiled loops can take these maps."""
    return (
        maps.device.type == "cpu"
        and maps.dtype in (torch.float32, torch.bfloat16)
        and not maps.is_contiguous()
        and maps.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and numba_is_importable()
    )


def normalized_with_torch(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    groups: int,
    eps: float,
    activation: Activation,
) -> Tensor:
    """The same from torch's operators, on any device and in any layout."""
    values = functional.group_norm(features, groups, weight.to(features.dtype), bias.to(features.dtype), eps)
    if added is not None:
        values = values + added
    if activation == "elu":
        return functional.elu(values)
    if activation == "sigmoid":
        return values.sigmoid()
    return functional.leaky_relu(values, LEAK) if activation == "leaky_relu" else values
