"""What the networks are built of: spectral-norm convolutions, group norm, residual units, gates.

Supplementary 4.1: spectral normalisation in the convolutions, GN with C/4 groups, ELU. A residual unit is
conv3x3-GN-ELU-conv3x3-GN with a 1x1 convolution + GN as shortcut where the shape changes.
"""

import math
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)

CHANNELS_PER_GROUP = 4


def scaled_channels(channels: int, width: float) -> int:
    """A hidden channel count times `width`, rounded to whole groups of four, at least one group."""
    groups = round(channels * width / CHANNELS_PER_GROUP)
    return CHANNELS_PER_GROUP * max(1, groups)


def signed(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1], so that mid-grey is zero."""
    return image * 2 - 1


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


def initialized(layer: Convolution) -> Convolution:
    """Weights N(0, sqrt(2 / (k² · C_out))), biases zero: the authors' initialisation."""
    kernel_area = layer.kernel_size[0] * layer.kernel_size[1]
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel_area * layer.out_channels)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def output_layer(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A last 1x1 convolution printed without spectral norm; small, lest tanh or softmax start saturated."""
    layer = initialized(nn.Conv2d(channels_in, channels_out, 1))
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def spectral_convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
) -> nn.Module:
    return spectral_norm(
        initialized(nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=bias))
    )


def spectral_deconvolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 2, padding: int = 0
) -> nn.Module:
    return spectral_norm(initialized(nn.ConvTranspose2d(channels_in, channels_out, kernel, stride, padding)))


def convolution_unit(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, padding: int = 1, bias: bool = True
) -> nn.Sequential:
    """SpectralConv + GN + ELU of Tables 3 and 4."""
    return nn.Sequential(
        spectral_convolution(channels_in, channels_out, kernel, stride, padding, bias),
        group_norm(channels_out),
        nn.ELU(),
    )


def convolution_gate(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """SigGNConv of Table 5: 3x3 convolution + GN + sigmoid."""
    return nn.Sequential(
        spectral_convolution(channels_in, channels_out, 3, stride, 1), group_norm(channels_out), nn.Sigmoid()
    )


def deconvolution_gate(channels_in: int, channels_out: int) -> nn.Sequential:
    """SigGNDeconv of Table 5: 4x4 transposed convolution to twice the size + GN + sigmoid."""
    return nn.Sequential(
        spectral_deconvolution(channels_in, channels_out, 4, 2, 1), group_norm(channels_out), nn.Sigmoid()
    )


def fold_spectral_norm(network: nn.Module) -> nn.Module:
    """Put the normalised weights in the place of the normalisation, for a network that only answers any more.

    In place. The answers stay the same to the bit and each spares the division of all weights, a quarter
    of the encoder's time on a CPU; the state is no longer that of a network in training. Never fold a
    deepcopy: copies share the class that the normalisation is attached to, so the original would lose it.
    """
    network.eval()  # in training mode reading a weight would move its power iteration
    for layer in list(network.modules()):
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight")
    return network


class ResUnit(nn.Module):
    """ResUnit(C_in, C_out, 3, stride, 1) of Tables 5 and 7: (N, C_in, H, W) to 1/stride of the size."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.residual = nn.Sequential(
            spectral_convolution(channels_in, channels_out, 3, stride, 1),
            group_norm(channels_out),
            nn.ELU(),
            spectral_convolution(channels_out, channels_out, 3, 1, 1),
            group_norm(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                spectral_convolution(channels_in, channels_out, 1), group_norm(channels_out)
            )
        self.activation = nn.ELU()

    def forward(self, features: Tensor) -> Tensor:
        # A 1x1 convolution of stride 2 reads every second pixel. Taking them first avoids the backward kernel
        # that corrupts the heap on CPUs with few input channels (uxlfoundation/oneDNN#6035).
        taken = features[:, :, :: self.stride, :: self.stride]
        return self.activation(self.residual(features) + self.shortcut(taken))
